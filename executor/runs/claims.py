"""From a submission to a worker: a run is found, claimed and held by a lease."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import and_, case, func, insert, update
from sqlalchemy.exc import DataError
from sqlmodel import Session, col, select

from executor.models import Attempt, Run
from executor.runs.conditions import free, leases, most_running, room, room_for_it, unheld, writable
from executor.runs.needs import suits
from executor.runs.rows import lose_claimed, moment
from executor.runs.settling import give_up
from executor.runs.spec import Lease, Offer
from secretstore.database import Database
from secretstore.errors import RowUnreadable

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
    with db.writing() as session:
        taken = session.exec(
            update(Run)
            .where(col(Run.id) == run_id, *free(db), suits(offer, one=True), room_for_it(db))
            .values(
                fencing_token=Run.fencing_token + 1,
                attempt=Run.attempt + 1,
                lease_owner=offer.worker,
                lease_until=db.after(seconds),
                not_before=None,
            )
            .returning(Run, most_running())
            .execution_options(synchronize_session=False)
        ).first()
        if taken is None:
            return None
        run, most = cast("tuple[Run, int | None]", taken)
        if most is not None and db.dialect != "sqlite" and not _within(session, db, run.project_id, most):
            session.rollback()
            return None
        now = moment(session, db)
        if run.attempt > 1:
            lose_claimed(session, run_id, now)
        values = {"run_id": run_id, "number": run.attempt, "fencing_token": run.fencing_token, "worker": offer.worker}
        session.connection().execute(insert(Attempt).values(**values, claimed_at=now, state="claimed"))
        session.expunge(run)
        return run, Lease(run_id, run.attempt, run.fencing_token, seconds, limited=most is not None)


def _within(session: Session, db: Database, project_id: str, most: int) -> bool:
    """Whether a project keeps to its limit with the lease that this transaction is about to give.

    Others may be about to give one, too, which no condition of theirs or ours saw (SQLite has one writer at a time). So
    they take turns, and each counts what those before it have committed, and its own.
    """
    session.connection().execute(select(func.pg_advisory_xact_lock(func.hashtextextended(project_id, _TURN))))
    return bool(session.exec(leases(Run, db).where(Run.project_id == project_id)).one() <= most)


@dataclass(frozen=True)
class Renewal:
    """What a renewal found."""

    held: bool
    cancel_requested: bool = False


def renew(db: Database, lease: Lease, held_up: str | None = None) -> Renewal:
    """Hold the lease for its length from now, and learn whether somebody asked to cancel.

    `held_up` is why the run's output waits at its worker, if it does: whoever follows it is told.
    """
    with db.writing() as session:
        row = session.exec(
            update(Run)
            .where(writable(lease))
            .values(lease_until=db.after(lease.seconds), held_up=held_up)
            .returning(col(Run.cancel_requested_at))
        ).first()
        return Renewal(False) if row is None else Renewal(True, row[0] is not None)


def end_delays(db: Database) -> list[tuple[str, str]]:
    """Retries whose time has come, each to one caller alone, whose part it is to ring for them: id and queue."""
    come = and_(col(Run.not_before).is_not(None), col(Run.not_before) <= db.now())
    with db.reading() as session:  # it is asked every second, and a writer would keep others waiting
        if session.exec(select(Run.id).where(come).limit(1)).first() is None:
            return []
    with db.writing() as session:
        told = session.exec(
            update(Run)
            .where(come, col(Run.state) == "pending")
            .values(not_before=None, rung_at=moment(session, db))
            .returning(col(Run.id), col(Run.queue))
            .execution_options(synchronize_session=False)
        )
        return [(run_id, queue) for run_id, queue in told]


def next_of(db: Database, project_id: str, offer: Offer) -> tuple[str, str] | None:
    """The run that is to have the slot that its project has again: id and queue; one of this worker's before others."""
    with db.reading() as session:
        return session.exec(
            select(Run.id, Run.queue)
            .where(Run.project_id == project_id, *free(db), room(db))
            .order_by(case((suits(offer), 0), else_=1), col(Run.created_at))
            .limit(1)
        ).first()


def unclaimed(db: Database, offer: Offer, older_than: float, limit: int) -> list[tuple[str, str]]:
    """Runs this worker could take and nobody has, `older_than` seconds after their bell, oldest first: id and queue."""
    with db.reading() as session:
        return list(
            session.exec(
                select(Run.id, Run.queue)
                .where(*free(db), suits(offer), room(db), col(Run.rung_at) <= db.after(-older_than))
                .order_by(col(Run.created_at))
                .limit(limit)
            )
        )


def expected(db: Database, offer: Offer) -> bool:
    """Whether there is a run that this worker could take now or, after its delay or in its project's turn, later."""
    with db.reading() as session:
        return session.exec(select(Run.id).where(unheld(db), suits(offer)).limit(1)).first() is not None
