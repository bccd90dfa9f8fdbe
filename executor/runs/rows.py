"""The writes that several acts share: a run's attempt, the guard of a transaction, the database's moment.

What every run does is a statement that is built once, here and in the modules of the acts: its values are bound when a
connection executes it. To build one takes longer than to execute it.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import CursorResult, Select, Update, bindparam, select, update
from sqlalchemy.orm import class_mapper
from sqlmodel import Session

from executor.models import Attempt, Run
from executor.runs.conditions import RUN, WRITABLE, of
from executor.runs.spec import Lease, Outcome, StaleToken
from secretstore.database import Database, clock, table_of, utc_now
from secretstore.transaction import Reader, Transaction

ATTEMPT = table_of(Attempt)
_COLUMNS = tuple(column.name for column in RUN.c)
_RUNS = class_mapper(Run).class_manager

# What an audit event says about a run.
WHOSE = (RUN.c.project_id, RUN.c.project, RUN.c.environment, RUN.c.created_by)

_GUARDED = select(RUN.c.fencing_token).where(WRITABLE).with_for_update()

THIS_ATTEMPT = (ATTEMPT.c.run_id == bindparam("of_run"), ATTEMPT.c.number == bindparam("of_attempt"))
"""The attempt; its columns are set by the names that are bound."""

_ENDED = (
    update(ATTEMPT).where(*THIS_ATTEMPT, ATTEMPT.c.fencing_token == bindparam("of_token")).returning(ATTEMPT.c.worker)
)


_LOST = (
    update(ATTEMPT)
    .where(ATTEMPT.c.run_id == bindparam("of_run"), ATTEMPT.c.state == "claimed")
    .values(state="lost", reason="lost", finished_at=bindparam("now", type_=ATTEMPT.c.finished_at.type))
)


def guard(session: Reader, lease: Lease) -> None:
    """Let the transaction go on only while the token is the run's latest and the run is not over.

    Raises:
        StaleToken: it is not.
    """
    if session.connection().execute(_GUARDED, of(lease)).first() is None:
        raise StaleToken


def end_attempt(
    transaction: Transaction, lease: Lease, outcome: Outcome, state: str, now: datetime
) -> Callable[[], str]:
    """Write how it ended; what is returned tells whose it was."""
    values = {
        "state": state,
        "reason": outcome.reason,
        "message": outcome.message,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "metrics": dict(outcome.metrics) if outcome.metrics is not None else None,
        "finished_at": now,
    }
    answer = transaction.execute(_ENDED, {**of(lease), "of_attempt": lease.attempt, **values})

    def worker() -> str:
        ended = answer.first()
        return ended[0] if ended is not None else ""

    return worker


def lose_claimed(session: Reader, run_id: str, now: datetime) -> None:
    """An attempt that did not reach its gate, and whose lease is over, was lost."""
    session.connection().execute(_LOST, {"of_run": run_id, "now": now})


def write(session: Session, statement: Update) -> int:
    """Execute it; returns how many rows it changed."""
    statement = statement.execution_options(synchronize_session=False)  # no object of the session outlives it
    return cast("CursorResult[Any]", session.exec(statement)).rowcount


def moment(session: Reader, db: Database) -> datetime:
    """The database's clock; SQLite's is this machine's, and need not be asked."""
    if db.dialect == "sqlite":
        return utc_now()
    (now,) = session.connection().execute(_moment(db.dialect), {"now": db.from_now()}).first()
    return cast(datetime, now)


@cache
def _moment(dialect: str) -> Select[Any]:
    return select(clock(dialect, "now").label("now"))


def run_of(row: Any) -> Run:
    """The run of a row that begins with all of its columns; it belongs to no session.

    It is made as SQLAlchemy makes one that it has read: setting forty attributes takes longer than the claim.
    """
    run: Run = _RUNS.new_instance()
    vars(run).update(zip(_COLUMNS, row, strict=False))
    return run
