"""From a submission to a worker: a run is found, claimed and held by a lease."""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Integer,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    update,
)
from sqlalchemy import select as select_rows
from sqlalchemy.exc import DataError

from executor.models import Run
from executor.runs.conditions import (
    PENDING_BY_ID,
    RUN,
    WRITABLE,
    free,
    leases,
    most_running,
    of,
    room,
    room_for_it,
    unheld,
)
from executor.runs.needs import suits
from executor.runs.rows import ATTEMPT, lose_claimed, moment, run_of
from executor.runs.settling import give_up
from executor.runs.spec import Lease, Offer
from secretstore.database import Database, clock
from secretstore.errors import RowUnreadable
from secretstore.transaction import Transaction

# The advisory locks by which claims of a limited project take turns, apart from those of anything else.
_TURN = 0x7365616C


def claim(db: Database, run_id: str, offer: Offer, seconds: float) -> tuple[Run, Lease] | None:
    """Take a pending run, or nothing.

    It is another's, over, cancelled, waits for its retry or for its project's turn, or asks for what this worker cannot
    give. One whose row cannot be read is ended: nobody could ever take it, and it would be rung for again and again.
    """
    try:
        return _claim(db, run_id, offer, seconds)
    except (ValueError, TypeError, DataError, RowUnreadable):
        give_up(db, run_id, "its row in the database cannot be read", reason="internal_error")
        return None


def _claim(db: Database, run_id: str, offer: Offer, seconds: float) -> tuple[Run, Lease] | None:
    with db.acting() as transaction:
        times = {"now": db.from_now(), "until": db.from_now(seconds)}
        row = transaction.execute(taking(db.dialect, offer), {"of_run": run_id, **times}).first()
        if row is None:
            return None
        run, most = run_of(row), row.most
        if most is not None and db.dialect != "sqlite" and not _within(transaction, db, run.project_id, most):
            transaction.undo()
            return None
        if run.attempt > 1:
            lose_claimed(transaction, run_id, moment(transaction, db))
        values = {"run_id": run_id, "number": run.attempt, "fencing_token": run.fencing_token, "worker": offer.worker}
        transaction.execute(_claimed(db.dialect), {**values, "state": "claimed", "now": times["now"]})
        return run, Lease(run_id, run.attempt, run.fencing_token, seconds, limited=most is not None)


@lru_cache(maxsize=64)
def taking(dialect: str, offer: Offer) -> Update:
    """The claim: one row, if it is free, suits this worker, and its project has room. It is built once for an offer."""
    now = clock(dialect, "now")
    return (
        update(RUN)
        .where(RUN.c.id == bindparam("of_run"), *free(now, PENDING_BY_ID), suits(offer, one=True), room_for_it(now))
        .values(
            fencing_token=RUN.c.fencing_token + 1,
            attempt=RUN.c.attempt + 1,
            lease_owner=offer.worker,
            lease_until=clock(dialect, "until"),
            not_before=None,
        )
        .returning(*RUN.c, most_running().label("most"))
    )


@cache
def _claimed(dialect: str) -> Insert:
    """The attempt that begins with a claim."""
    return insert(ATTEMPT).values(claimed_at=clock(dialect, "now"))


def _within(transaction: Transaction, db: Database, project_id: str, most: int) -> bool:
    """Whether a project keeps to its limit with the lease that this transaction is about to give.

    Others may be about to give one, too, which no condition of theirs or ours saw (SQLite has one writer at a time). So
    they take turns, and each counts what those before it have committed, and its own.
    """
    this = {"of_project": project_id}
    transaction.execute(_IN_TURN, this)
    (taken,) = transaction.execute(_taken(db.dialect), {**this, "now": db.from_now()}).first()
    return bool(taken <= most)


_IN_TURN = select_rows(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("of_project", type_=String()), _TURN)).label("turn")
)


@cache
def _taken(dialect: str) -> Select[Any]:
    """How many leases a project has given."""
    return leases(RUN, clock(dialect, "now")).where(RUN.c.project_id == bindparam("of_project"))


@dataclass(frozen=True)
class Renewal:
    """What a renewal found."""

    held: bool
    cancel_requested: bool = False


def renew(db: Database, lease: Lease, held_up: str | None = None) -> Renewal:
    """Hold the lease for its length from now, and learn whether somebody asked to cancel.

    `held_up` is why the run's output waits at its worker, if it does: whoever follows it is told.
    """
    with db.acting() as transaction:
        values = {**of(lease), "until": db.from_now(lease.seconds), "held_up": held_up}
        row = transaction.execute(_renewing(db.dialect), values).first()
        return Renewal(False) if row is None else Renewal(True, row[0] is not None)


@cache
def _renewing(dialect: str) -> Update:
    """A lease for its length from now; `held_up` is set beside it."""
    return update(RUN).where(WRITABLE).values(lease_until=clock(dialect, "until")).returning(RUN.c.cancel_requested_at)


def end_delays(db: Database) -> list[tuple[str, str]]:
    """Retries whose time has come, each to one caller alone, whose part it is to ring for them: id and queue."""
    with db.looking() as transaction:  # it is asked every second, and a writer would keep others waiting
        if transaction.execute(_delay_over(db.dialect), {"now": db.from_now()}).first() is None:
            return []
    with db.writing() as session:
        told = session.connection().execute(
            update(RUN)
            .where(_come(db.now()), RUN.c.state == "pending")
            .values(not_before=None, rung_at=moment(session, db))
            .returning(RUN.c.id, RUN.c.queue)
        )
        return [(run_id, queue) for run_id, queue in told]


def _come(now: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(RUN.c.not_before.is_not(None), RUN.c.not_before <= now)


@cache
def _delay_over(dialect: str) -> Select[Any]:
    return select_rows(RUN.c.id).where(_come(clock(dialect, "now"))).limit(1)


def next_of(db: Database, project_id: str, offer: Offer) -> tuple[str, str] | None:
    """The run that is to have the slot that its project has again: id and queue; one of this worker's before others."""
    with db.looking() as transaction:
        bound = {"of_project": project_id, "now": db.from_now()}
        found = transaction.execute(_next_of(db.dialect, offer), bound).first()
        return None if found is None else (found.id, found.queue)


@lru_cache(maxsize=64)
def _next_of(dialect: str, offer: Offer) -> Select[Any]:
    now = clock(dialect, "now")
    return (
        select_rows(RUN.c.id, RUN.c.queue)
        .where(RUN.c.project_id == bindparam("of_project"), *free(now), room(now))
        .order_by(case((suits(offer), 0), else_=1), RUN.c.created_at)
        .limit(1)
    )


def unclaimed(db: Database, offer: Offer, older_than: float, limit: int) -> list[tuple[str, str]]:
    """Runs this worker could take and nobody has, `older_than` seconds after their bell, oldest first: id and queue."""
    bound = {"now": db.from_now(), "unheard": db.from_now(-older_than), "most": limit}
    with db.looking() as transaction:
        return [(run_id, queue) for run_id, queue in transaction.execute(_unclaimed(db.dialect, offer), bound)]


@lru_cache(maxsize=64)
def _unclaimed(dialect: str, offer: Offer) -> Select[Any]:
    now = clock(dialect, "now")
    return (
        select_rows(RUN.c.id, RUN.c.queue)
        .where(*free(now), suits(offer), room(now), RUN.c.rung_at <= clock(dialect, "unheard"))
        .order_by(RUN.c.created_at)
        .limit(bindparam("most", type_=Integer()))
    )


def expected(db: Database, offer: Offer) -> bool:
    """Whether there is a run that this worker could take now or, after its delay or in its project's turn, later."""
    with db.reading() as session:
        waiting = select_rows(RUN.c.id).where(unheld(db.now()), suits(offer)).limit(1)
        return session.connection().execute(waiting).first() is not None
