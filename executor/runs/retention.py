"""What runs left is deleted: output, results, problems, files, samples and metrics.

A run's row, its attempts and its receipts stay, and say when that was and by whom: receipts are evidence. It is done
little by little, in transactions of some hundredths of a second with pauses between them, so that whoever wants to
write can. A run is marked before the first piece goes, so that nobody takes the rest of its output for all of it;
what a killed process left of such a run is deleted by the next janitor.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Row, delete, false, func, tuple_, update
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select

from executor import models
from executor.errors import RunPruned
from executor.models import Attempt, Run, Worker
from executor.runs.rows import moment
from executor.schemas.runs import OVER
from secretstore import audit, vault
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.models import Project

WORKER = "worker"
"""The origin of who acts though nobody asked."""

_RUNS = 50  # the ids of an audit event
_ROWS = 64  # of up to 256 KiB each, which SQLite overwrites with zeros
_HELD = 0.03  # seconds after which a transaction takes nothing more
_PAUSE = 0.03  # seconds: SQLite has no queue, and those who wait for it only look again now and then
_IN_PIECES: tuple[Any, ...] = (models.LogChunk, models.OutputChunk, models.Sample, models.Metric)
_AT_ONCE = 500  # runs by their ids
_WHOLE: tuple[Any, ...] = (models.Output, models.Result, models.Masked)

# Nobody may do again what is not known any more; a key names what is kept of a run.
_STUB: dict[str, Any] = {"requirements": None, "package": None, "variables": {}, "plan": None, "idempotency_key": None}


@dataclass(frozen=True)
class Pruning:
    """Of which runs, those that are over, what they left is deleted; by whom, and why, in a few words."""

    by: Actor
    why: str
    which: Sequence[ColumnElement[bool]] = field(default_factory=tuple)


def older(
    db: Database,
    seconds: float,
    *,
    by: Actor,
    keep_failed: bool = False,
    project_id: str | None = None,
    listed_only: bool = False,
) -> Pruning:
    """Runs that have been over for so long: of one project, or of all; of deleted ones, too, unless `listed_only`."""
    with db.reading() as session:
        # A moment, not an expression: the index is of no use for what the clock could change in between.
        until = session.exec(select(db.after(-seconds))).one()
    which = [col(Run.finished_at) < until]
    if keep_failed:
        which.append(_unindexed(Run.state) != "failed")
    if project_id is not None:
        which.append(_unindexed(Run.project_id) == project_id)
    if listed_only:
        which.append(_unindexed(Run.project_id).not_in(vault.deleted_ids()))
    return Pruning(by, f"over since before {until:%Y-%m-%d %H:%M} UTC", which)


def these(ids: Iterable[str], *, by: Actor) -> Pruning:
    """Runs by their ids, of which there are some hundreds at most."""
    return Pruning(by, "named", [col(Run.id).in_(list(ids))])


def unfinished(db: Database, *, by: Actor) -> Pruning:
    """Runs of which somebody began to delete what they left, and was killed: some of them."""
    begun = select(Run.id).where(col(Run.pruned_by).is_not(None), col(Run.pruned_at).is_(None))
    with db.reading() as session:
        return these(session.exec(begun.limit(_AT_ONCE)).all(), by=by)


def of_destroyed(db: Database, *, by: Actor) -> Pruning:
    """Runs of projects that were destroyed."""
    kept = select(Run.id).where(Run.project_id == Project.id, col(Run.pruned_by).is_(None)).correlate(Project)
    with_some = select(Project.id).where(col(Project.destroyed_at).is_not(None), kept.exists())
    with db.reading() as session:
        ids = session.exec(with_some).all()
    # Without any it must not look for them through all runs.
    return Pruning(by, "project destroyed", [_unindexed(Run.project_id).in_(ids) if ids else false()])


def due(pruning: Pruning) -> ColumnElement[bool]:
    """What is asked of the row of a run that it is about."""
    condition: ColumnElement[bool] = col(Run.pruned_at).is_(None) & _unindexed(Run.state).in_(OVER)
    for one in pruning.which:
        condition &= one
    return condition


def refuse_pruned(run_id: str, pruned_at: datetime | None, pruned_by: str | None) -> None:
    """Refuse what needs what a run left.

    Raises:
        RunPruned: that is deleted, or some of it already.
    """
    if pruned_by is not None:
        at = f"{pruned_at:%Y-%m-%d %H:%M} UTC" if pruned_at is not None else "this day"
        raise RunPruned(run=run_id[:8], at=at, by=pruned_by)


def _unindexed(column: Any) -> Any:
    """A column as nothing but a condition: the index of ends gives fifty runs, others all to be sorted."""
    return func.coalesce(col(column), "")


def prune(db: Database, pruning: Pruning) -> Iterator[int]:
    """Do it, a part at each step; yields how many runs are done with it. Safe by several at once, and if killed."""
    with db.reading() as session:  # most janitors find nothing, and a writer would keep others waiting
        place: datetime | None = None
        if not session.execute(_next(pruning, place).limit(1)).all():
            return
    some = True
    while some:
        done = 0
        with db.writing(last=True) as session:
            until = time.monotonic() + _HELD  # from when it is ours: to wait for it is nobody's loss
            while some:
                batch = session.execute(_next(pruning, place).limit(_RUNS).with_for_update(skip_locked=True)).all()
                some = bool(batch)
                if some and _delete_left(session, db, batch, pruning, until):
                    done, place = done + len(batch), batch[-1].finished_at
                if time.monotonic() > until:
                    break
        yield done
        if some:
            time.sleep(_PAUSE)


def forget_workers(db: Database, age: float) -> None:
    """Delete the rows of workers that nobody has seen for so many seconds."""
    with db.writing() as session:
        _delete(session, delete(Worker).where(col(Worker.seen_at) < db.after(-age)))


def _next(pruning: Pruning, place: datetime | None) -> Any:
    """Select the next runs, by their end. Those before the place were looked at, and are not ours."""
    begin = [col(Run.finished_at) >= place] if place is not None else []
    return (
        select_rows(col(Run.id), col(Run.project_id), col(Run.project), col(Run.finished_at))
        .where(due(pruning), col(Run.finished_at).is_not(None), *begin)
        .order_by(col(Run.finished_at))
    )


def _delete_left(session: Session, db: Database, batch: Sequence[Row[Any]], pruning: Pruning, until: float) -> bool:
    """Whether all of it is deleted; else there is more, for which the time of this transaction is over."""
    ids = [run.id for run in batch]
    who = pruning.by.name if pruning.by.origin != WORKER else "a worker"
    _write(session, update(Run).where(col(Run.id).in_(ids), col(Run.pruned_by).is_(None)).values(pruned_by=who))
    for table in _IN_PIECES:
        while _delete_pieces(session, table, ids):
            if time.monotonic() > until:
                return False
    for table in _WHOLE:
        _delete(session, delete(table).where(table.run_id.in_(ids)))
    now = moment(session, db)
    _write(session, update(Attempt).where(col(Attempt.run_id).in_(ids)).values(metrics=None))
    _write(session, update(Run).where(col(Run.id).in_(ids)).values(pruned_at=now, **_STUB))
    for project_id, project in sorted({(run.project_id, run.project) for run in batch}):
        its = [run.id for run in batch if run.project_id == project_id]
        detail = {"runs": its, "why": pruning.why}
        subject = f"{len(its)} run" + ("s" if len(its) > 1 else "")
        audit.append_later(
            session, project_id, project, actor=pruning.by, action="runs.prune", subject=subject, detail=detail, at=now
        )
    return True


def _delete_pieces(session: Session, table: Any, runs: Sequence[str]) -> bool:
    """Whether there may be more of them."""
    key = tuple(table.__table__.primary_key.columns)
    some = select(*key).where(table.run_id.in_(runs)).limit(_ROWS)
    return _delete(session, delete(table).where(tuple_(*key).in_(some))) == _ROWS


def _delete(session: Session, statement: Any) -> int:
    done: CursorResult[Any] = session.connection().execute(statement)
    return done.rowcount


def _write(session: Session, statement: Any) -> None:
    session.connection().execute(statement)
