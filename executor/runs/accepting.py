"""A submission becomes rows: all of its runs, or none."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Insert, Select, bindparam, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from executor.errors import KeyTaken
from executor.models import Run, RunSpec, new_id
from executor.runs.conditions import RUN
from executor.runs.plans import DIRECT, Door, Signing
from executor.runs.rows import moment, run_of
from executor.runs.spec import mapped_by
from executor.schemas.runs import title
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import SealrunError
from secretstore.transaction import Transaction

_TRIES = 5  # for keys that others take meanwhile: at the second look they are there
_DEADLOCK = "40P01"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_SPECIFIED = tuple(RunSpec.model_fields)
_BEGINNING = {name: Run.model_fields[name].default for name in ("retried", "refused", "state", "attempt")} | {
    "fencing_token": Run.model_fields["fencing_token"].default
}
"""What a run's row has before anything has happened to it, beside what is NULL."""
_OWN = ("id", "mapped", "created_by", "door", "plan")


class Accepted(NamedTuple):
    """A run that is there; `new` is False where an earlier one has its idempotency key, and is the one."""

    run_id: str
    new: bool


class Refused(Exception):
    """one of several submissions cannot be accepted: `place` is which, counted from 0"""

    def __init__(self, place: int, why: SealrunError) -> None:
        self.place, self.why = place, why
        super().__init__()


def accept(db: Database, spec: RunSpec, actor: str, door: Door = DIRECT) -> Accepted:
    """Accept a run: one row, `pending`; or find the one that was accepted under its idempotency key before.

    Raises:
        KeyTaken: the run that has the key has another target or environment, or was given something else.
        ProjectDeleted: its project is deleted, perhaps just now.
    """
    try:
        return accept_all(db, [spec], actor, door)[0]
    except Refused as refused:
        raise refused.why from None


def accept_all(db: Database, specs: Sequence[RunSpec], actor: str, door: Door = DIRECT) -> list[Accepted]:
    """Accept runs in one transaction: all of them, in this order, or none. Those of a door with a key are signed.

    Of two with one idempotency key the second is the first, whether that was accepted before or stands among these.

    Raises:
        Refused: one of them cannot be, for a KeyTaken as of `accept`.
        ProjectDeleted: the project of one is deleted, perhaps just now.
    """
    for left in reversed(range(_TRIES)):
        try:
            with db.acting() as transaction:
                accepted = _accepted(transaction, db, specs, actor, door)
            return accepted
        except DBAPIError as error:
            # A unique index has decided for somebody else's run of the same key, or each waited for the other's.
            again = isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) == _DEADLOCK
            if not again or not left or not any(spec.idempotency_key for spec in specs):
                raise
    raise AssertionError


def _accepted(
    transaction: Transaction, db: Database, specs: Sequence[RunSpec], actor: str, door: Door
) -> list[Accepted]:
    for project_id in sorted({spec.project_id for spec in specs}):
        vault.require_living(transaction, project_id)
    taken = _of_keys(transaction, specs)
    signing = None if door.key is None else Signing(transaction, door.key)
    rows: list[dict[str, Any]] = []
    found: list[Accepted] = []
    first: dict[str, int] = {}
    for place, spec in enumerate(specs):
        key = (spec.project_id, spec.idempotency_key)
        earlier = taken.get(key) if spec.idempotency_key is not None else None
        if earlier is not None:
            run_id, differs = earlier[0], " and ".join(_differing(earlier[1], spec))
            if differs and run_id in first:
                raise Refused(place, _repeated(spec, first[run_id], differs))
            if differs:
                raise Refused(place, KeyTaken(key=spec.idempotency_key, run=run_id[:8], differs=differs))
            found.append(Accepted(run_id, False))
            continue
        rows.append(_row(spec, actor, door, signing))
        found.append(Accepted(rows[-1]["id"], True))
        taken[key] = rows[-1]["id"], spec
        first[rows[-1]["id"]] = place
    # One run is told the time by the statement itself, without another way to PostgreSQL and back.
    told = len(rows) > 1 or db.dialect == "sqlite"
    if told:
        now = moment(transaction, db)
        for place, row in enumerate(rows):
            row["now"] = now + timedelta(microseconds=place)  # workers take the oldest first
    # Two that take several keys each, in an order of their own, would wait for one another.
    rows.sort(key=lambda row: (row["idempotency_key"] or "", row["project_id"]))
    if rows:
        transaction.execute(_insertion(told), rows if len(rows) > 1 else rows[0])
    return found


def _repeated(spec: RunSpec, first: int, differs: str) -> KeyTaken:
    """The key is that of an earlier one of the same submission, which is not accepted either."""
    return KeyTaken(
        'its idempotency key "{key}" is that of items[{first}], which has {differs}',
        key=spec.idempotency_key,
        first=first,
        differs=differs,
        hint="give each of them a key of its own",
    )


def _row(spec: RunSpec, actor: str, door: Door = DIRECT, signing: Signing | None = None) -> dict[str, Any]:
    asked = {name: getattr(spec, name) for name in _SPECIFIED}
    own = {"id": new_id(), "mapped": mapped_by(spec.target), "created_by": actor, "door": door.name}
    row = {**asked, **_BEGINNING, **own}
    return {**row, "plan": None if signing is None else signing.plan(row)}


@cache
def _insertion(told: bool) -> Insert:
    """The statement, built once: SQLAlchemy then finds it compiled. `told` are rows with their time in `now`."""
    now = bindparam("now", type_=RUN.c.created_at.type) if told else func.clock_timestamp()
    given: dict[str, Any] = {name: bindparam(name) for name in (*_SPECIFIED, *_BEGINNING, *_OWN)}
    return insert(RUN).values(**given, created_at=now, rung_at=now)


def _of_keys(
    transaction: Transaction, specs: Sequence[RunSpec]
) -> dict[tuple[str, str | None], tuple[str, Run | RunSpec]]:
    """The runs that have the keys of these already, by project and key."""
    asked: dict[str, list[str]] = {}
    for spec in specs:
        if spec.idempotency_key is not None:
            asked.setdefault(spec.project_id, []).append(spec.idempotency_key)
    found: dict[tuple[str, str | None], tuple[str, Run | RunSpec]] = {}
    for project_id, keys in asked.items():
        these = {f"key_{place}": key for place, key in enumerate(keys)}
        for row in transaction.execute(_of_so_many_keys(len(keys)), {"of_project": project_id, **these}):
            found[project_id, row.idempotency_key] = row.id, run_of(row)
    return found


@lru_cache(maxsize=64)
def _of_so_many_keys(count: int) -> Select[Any]:
    keys = [bindparam(f"key_{place}", type_=RUN.c.idempotency_key.type) for place in range(count)]
    return select(RUN).where(RUN.c.project_id == bindparam("of_project"), RUN.c.idempotency_key.in_(keys))


def _differing(earlier: Run | RunSpec, spec: RunSpec) -> Iterator[str]:
    """Yield what an earlier run has that is not the same, so that it cannot stand for this one.

    Of one in another environment nothing else: who submits may have no right to see that.
    """
    if earlier.environment_id != spec.environment_id:
        same = earlier.environment == spec.environment
        yield f"another environment: {earlier.environment} (deleted since)" if same else "another environment"
        return
    if earlier.target != spec.target:
        what = "other arguments of" if title(earlier.target) == title(spec.target) else "another target:"
        yield f"{what} {title(earlier.target)}"
    if earlier.variables != spec.variables:
        yield "other variables"
    if (_unordered(earlier.secret_names), earlier.connections) != (_unordered(spec.secret_names), spec.connections):
        yield "other secrets or connections"
    if (earlier.narrowed or {}).get("network") != (spec.narrowed or {}).get("network"):
        yield "another network"


def _unordered(names: list[str] | None) -> set[str] | None:
    return None if names is None else set(names)
