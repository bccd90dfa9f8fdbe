"""Runs that were kept long enough: deleted with all they left but their receipts, which are evidence.

Little by little, in transactions of milliseconds. What is deleted makes room for what comes: SQLite uses the pages
again, so that its file stops growing, and PostgreSQL's autovacuum does the same for its tables.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, delete, tuple_
from sqlmodel import Session, col, select

from executor import models
from executor.models import Run, Worker
from executor.schemas.runs import OVER
from secretstore.database import Database

_RUNS = 50
_ROWS = 64  # of up to 256 KiB each, which SQLite overwrites with zeros
_IN_PIECES: tuple[Any, ...] = (models.LogChunk, models.OutputChunk, models.Sample, models.Metric)
_WHOLE: tuple[Any, ...] = (models.Output, models.Result, models.Masked, models.Attempt)


def delete_some(db: Database, age: float) -> int | None:
    """Delete a part of what belongs to runs that have been over for `age` seconds.

    Returns how many runs are gone for it, None when none is left. Safe by several janitors at once.
    """
    with db.writing() as session:
        # A moment, not an expression: the index is of no use for what the clock could change in between.
        until = session.exec(select(db.after(-age))).one()
        old = session.exec(
            select(Run.id)
            .where(col(Run.finished_at) < until, col(Run.state).in_(OVER))
            .order_by(col(Run.finished_at))
            .limit(_RUNS)
            .with_for_update(skip_locked=True)
        ).all()
        if not old:
            _delete(session, delete(Worker).where(col(Worker.seen_at) < until))
            return None
        for table in _IN_PIECES:
            if _delete_pieces(session, table, old):
                return 0
        for table in _WHOLE:
            _delete(session, delete(table).where(table.run_id.in_(old)))
        return _delete(session, delete(Run).where(col(Run.id).in_(old)))


def _delete_pieces(session: Session, table: Any, runs: Sequence[str]) -> bool:
    """Whether there may be more of them."""
    key = tuple(table.__table__.primary_key.columns)
    some = select(*key).where(table.run_id.in_(runs)).limit(_ROWS)
    return _delete(session, delete(table).where(tuple_(*key).in_(some))) == _ROWS


def _delete(session: Session, statement: Any) -> int:
    done: CursorResult[Any] = session.connection().execute(statement)
    return done.rowcount
