"""The settings, read once. All problems are reported together, and no raw value is printed."""

import os
import pwd
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from secretstore import durations
from secretstore.default_home import default_home, passwd_home
from secretstore.errors import SettingsProblem

T = TypeVar("T")

_FILE_LIMIT = 65_536
_UNITS = {"s": "seconds", "d": "days"}


@dataclass(frozen=True)
class Setting:
    """One environment variable, as it is documented."""

    name: str
    default_text: str
    unit: str
    reason: str
    from_file: bool = False
    """Whether `NAME_FILE` may name a file with the value, the way container platforms deliver secrets."""


HOME = Setting("SEALRUN_HOME", "$XDG_DATA_HOME/sealrun", "path", "the folder for all that sealrun keeps here")
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
    "wraps private keys: local:PATH is a key file, which protects against a stolen database, or its public half, "
    "PATH.pub, which wraps and opens nothing; "
    "aws-kms:KEY_ID_OR_ALIAS_OR_ARN[?region=…&endpoint_url=…] is a key of AWS KMS, see [AWS KMS](../how-to/kms.md). "
    "Separate several by commas: the first wraps new keys, each unwraps its own",
)
KMS_TIMEOUT = Setting(
    "SEALRUN_KMS_TIMEOUT_SECONDS",
    "10",
    "seconds",
    "the limit for a whole call of AWS KMS: name look-up, connection, answer, and further tries",
)
ACTOR = Setting("SEALRUN_ACTOR", "user@host", "name", "the name recorded for changes: a claim")

STORE_SETTINGS = (HOME, DATABASE_URL, KEYS, KMS_TIMEOUT, ACTOR)

_KINDS = ("local", "aws-kms")
# Only a comma before another service separates: the path of a key file may hold commas.
_BETWEEN = re.compile(rf",(?=(?:{'|'.join(_KINDS)}):)")
_KMS_KEY = re.compile(r"[A-Za-z0-9_-]{1,256}|alias/[A-Za-z0-9/_-]{1,250}")
_KMS_ARN = re.compile(r"arn:[a-z0-9-]+:kms:([a-z0-9-]+):[0-9]+:(?:key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]+)")
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class KeySpec:
    """One key service of SEALRUN_KEYS. It holds no secret."""

    kind: str
    """`local` or `aws-kms`."""

    place: str
    """The key file's path, or the KMS key's id, alias or ARN."""

    region: str = ""
    endpoint_url: str = ""

    def __str__(self) -> str:
        query = urlencode({name: getattr(self, name) for name in ("region", "endpoint_url") if getattr(self, name)})
        return f"{self.kind}:{self.place}{'?' if query else ''}{query}"


def key_specs(text: str) -> tuple[KeySpec, ...]:
    """Return the key services of `StoreSettings.keys`, in its order.

    Raises:
        ValueError: it is malformed; it is not quoted.
    """
    return tuple(_spec(word) for word in _words(text))


@dataclass(frozen=True)
class StoreSettings:
    """The secret store's settings."""

    home: Path
    database_url: str = field(repr=False)
    database_is_default: bool
    keys: str
    """The key services with everything needed to find them, regions included, whatever the environment."""

    kms_timeout: int
    """Seconds."""

    actor: str

    @property
    def key_specs(self) -> tuple[KeySpec, ...]:
        """The key services, of which the first wraps new keys."""
        return key_specs(self.keys)

    @property
    def key_files(self) -> tuple[Path, ...]:
        """The local key files among them."""
        return tuple(Path(spec.place) for spec in self.key_specs if spec.kind == "local")

    @property
    def uses_kms(self) -> bool:
        """Whether AWS KMS is among them."""
        return any(spec.kind == "aws-kms" for spec in self.key_specs)


def read_store_settings(environ: Mapping[str, str]) -> StoreSettings:
    """Read the settings of the secret store.

    Raises:
        SettingsProblem: there are any problems; all are listed.
    """
    reading = SettingsReading(environ)
    settings = parse_store_settings(reading)
    reading.finish()
    return settings


def parse_store_settings(reading: "SettingsReading") -> StoreSettings:
    """Read them as part of a larger reading, whose `finish` reports all problems."""
    home = reading.value(HOME, absolute_path, Path(default_home(reading.environ)))
    default_database = f"sqlite:///{home}/sealrun.db"
    database_url = reading.value(DATABASE_URL, database_address, default_database)
    return StoreSettings(
        home=home,
        database_url=database_url,
        database_is_default=database_url == default_database,
        keys=reading.value(KEYS, lambda text: _keys(text, reading.environ), f"local:{home}/keys/local.key"),
        kms_timeout=reading.value(KMS_TIMEOUT, length_of_time(1, 60), 10),
        actor=reading.value(ACTOR, printable_name, _default_actor()),
    )


class Unacceptable(Exception):
    """Raised by a parser with the problem: a sentence without the value."""


class SettingsReading:
    """A pass over an environment that collects problems instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def value(self, setting: Setting, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed setting; the default if it is not set, or invalid."""
        try:
            text = self._text(setting)
            return default if text is None else parse(text)
        except Unacceptable as problem:
            self.problems.append(f"{setting.name} {problem}")
            return default

    def finish(self) -> None:
        """Raise `SettingsProblem` if there was any problem."""
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
    """Parse an absolute path; a leading `~` is the user's home."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise Unacceptable("begins with ~, but this user has no home folder") from None
    if not path.is_absolute():
        raise Unacceptable("is not an absolute path")
    return path


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within these limits, both included."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most):
            raise Unacceptable(f"is not a whole number from {least} to {most}")
        return int(text)

    return parse


def length_of_time(least: int, most: int, unit: str = "s") -> Callable[[str], int]:
    """Return a parser of times to whole seconds, within these limits; they and a number alone are in `unit`."""
    of_unit, named = int(durations.seconds("1", unit)), _UNITS[unit]

    def parse(text: str) -> int:
        try:
            seconds = durations.seconds(text, unit)
        except ValueError:
            seconds = -1
        if not (least * of_unit <= seconds <= most * of_unit and seconds.is_integer()):
            raise Unacceptable(f"is not a length of time from {least} to {most} {named}, as in {durations.forms(unit)}")
        return int(seconds)

    return parse


def printable_name(text: str) -> str:
    """Check a name for listings: 1 to 255 printable characters."""
    if not 0 < len(text) <= 255 or not text.isprintable():
        raise Unacceptable("is not a printable name of at most 255 characters")
    return text


def database_address(text: str) -> str:
    """Check a database URL, and give PostgreSQL's the driver that sealrun uses."""
    scheme, mark, rest = text.partition("://")
    if mark and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if mark and scheme == "sqlite":
        if not rest.startswith("//"):
            raise Unacceptable("needs an absolute path after sqlite:///, as in sqlite:////srv/sealrun.db")
        return text
    raise Unacceptable("is not a database URL that sealrun knows: sqlite:///… or postgresql://…")


def _keys(text: str, environ: Mapping[str, str]) -> str:
    """Check each key service, and fill in what only this environment knows."""
    return ",".join(str(_checked(word, environ)) for word in _words(text))


def _words(text: str) -> list[str]:
    return _BETWEEN.split(text)


def _spec(word: str) -> KeySpec:
    kind, _, place = word.partition(":")
    if kind not in _KINDS or not place:
        raise ValueError
    if kind == "local":
        return KeySpec(kind, place)
    place, _, query = place.partition("?")
    spec = KeySpec(kind, place, **dict(parse_qsl(query, strict_parsing=True)))
    if not spec.region:
        raise ValueError
    return spec


def _checked(word: str, environ: Mapping[str, str]) -> KeySpec:
    kind, _, place = word.partition(":")
    if kind == "local":
        return KeySpec(kind, str(absolute_path(place)))
    if kind == "aws-kms" and place:
        return _checked_kms(place, environ)
    raise Unacceptable("is not a key service: give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN")


def _checked_kms(text: str, environ: Mapping[str, str]) -> KeySpec:
    key, _, query = text.partition("?")
    asked = _asked(query)
    arn = _KMS_ARN.fullmatch(key)
    if arn is None and not _KMS_KEY.fullmatch(key):
        raise Unacceptable("has no valid KMS key after aws-kms: give its id, alias/NAME or ARN")
    region = asked.get("region")
    if region is not None and not _REGION.fullmatch(region):
        raise Unacceptable("has no valid AWS region after region=")
    if arn is not None and region not in (None, arn[1]):
        raise Unacceptable("gives another region than the KMS key's ARN has")
    region = (arn[1] if arn else region) or _ambient_region(environ)
    if region is None:
        raise Unacceptable("does not say the KMS key's region: give its ARN, add ?region=…, or set AWS_REGION")
    return KeySpec("aws-kms", key, region, _endpoint(asked.get("endpoint_url", "")))


def _asked(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise Unacceptable("has something after ? that is not NAME=VALUE, separated by &") from None
    asked = dict(pairs)
    if len(asked) < len(pairs) or not asked.keys() <= {"region", "endpoint_url"}:
        raise Unacceptable("may have region= and endpoint_url= after ?, each once, and nothing else")
    return asked


def _endpoint(text: str) -> str:
    if not text:
        return ""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        url, usable = SplitResult("", "", "", "", ""), False
    if not usable or not text.isascii() or not text.isprintable() or " " in text or url.query or url.fragment:
        raise Unacceptable("has an endpoint_url that is not an http:// or https:// URL")
    if "@" in url.netloc:
        raise Unacceptable("has an endpoint_url with a user in it: KMS takes signatures, and the URL is shown")
    return text


def _ambient_region(environ: Mapping[str, str]) -> str | None:
    """Return the region that AWS's own programs would use: the environment's, then the profile's."""
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or _profile_region(environ)
    return region if region and _REGION.fullmatch(region) else None


def _profile_region(environ: Mapping[str, str]) -> str | None:
    import configparser  # here: few need it, and every process imports this module

    profile = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    file = environ.get("AWS_CONFIG_FILE") or f"{environ.get('HOME') or passwd_home()}/.aws/config"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(os.path.expanduser(file), encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return None
    for section in (f"profile {profile}", profile):
        if found := parser.get(section, "region", fallback=None):
            return found
    return None


def _file_text(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as source:
            text = source.read(_FILE_LIMIT + 1)
    except OSError as problem:
        why = (problem.strerror or "it cannot be read").lower()
        raise Unacceptable(f"comes from a file that cannot be read: {why}") from None
    except ValueError:
        raise Unacceptable("comes from a file that is not text") from None
    if len(text) > _FILE_LIMIT:
        raise Unacceptable(f"comes from a file of more than {_FILE_LIMIT} characters")
    return text.removesuffix("\n").removesuffix("\r")


def _default_actor() -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = f"uid-{os.geteuid()}"
    return f"{user}@{socket.gethostname()}"
