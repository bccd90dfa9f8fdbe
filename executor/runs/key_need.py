"""What a run's secrets need of a worker: the key service by which their private key is wrapped."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, exists, false, func, or_, select, true

from executor.runs.conditions import RUN, among
from executor.runs.spec import Offer
from secretstore.database import table_of
from secretstore.keyring import fits
from secretstore.models import Environment, KeyPair, Secret

_ENVIRONMENT, _PAIR, _SECRET = table_of(Environment).c, table_of(KeyPair).c, table_of(Secret).c


@dataclass(frozen=True)
class KeyNeed:
    """That a worker's key services have what the private key of the run's environment is wrapped by.

    A run that is given no secret needs none. It is asked of the environment as it is now: a rotation, or a move to
    another key service, counts for runs that wait.
    """

    short: str
    sentence: str

    def offered(self, offer: Offer) -> tuple[str, ...]:
        """What a worker has of it."""
        return offer.key_services

    def sql(self, offer: Offer, one: bool = False) -> ColumnElement[bool]:
        """Whether a worker that offers this meets it, asked of a run's row; of `one` row, or of many."""
        if "*" in offer.key_services:
            return true()
        among = or_(false(), *(fitting(pattern, _PAIR.key_service) for pattern in offer.key_services))
        return _of_no(one, ~among)

    def met_by(self, run: object, offer: Offer) -> bool:
        """The same of a run that is at hand; of one whose key service was not looked up, true."""
        wanted = getattr(run, "key_service", None)
        return wanted is None or any(fits(pattern, wanted) for pattern in offer.key_services)


def left_to_others(offer: Offer, one: bool = False) -> tuple[ColumnElement[bool], ...]:
    """The worker's key service has not refused a moment ago to open what the run may be given."""
    return (_of_no(one, among(_ENVIRONMENT.id, offer.refused)),) if offer.refused else ()


def key_service() -> Any:
    """The key service that a run's row needs, as a column of this name; empty where it is given no secret."""
    its = (_ENVIRONMENT.id == RUN.c.environment_id, _given())
    return select(_PAIR.key_service).where(*sealed(), *its).correlate(RUN).scalar_subquery().label("key_service")


def _of_no(one: bool, such: ColumnElement[bool]) -> ColumnElement[bool]:
    """The run is not given secrets of an environment with `such` a key pair.

    Those environments are looked up once for all runs of a listing; for one run, its own is looked at.
    """
    found = select(_ENVIRONMENT.id).where(*sealed(), such)
    if one:
        found = found.where(_ENVIRONMENT.id == RUN.c.environment_id).correlate(RUN)
    return or_(RUN.c.environment_id.not_in(found), ~_given())


def _given() -> ColumnElement[bool]:
    """A run may be given secrets, if its environment has any."""
    return or_(
        RUN.c.setup_secret_names.is_not(None),
        # JSON compares as text alone in PostgreSQL.
        func.coalesce(cast(RUN.c.secret_names, Text), "null") != "[]",
        # Its parameters are data sources and catalogs, which may be filled in from secrets.
        cast(RUN.c.mapped, Text) != "{}",
    )


def sealed() -> tuple[ColumnElement[bool], ...]:
    """Environments that have secrets, each with its current key pair."""
    return (
        _PAIR.environment_id == _ENVIRONMENT.id,
        _PAIR.generation == _ENVIRONMENT.generation,
        exists().where(_SECRET.environment_id == _ENVIRONMENT.id).correlate(_ENVIRONMENT.id.table),
    )


def fitting(pattern: str, column: Any) -> ColumnElement[bool]:
    """`secretstore.keyring.fits` in SQL; LIKE would take small letters for capitals in SQLite."""
    head, star, tail = pattern.partition("*")
    if not star:
        return and_(column == head)
    size = func.length(column)
    return and_(
        size >= len(head + tail),
        func.substr(column, 1, len(head)) == head,
        func.substr(column, size - len(tail) + 1) == tail,
    )
