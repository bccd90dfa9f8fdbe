"""What is to be stored, and what is refused of it whatever the database holds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from secretstore.errors import ValueRefused
from secretstore.naming import check_secret_name, check_variable_name
from secretstore.sealing import MAX_VALUE

SHORTEST_MASKABLE = 8
"""Bytes: a shorter value would turn ordinary output into stars, so it is not masked at all."""

_A_PATH = "/path"  # what a run finds under the name of a secret that is a file


@dataclass(frozen=True)
class NewSecret:
    """A value to seal as the next version of a secret: any bytes, `NAME=value` at most 131,071 of them."""

    environment: str
    name: str
    value: bytes = field(repr=False)
    expires_at: datetime | None = None
    allow_short: bool = False
    """Accept a value under 8 bytes, which cannot be masked."""
    as_file: bool | None = None
    """Whether runs get a private file with the value, and its path as the variable; None leaves that as it was. Only a
    file can hold NUL bytes."""


@dataclass(frozen=True)
class NewVariable:
    """A variable to set; its value may be empty."""

    environment: str
    name: str
    value: str


def check(entry: NewSecret | NewVariable, now: datetime | None = None) -> None:
    """Refuse what `store` would refuse whatever the database holds.

    Raises:
        NameRefused, ValueRefused: as `store`.
    """
    if isinstance(entry, NewVariable):
        check_variable_name(entry.name, entry.value)
        _check_text(entry)
        return
    check_secret_name(entry.name, _A_PATH if entry.as_file else entry.value)
    _check_bytes(entry)
    check_expiry(entry.name, entry.expires_at, now)


def check_expiry(name: str, expires_at: datetime | None, now: datetime | None = None) -> None:
    """Refuse an expiry that is over.

    Raises:
        ValueRefused: it is.
    """
    if expires_at is not None and expires_at <= (now or datetime.now(UTC)):
        raise ValueRefused('the expiry of "{name}" is refused: {why}', name=name, why="it is in the past")


def check_claims(name: str, *, as_file: bool | None, maskable: bool, allow_short: bool) -> None:
    """Refuse what can be refused of a secret without its value, by what whoever has the value says of it.

    Raises:
        NameRefused: no secret may have this name, whatever its value.
        ValueRefused: it is said to be too short to be masked, and that was not allowed.
    """
    check_secret_name(name, _A_PATH if as_file else None)
    if not maskable and not allow_short:
        raise _too_short(name)


def _check_bytes(entry: NewSecret) -> None:
    why = hint = None
    if not entry.value:
        why = "it is empty"
    elif b"\0" in entry.value and not entry.as_file:
        why = "it contains a NUL byte, which no environment variable can hold"
        hint = f"runs can get it as a file: sealrun secret set {entry.name} --as-file"
    elif len(entry.name) + 1 + len(entry.value) > MAX_VALUE:
        why = f"NAME=value is longer than {MAX_VALUE:,} bytes"
    elif not is_maskable(entry.value) and not entry.allow_short:
        raise _too_short(entry.name)
    if why:
        raise ValueRefused(name=entry.name, why=why, hint=hint)


def _too_short(name: str) -> ValueRefused:
    why = f"it has fewer than {SHORTEST_MASKABLE} bytes without outer white space, too few to mask"
    return ValueRefused(name=name, why=why, hint="use a longer one, or pass --allow-short")


def _check_text(entry: NewVariable) -> None:
    why = None
    if "\0" in entry.value:
        why = "it contains a NUL, which no environment variable can hold"
    elif len(entry.name) + 1 + len(entry.value.encode("utf-8", "surrogateescape")) > MAX_VALUE:
        why = f"NAME=value is longer than {MAX_VALUE:,} bytes"
    elif any("\ud800" <= character <= "\udfff" for character in entry.value):
        why = "it is not text in UTF-8"
    if why:
        raise ValueRefused(name=entry.name, why=why)


def is_maskable(value: bytes) -> bool:
    """Outer white space does not count: the masker looks for the value without it."""
    return len(value.strip()) >= SHORTEST_MASKABLE
