"""Sealing ahead of storing: whoever has a value seals it for a place that was reserved, and sends what is sealed.

Nothing here reaches a database or a network, and whoever answers is not believed: the key pair and the ids of project
and environment have to be those that are known to who seals, and the name is the one that was typed. What remains
theirs to choose, a secret's id and version, leads nowhere else: a value opens under its own name in its own place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BeforeValidator, ConfigDict

from secretstore.entries import NewSecret, check, is_maskable
from secretstore.errors import NameRefused, ReservationUnfit
from secretstore.pins import Pins
from secretstore.sealing import Binding, seal
from secretstore.succession import Encoded, Succession, is_id, is_number


def _not_counted(given: Any) -> Any:
    """Refuse a number, of which nobody says whether it counts seconds or milliseconds."""
    if isinstance(given, int | float) or (isinstance(given, str) and "-" not in given[1:]):
        raise ValueError("a moment is written with its date, as in 2030-01-31T12:00:00Z")
    return given


Moment = Annotated[AwareDatetime, BeforeValidator(_not_counted)]
"""A moment as it is asked for: ISO 8601, with its offset from UTC."""


@dataclass(frozen=True)
class ReservedSecret:
    """The id of a secret, which may not be there yet, and the number of its next version."""

    name: str
    secret_id: str
    version: int


@dataclass(frozen=True)
class ReservedPlace:
    """An environment, its key pair, and what is reserved in it."""

    environment: str
    key: Succession
    secrets: tuple[ReservedSecret, ...]


@dataclass(frozen=True)
class Reservation:
    """What values of one project may be sealed for until it expires, once. It keeps nobody from anything."""

    id: str
    expires_at: datetime
    places: tuple[ReservedPlace, ...]


@dataclass(frozen=True)
class SealedSecret:
    """A value that was sealed for a reserved place, and what whoever has the value says of it.

    `maskable` and the name's being harmless are claims: who is given the value judges again.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", hide_input_in_errors=True)

    environment: str
    name: str
    sealed: Encoded = field(repr=False)
    maskable: bool
    allow_short: bool = False
    expires_at: Moment | None = None
    as_file: bool | None = None


def seal_reserved(
    reservation: Reservation, project: str, entries: Sequence[NewSecret], pins: Pins
) -> tuple[SealedSecret, ...]:
    """Seal values for what was reserved, in the order of the entries.

    Args:
        reservation: the answer of whoever stores.
        project: as it was typed.
        entries: all that was reserved; environments and names as they were typed.
        pins: the key pairs this user knows.

    Raises:
        NameRefused, ValueRefused: an entry breaks a rule; values are not quoted.
        ReservationUnfit: the answer has not what was asked, or what has no form of ours.
        KeyChanged, KeyUnknown: a key pair is not known to be the right one.
    """
    for entry in entries:
        check(entry)
    places = {place.environment: place for place in reservation.places}
    names = list(dict.fromkeys(entry.environment for entry in entries))
    if len(places) != len(reservation.places) or places.keys() != set(names):
        raise ReservationUnfit(why="it is for other environments")
    sealed: dict[tuple[str, str], SealedSecret] = {}
    for name in names:
        here = [entry for entry in entries if entry.environment == name]
        sealed |= {(name, one.name): one for one in seal_place(places[name], project, here, pins)}
    return tuple(sealed[entry.environment, entry.name] for entry in entries)


def seal_place(
    place: ReservedPlace, project: str, entries: Sequence[NewSecret], pins: Pins
) -> tuple[SealedSecret, ...]:
    """Seal the values of one environment, see `seal_reserved`: the one way in which a value is sealed to be stored."""
    public = pins.sealing_key(project, place.environment, place.key)
    reserved = {secret.name: secret for secret in place.secrets}
    _require_fit(place, reserved, entries)
    done = []
    for entry in entries:
        secret = reserved[entry.name]
        binding = Binding(place.key.project_id, place.key.environment_id, secret.secret_id, entry.name, secret.version)
        done.append(
            SealedSecret(
                environment=entry.environment,
                name=entry.name,
                sealed=seal(public, place.key.generation, entry.value, binding),
                maskable=is_maskable(entry.value),
                allow_short=entry.allow_short,
                expires_at=entry.expires_at,
                as_file=entry.as_file,
            )
        )
    return tuple(done)


def _require_fit(place: ReservedPlace, reserved: dict[str, ReservedSecret], entries: Sequence[NewSecret]) -> None:
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NameRefused(name=twice, why=f"it is given twice for {place.environment}")
    if len(reserved) != len(place.secrets) or reserved.keys() != set(names):
        raise ReservationUnfit(why=f"it is for other names of {place.environment}")
    for secret in place.secrets:
        if not (is_id(secret.secret_id) and is_number(secret.version)):
            raise ReservationUnfit(why=f'what it says of "{secret.name}" has not the form of an id and a version')
