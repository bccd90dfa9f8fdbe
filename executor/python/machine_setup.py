"""How this machine reaches package indexes: its certificates, proxies, indexes and their passwords, for installers.

A worker reads it once, where uv and pip would: their variables and files, and a netrc. An installer is given it as the
files of its own HOME and as variables that a project's own override; a run is given nothing of it.
"""

import json
import logging
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from executor.masking.needles import verdict
from executor.python import pip_settings
from executor.python.pip_settings import settings_folder
from executor.sandbox.confinement import users_home

logger = logging.getLogger(__name__)

SYSTEM_CONFIGURATION = (Path("/etc/xdg/uv/uv.toml"), Path("/etc/uv/uv.toml"))
"""uv's files for everybody on this machine, which an installer reads where they are."""

_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
_STRATEGY = "UV_INDEX_STRATEGY"
_REACH = (
    "UV_INSECURE_HOST", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_OFFLINE", "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT",
    "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_CONCURRENT_DOWNLOADS", "SSL_CERT_DIR",
)  # fmt: skip
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LOGIN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
_READ = (
    "SSL_CERT_FILE", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC", "UV_CONFIG_FILE",
    "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS",
)  # fmt: skip
# Two names for the same.
_SAME = (
    ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"),
    ("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"),
)
_KEYS = ("index", *pip_settings.INDEX_KEYS)
_CERTIFICATES = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)  # fmt: skip
_INDEX_NAME = re.compile(r"^[\w.-]+=")
_USER = re.compile(r"://(?P<user>[^/\s:@\"']*)(?::(?P<password>[^/\s@\"']*))?@")
_TOKEN = 16  # characters; a user's name that is longer may be a token
_UV_FILE, _NETRC, _CA_FILE, _CLIENT_FILE = ".config/uv/uv.toml", ".netrc", "ca.pem", "client.pem"


@dataclass(frozen=True)
class Given:
    """What one installer is given: variables, and the files of its HOME by their names there."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class MachineSetup:
    """What a worker found. Its repr shows no value."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    logins: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    """Users and passwords of a netrc by their hosts."""
    locations: tuple[str, ...] = field(default=(), repr=False)
    """The indexes and folders of packages that it names."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """What is masked in an installer's words."""
        return tuple(_credentials(self))

    @property
    def identity(self) -> str:
        """What decides which packages are found, without credentials."""
        deciding = {name: self.variables.get(name) for name in (*_INDEX, _STRATEGY)}
        said = [deciding, self.files.get(_UV_FILE)]
        return _USER.sub("://", json.dumps(said, sort_keys=True))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders on this machine that it names, of packages and of certificates."""
        named = (*self.locations, self.variables.get("SSL_CERT_DIR", ""))
        return tuple(dict.fromkeys(folder for one in named if (folder := _folder(one)) is not None))

    def given(self, home: Path, own: Collection[str], texts: Iterable[str]) -> Given:
        """Choose what an installer is given.

        Args:
            home: its HOME.
            own: the names of the variables that it is given anyway, which count more.
            texts: what names the indexes that it may ask. Of a netrc it is given the hosts that are in them.
        """
        variables = {name: value for name, value in self.variables.items() if not _is_said(name, own)}
        files = dict(self.files)
        places = {_CA_FILE: _CERTIFICATES, _CLIENT_FILE: ("SSL_CLIENT_CERT",)}
        for file, names in places.items():
            if file in files:
                variables |= {name: str(home / file) for name in names if name not in own}
        searched = "\n".join((*texts, *self.locations))
        known = {host: login for host, login in self.logins.items() if _names(searched, host)}
        if known:
            lines = (f"machine {host} login {user} password {word}\n" for host, (user, word) in known.items())
            files[_NETRC] = "".join(lines)
        return Given(variables, files)


def read(environ: Mapping[str, str], home: Path, package_index: str | None) -> MachineSetup:
    """Read it as uv and pip would, started by this user with these variables.

    Args:
        environ: the worker's environment.
        home: the home folder of its user.
        package_index: the worker's default index, if its settings name one: then pip's do not count.
    """
    pip = pip_settings.read(environ, home)
    variables = {name: value for name, value in environ.items() if value and _is_given(name)}
    variables |= {name: value for name, value in pip_settings.as_variables(pip) if not _is_said(name, variables)}
    if any(map(os.path.exists, _SYSTEM_CERTIFICATES)) and not _is_said("UV_SYSTEM_CERTS", variables):
        variables["UV_SYSTEM_CERTS"] = "true"
    own = _text(Path(environ.get("UV_CONFIG_FILE") or settings_folder(environ, home) / "uv/uv.toml"))
    system = [_table(_text(file)) for file in SYSTEM_CONFIGURATION]
    settled = package_index is not None or any(name in variables for name in _INDEX)
    settled = settled or any(key in part for table in (_table(own), *system) for part in _parts(table) for key in _KEYS)
    # What pip says stands before the first table of uv's file, where the keys without one are.
    own = pip_settings.as_toml(pip, taken=(*_table(own), *(pip_settings.INDEX_KEYS if settled else ()))) + own
    files = {_UV_FILE: own, **_certificate_files(environ, pip)}
    named = [word for name in _INDEX for word in re.split(r"[\s,]+", variables.get(name, ""))]
    named += [place for table in (_table(own), *system) for place in _locations(table)]
    setup = MachineSetup(
        variables=variables,
        files={name: text for name, text in files.items() if text},
        logins=_logins(Path(environ.get("NETRC") or home / ".netrc")),
        locations=tuple(_INDEX_NAME.sub("", word) for word in (*named, package_index or "") if word),
    )
    if not all(verdict("", one.encode()).maskable for one in setup.credentials):
        logger.warning("a password for package indexes on this machine is too short to be masked in a set-up's output")
    return setup


def concerns(name: str) -> bool:
    """Tell whether `read` looks at a variable of this name."""
    return name in _READ or name.startswith("PIP_") or _is_given(name)


def _is_given(name: str) -> bool:
    return name in (*_INDEX, _STRATEGY, *_REACH) or name.upper() in _PROXIES or _LOGIN.fullmatch(name) is not None


def _is_said(name: str, variables: Collection[str]) -> bool:
    """Whether these variables say already what one of this name would."""
    same = next((names for names in _SAME if name in names), (name,))
    return any(other in variables for one in same for other in {one, one.upper(), one.lower()})


def _certificate_files(environ: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """The machine's certificates as files: where they lie, an installer may not be able to read."""
    authorities = environ.get("SSL_CERT_FILE") or pip.get("cert") or environ.get("REQUESTS_CA_BUNDLE")
    named = {
        _CA_FILE: authorities or environ.get("CURL_CA_BUNDLE"),
        _CLIENT_FILE: environ.get("SSL_CLIENT_CERT") or pip.get("client-cert"),
    }
    return {name: _text(Path(path), told=True) for name, path in named.items() if path}


def _logins(file: Path) -> dict[str, tuple[str, str]]:
    """Read a netrc; what stands in it for every host is left out."""
    try:
        hosts = netrc(str(file)).hosts
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, NetrcParseError) as error:
        logger.warning("%s is left out for installers: %s", file, type(error).__name__)
        return {}
    return {
        host: (login, password)
        for host, (login, _, password) in hosts.items()
        if host != "default" and login and password and not re.search(r"\s", f"{login}{password}")
    }


def _names(text: str, host: str) -> bool:
    return re.search(rf"(?://|@){re.escape(host)}(?![\w.-])", text) is not None


def _credentials(setup: MachineSetup) -> Iterator[str]:
    found: list[tuple[str, str]] = []  # a user and a password; one of them may be empty
    for name, value in setup.variables.items():
        if login := _LOGIN.fullmatch(name):
            found.append((value, "-") if login[1] == "USERNAME" else ("", value))
    found += setup.logins.values()
    for text in (*setup.variables.values(), setup.files.get(_UV_FILE, "")):
        found += [(one["user"], one["password"] or "") for one in _USER.finditer(text)]
    for user, password in found:
        for word in (password, user if not password or len(user) >= _TOKEN else ""):
            yield from {word, unquote(word)} - {"", "-"}
    if _CLIENT_FILE in setup.files:
        yield setup.files[_CLIENT_FILE]


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}  # uv says what is wrong with it


def _parts(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What may hold settings of indexes in a uv.toml."""
    return [table, table["pip"]] if isinstance(table.get("pip"), dict) else [table]


def _locations(table: Mapping[str, Any]) -> Iterator[str]:
    for part in _parts(table):
        for key in _KEYS:
            said = part.get(key)
            for one in said if isinstance(said, list) else [said]:
                place = one.get("url") if isinstance(one, dict) else one
                if isinstance(place, str):
                    yield place


def _folder(location: str) -> Path | None:
    """The folder that this is, with what lies beside an index that is called `simple`; never one around a home."""
    if "://" in location and not location.startswith("file://"):
        return None
    path = Path(unquote(urlsplit(location).path) if "://" in location else os.path.expanduser(location))
    if not path.is_absolute() or not path.exists() or users_home().is_relative_to(path):
        return None
    return path.parent if path.name == "simple" else path


def _text(path: Path, told: bool = False) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        if told or not isinstance(error, FileNotFoundError):
            logger.warning("%s is left out for installers: %s", path, type(error).__name__)
        return ""
