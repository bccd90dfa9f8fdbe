"""Settings are read once, at the door. All problems are reported together, and no raw value is printed."""

import os
import pwd
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from secretstore.errors import HomeUnusable, SettingsProblem

T = TypeVar("T")

_FILE_LIMIT = 65_536


@dataclass(frozen=True)
class Setting:
    """One variable of the environment, as it is documented."""

    name: str
    default_text: str
    unit: str
    reason: str
    from_file: bool = False
    """Whether `NAME_FILE` may name a file that holds the value, as container platforms hand out secrets."""


HOME = Setting("SEALRUN_HOME", "$XDG_DATA_HOME/sealrun", "path", "the one folder for all that sealrun keeps here")
DATABASE_URL = Setting(
    "SEALRUN_DATABASE_URL",
    "sqlite:///$SEALRUN_HOME/sealrun.db",
    "URL",
    "sqlite needs no server; postgresql is for more than one machine",
    from_file=True,
)
KEYS = Setting(
    "SEALRUN_KEYS",
    "local:$SEALRUN_HOME/keys/local.key",
    "key service",
    "what wraps private keys: local:PATH is a key file, which protects a stolen database",
)
ACTOR = Setting("SEALRUN_ACTOR", "user@host", "name", "who is recorded as having changed something: a claim")

STORE_SETTINGS = (HOME, DATABASE_URL, KEYS, ACTOR)


@dataclass(frozen=True)
class StoreSettings:
    """The secret store's settings; the database URL may hold a password and is left out of the repr."""

    home: Path
    database_url: str = field(repr=False)
    database_is_default: bool
    keys: str
    actor: str


def read_store_settings(environ: Mapping[str, str]) -> StoreSettings:
    """Reads the settings of the secret store.

    Raises:
        SettingsProblem: With every problem at once.
    """
    reading = SettingsReading(environ)
    settings = parse_store_settings(reading)
    reading.finish()
    return settings


def parse_store_settings(reading: "SettingsReading") -> StoreSettings:
    """Reads them within a larger reading, whose `finish` reports the problems of all."""
    home = reading.value(HOME, absolute_path, _default_home(reading.environ))
    default_database = f"sqlite:///{home}/sealrun.db"
    database_url = reading.value(DATABASE_URL, database_address, default_database)
    return StoreSettings(
        home=home,
        database_url=database_url,
        database_is_default=database_url == default_database,
        keys=reading.value(KEYS, _key_service_spec, f"local:{home}/keys/local.key"),
        actor=reading.value(ACTOR, _actor, _default_actor()),
    )


def ensure_home(home: Path) -> None:
    """Makes the home folder, for its owner alone, if there is none.

    Raises:
        HomeUnusable: When it cannot be made, or is no folder of this user's.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise HomeUnusable(path=home, why=problem.strerror or "it cannot be made") from None
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise HomeUnusable(path=home, why="this user may not use it")


class Unacceptable(Exception):
    """Raised by a parser with what is wrong: a sentence that does not hold the value."""


class SettingsReading:
    """One pass over an environment that collects problems instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def value(self, setting: Setting, parse: Callable[[str], T], default: T) -> T:
        """Returns the parsed setting; the default when it is not set, or when it has a problem."""
        try:
            text = self._text(setting)
            return default if text is None else parse(text)
        except Unacceptable as problem:
            self.problems.append(f"{setting.name} {problem}")
            return default

    def finish(self) -> None:
        """Ends the reading.

        Raises:
            SettingsProblem: When there was any problem.
        """
        if self.problems:
            raise SettingsProblem(self.problems)

    def _text(self, setting: Setting) -> str | None:
        direct = self.environ.get(setting.name)
        file = self.environ.get(f"{setting.name}_FILE") if setting.from_file else None
        if direct is not None and file is not None:
            raise Unacceptable(f"and {setting.name}_FILE are both set: unset one")
        text = direct if file is None else _file_text(file)
        if text == "":
            raise Unacceptable("is empty: give it a value or unset it")
        return text


def absolute_path(text: str) -> Path:
    """Parses a path that means the same in every folder; a leading `~` is the user's home."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise Unacceptable("begins with ~ and this user has no home folder") from None
    if not path.is_absolute():
        raise Unacceptable("is not an absolute path")
    return path


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Returns a parser of whole numbers within these limits, both included."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most):
            raise Unacceptable(f"is not a whole number from {least} to {most}")
        return int(text)

    return parse


def database_address(text: str) -> str:
    """Checks a database URL, and gives PostgreSQL's the driver that sealrun uses."""
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if mark and scheme == "sqlite":
        if not rest.startswith("//"):
            raise Unacceptable("needs an absolute path after sqlite:///, as in sqlite:////srv/sealrun.db")
        return text
    raise Unacceptable("is no URL of a database sealrun knows: sqlite:///… or postgresql://…")


def _key_service_spec(text: str) -> str:
    kind, _, place = text.partition(":")
    if kind == "local":
        return f"local:{absolute_path(place)}"
    if kind == "aws-kms" and place:
        return text
    raise Unacceptable("names no key service: local:PATH")


def _actor(text: str) -> str:
    if len(text) > 255 or not text.isprintable():
        raise Unacceptable("is not a printable name of at most 255 characters")
    return text


def _file_text(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as source:
            text = source.read(_FILE_LIMIT + 1)
    except OSError as problem:
        why = (problem.strerror or "it cannot be read").lower()
        raise Unacceptable(f"is to be read from a file: {why}") from None
    except ValueError:
        raise Unacceptable("is to be read from a file, which is not text") from None
    if len(text) > _FILE_LIMIT:
        raise Unacceptable(f"is to be read from a file, which is longer than {_FILE_LIMIT} characters")
    return text.removesuffix("\n").removesuffix("\r")


def _default_home(environ: Mapping[str, str]) -> Path:
    # The XDG rule: a relative or empty XDG_DATA_HOME is ignored.
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):
        return Path(data) / "sealrun"
    return Path(environ.get("HOME") or _passwd_home()) / ".local" / "share" / "sealrun"


def _passwd_home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/nonexistent"


def _default_actor() -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = f"uid-{os.geteuid()}"
    return f"{user}@{socket.gethostname()}"
