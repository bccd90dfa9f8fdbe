"""What ends a run without a worker's word: somebody cancels it, nobody can take it, or its worker was lost."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, Update, and_, or_, update
from sqlalchemy import select as select_rows
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from executor.broker import notices
from executor.errors import RunOver, UnknownRun
from executor.models import Attempt, Run
from executor.runs.conditions import ATTEMPTS_LIMIT, NOT_CANCELLED, RUN, claimable, hopeless, unheld
from executor.runs.outcomes import finish
from executor.runs.rows import lose_claimed, moment, write
from executor.runs.spec import Lease, Outcome
from executor.schemas.runs import OVER
from secretstore.database import Database, clock


def cancel(db: Database, run_id: str, actor: str) -> bool:
    """Cancel a run: at once where nobody has it, else by asking its worker. True when it is cancelled already.

    What was asked is never taken back, so that neither a retry nor another worker's claim can overlook it.

    Raises:
        RunOver: an outcome is committed; it stands.
        UnknownRun: there is none of this id.
    """
    with db.writing() as session:
        now = moment(session, db)
        request = {"cancel_requested_at": now, "cancel_requested_by": actor}
        ended = {"state": "cancelled", "reason": "cancelled", "finished_at": now}
        # Asked first: from then on the row is ours, and nobody claims the run, or has it back for a retry, in between.
        asked = write(
            session,
            update(Run)
            .where(col(Run.id) == run_id, col(Run.state).not_in(OVER))
            .where(col(Run.cancel_requested_at).is_(None))
            .values(**request),
        )
        if write(session, _end_waiting(db, run_id).values(**ended)):
            lose_claimed(session, run_id, now)
            return True
        if asked:
            notices.tell_with(session, db, run_id)
            return False
        state = session.exec(select(Run.state).where(Run.id == run_id)).first()
    if state is None:
        raise UnknownRun(reference=run_id)
    if state in OVER:
        raise RunOver(run=run_id[:8], state=state)
    return False


def cancel_all(session: Session, db: Database, project_id: str, actor: str, said: str) -> tuple[int, Sequence[str]]:
    """Cancel what is not over of a project, in the caller's transaction: how many, and those that workers have to end.

    Neither a claim nor a retry can overlook it, nor a gate: a run before its own is given nothing any more.
    """
    now = moment(session, db)
    not_over = (col(Run.project_id) == project_id, col(Run.state).not_in(OVER))
    request = {"cancel_requested_at": now, "cancel_requested_by": actor}
    write(session, update(Run).where(*not_over, col(Run.cancel_requested_at).is_(None)).values(**request))
    ended = {"state": "cancelled", "reason": "cancelled", "message": said, "finished_at": now}
    freed = {"lease_owner": None, "lease_until": None, "not_before": None}
    cancelled = write(session, update(Run).where(*not_over, unheld(db.now())).values(**ended, **freed))
    these = select(Run.id).where(Run.project_id == project_id, Run.state == "cancelled", Run.finished_at == now)
    claimed = update(Attempt).where(col(Attempt.state) == "claimed", col(Attempt.run_id).in_(these))
    write(session, claimed.values(state="lost", reason="lost", finished_at=now))
    held = session.exec(select(Run.id).where(*not_over)).all()
    for run_id in held:
        notices.tell_with(session, db, run_id)
    return cancelled, held


def give_up(db: Database, run_id: str, said: str, reason: str = "no_capable_worker") -> bool:
    """End a run that no worker can take; False where one has it by now, or it is over."""
    with db.writing() as session:
        now = moment(session, db)
        ended = {"state": "failed", "reason": reason, "message": said, "finished_at": now}
        given_up = write(
            session,
            _end_waiting(db, run_id).where(claimable(db.now()), col(Run.cancel_requested_at).is_(None)).values(**ended),
        )
        if given_up:
            lose_claimed(session, run_id, now)
        return bool(given_up)


def _end_waiting(db: Database, run_id: str) -> Update:
    freed = {"lease_owner": None, "lease_until": None, "not_before": None}
    return update(Run).where(col(Run.id) == run_id, unheld(db.now())).values(**freed)


def end_lost(
    db: Database, skipped: Callable[[str, Exception], None] = lambda run_id, problem: None
) -> list[tuple[str, str]]:
    """Settle runs whose lease ran out past the gate, and those that are lost too often; (run id, new state) each.

    `skipped` is told of a run that the database does not let end, and why; the others are settled all the same.
    """
    settled: list[tuple[str, str]] = []
    with db.looking() as transaction:
        due = transaction.execute(_due(db.dialect), {"now": db.from_now()}).all()
    for run in due:
        try:
            state = _end_lost(db, run)
        except DBAPIError as problem:
            skipped(run.id, problem)
            continue
        if state is not None:
            settled.append((run.id, state))
    return settled


@cache
def _due(dialect: str) -> Select[Any]:
    """What decides and nothing more: a row that cannot be read as a whole is settled as well."""
    now = clock(dialect, "now")
    lost = and_(RUN.c.state == "running", RUN.c.lease_until < now)
    stuck = and_(unheld(now), or_(hopeless(), ~NOT_CANCELLED))
    told = (RUN.c.id, RUN.c.attempt, RUN.c.fencing_token, RUN.c.state, (~NOT_CANCELLED).label("cancelled"))
    return select_rows(*told).where(or_(lost, stuck))


def _end_lost(db: Database, run: Row[Any]) -> str | None:
    """Settle one of them; its new state, None where it was renewed or ended meanwhile."""
    if run.state == "running":
        said = "its worker was lost while it ran; it may have done part of its work"
    elif run.cancelled:
        said = "its worker was lost before it began"
    else:
        said = f"{ATTEMPTS_LIMIT} attempts were lost before they began"
    lease = Lease(run.id, run.attempt, run.fencing_token, 0)
    return finish(db, lease, Outcome("lost", "lost", said), if_expired=True, for_good=run.state != "running")
