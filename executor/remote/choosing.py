"""Which door is meant: a server, and by whose word; or none, and the database is opened here.

A token belongs to one origin. What a checkout's project file names is asked nothing before its user has logged in
there, or has allowed the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.errors import ServerNotAllowed, ServerUnusable
from executor.remote.kept import LogIns
from executor.remote.origin import origin_of
from executor.settings import SERVER, TOKEN, Settings
from executor.source.root import ProjectFile
from executor.submission import allowing
from secretstore.settings import DATABASE_URL

_OF_DATABASES = (DATABASE_URL.name, f"{DATABASE_URL.name}_FILE")


@dataclass(frozen=True)
class Chosen:
    """A server, who says so, and the token for it, if there is one."""

    origin: str
    by: str
    token: str | None = field(default=None, repr=False)


def chosen(settings: Settings, environ: Mapping[str, str], file: ProjectFile) -> Chosen | None:
    """The server that commands here speak to; None for the database of the settings.

    SEALRUN_SERVER, else a database that the environment names, else the project file's, else that of the last log-in.

    Raises:
        ServerUnusable: it has no address that a token may be sent to.
        ServerNotAllowed: a project file names a server that this user has neither logged in to nor allowed.
        FolderUnusable: the kept log-ins cannot be read.
    """
    kept = LogIns(settings.store.home)
    if settings.server is not None:
        origin = origin_of(settings.server)
        return Chosen(origin, SERVER.name, settings.token or _token(kept, origin))
    if any(name in environ for name in _OF_DATABASES):
        return None
    if file.server is not None:
        return _of_file(settings, kept, file, file.server)
    if (current := kept.current) is not None:
        return Chosen(current, "sealrun login", _token(kept, current))
    if settings.token is not None:
        raise ServerUnusable(
            "{token} is set, and {server} is not: nothing says which server it is for",
            token=TOKEN.name,
            server=SERVER.name,
            hint=f"set {SERVER.name}; or unset {TOKEN.name} to work on this machine's own database",
        )
    return None


def _of_file(settings: Settings, kept: LogIns, file: ProjectFile, server: str) -> Chosen:
    origin = origin_of(server)
    login = kept.of(origin)
    if login is None and not allowing.is_allowed(settings.store.home, file):
        raise ServerNotAllowed(path=file.path, server=origin)
    # SEALRUN_TOKEN is not for it: nobody has said of which server that is.
    return Chosen(origin, str(file.path), None if login is None else login.token)


def _token(kept: LogIns, origin: str) -> str | None:
    login = kept.of(origin)
    return None if login is None else login.token
