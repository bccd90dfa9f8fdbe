"""Project files that this user has allowed to choose a project: by folder, and by what they say to sealrun.

A file comes with a checkout, whoever wrote it. What it says counts once its user has seen it, and again once it says
something else. The record lies in SEALRUN_HOME, which no run may reach.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.errors import FileInvalid, FolderNotAllowed
from executor.sandbox.reading import all_of
from executor.source.root import ProjectFile, project_file
from secretstore.errors import FolderUnusable
from secretstore.home import ensure_home

_FILE = "allowed_folders"
_SIZE_LIMIT = 16 << 20  # bytes
_Allowed = dict[str, list[str]]


def require_allowed(home: Path, file: ProjectFile) -> None:
    """Refuse a project file that was not allowed as it is now.

    Raises:
        FolderNotAllowed: nobody has allowed it, or it says something else since.
        FolderUnusable: the record cannot be read.
    """
    if file.path is None or is_allowed(home, file):
        return
    folder = file.path.parent
    raise FolderNotAllowed(path=file.path, says=says(file), folder=folder, changed=_changed(home, folder), file=file)


def is_allowed(home: Path, file: ProjectFile) -> bool:
    """Whether a project file is allowed as it is now.

    Raises:
        FolderUnusable: the record cannot be read.
    """
    return file.path is not None and file.digest in _read(home).get(_key(file.path.parent), ())


def allow(home: Path, file: ProjectFile) -> None:
    """Allow a project file as it is now, beside what was allowed of its folder before: branches may differ.

    Raises:
        FolderUnusable: the record cannot be written.
    """
    if file.path is None:
        return
    with _locked(home) as allowed:
        of_folder = allowed.setdefault(_key(file.path.parent), [])
        if file.digest not in of_folder:
            of_folder.append(file.digest)


def revoke(home: Path, folder: Path) -> bool:
    """Allow nothing of a folder any more; False if nothing was.

    Raises:
        FolderUnusable: the record cannot be written.
    """
    with _locked(home) as allowed:
        return allowed.pop(_key(folder), None) is not None


@dataclass(frozen=True)
class AllowedFolder:
    """A folder of which something is allowed, and its project file as it is now; `changed`: that one is not allowed."""

    folder: str
    file: ProjectFile
    changed: bool


def allowed_folders(home: Path) -> list[AllowedFolder]:
    """The folders of which something is allowed, with what their project files say now.

    Raises:
        FolderUnusable: the record cannot be read.
    """
    return [_looked_at(folder, digests) for folder, digests in sorted(_read(home).items())]


def says(file: ProjectFile) -> str:
    """What a project file chooses, in words; names are quoted, as anybody may have written them."""
    chosen = {"project": file.project, "environment": file.environment, "server": file.server}
    return " and ".join(f"the {what} {name!r}" for what, name in chosen.items() if name) or "nothing"


def _looked_at(folder: str, digests: list[str]) -> AllowedFolder:
    try:
        file = project_file(Path(folder))
    except (FileInvalid, OSError):
        file = ProjectFile()
    if file.path is None or file.path.parent != Path(folder):  # one further up is that folder's
        file = ProjectFile()
    return AllowedFolder(folder, file, changed=file.digest not in digests)


def _changed(home: Path, folder: Path) -> str:
    return "it says something else than what was allowed" if _key(folder) in _read(home) else "nobody allowed it to"


def _key(folder: Path) -> str:
    return os.path.realpath(folder)


def _read(home: Path) -> _Allowed:
    path = home / _FILE
    try:
        found = json.loads(all_of(path, _SIZE_LIMIT))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise FolderUnusable(path=path, why=(error.strerror or "it cannot be read").lower()) from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(digests, list) for digests in found.values()):
        why = "it is not what sealrun wrote there"
        raise FolderUnusable(path=path, why=why, hint="remove it, and allow your folders anew: sealrun allow FOLDER")
    return found


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[_Allowed]:
    """What is recorded, to be changed by one at a time; it is replaced as a whole: a reader sees all of it or none."""
    ensure_home(home)
    path = home / _FILE
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderUnusable(path=path, why=(error.strerror or "it cannot be written").lower()) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        allowed = _read(home)
        yield allowed
        unfinished = path.with_name(f".{_FILE}.{os.urandom(8).hex()}")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
            json.dump(allowed, out, indent=1)
            out.write("\n")
        os.replace(unfinished, path)
    except OSError as error:
        raise FolderUnusable(path=path, why=(error.strerror or "it cannot be written").lower()) from None
    finally:
        os.close(lock)
