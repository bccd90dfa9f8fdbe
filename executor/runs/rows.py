"""The writes that several acts share: a run's attempt, the guard of a transaction, the database's moment."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, Update, update
from sqlmodel import Session, col, select

from executor.models import Attempt, Run
from executor.runs.conditions import writable
from executor.runs.spec import Lease, Outcome, StaleToken
from secretstore.database import Database, utc_now

# What an audit event says about a run.
WHOSE = (col(Run.project_id), col(Run.project), col(Run.environment), col(Run.created_by))


def guard(session: Session, lease: Lease) -> None:
    """Let the transaction go on only while the token is the run's latest and the run is not over.

    Raises:
        StaleToken: it is not.
    """
    row = session.exec(select(Run.fencing_token).where(writable(lease)).with_for_update()).first()
    if row is None:
        raise StaleToken


def end_attempt(session: Session, lease: Lease, outcome: Outcome, state: str, now: datetime) -> str:
    """Write how it ended, and return whose it was."""
    ended = session.exec(
        update(Attempt)
        .where(
            col(Attempt.run_id) == lease.run_id,
            col(Attempt.number) == lease.attempt,
            col(Attempt.fencing_token) == lease.token,
        )
        .values(
            state=state,
            reason=outcome.reason,
            message=outcome.message,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            metrics=dict(outcome.metrics) if outcome.metrics is not None else None,
            finished_at=now,
        )
        .returning(col(Attempt.worker))
        .execution_options(synchronize_session=False)
    ).first()
    return ended[0] if ended is not None else ""


def lose_claimed(session: Session, run_id: str, now: datetime) -> None:
    """An attempt that did not reach its gate, and whose lease is over, was lost."""
    session.exec(
        update(Attempt)
        .where(col(Attempt.run_id) == run_id, col(Attempt.state) == "claimed")
        .values(state="lost", reason="lost", finished_at=now)
    )


def write(session: Session, statement: Update) -> int:
    """Execute it; returns how many rows it changed."""
    statement = statement.execution_options(synchronize_session=False)  # no object of the session outlives it
    return cast("CursorResult[Any]", session.exec(statement)).rowcount


def moment(session: Session, db: Database) -> datetime:
    """The database's clock; SQLite's is this machine's, and need not be asked."""
    return utc_now() if db.dialect == "sqlite" else cast(datetime, session.exec(select(db.now())).one())
