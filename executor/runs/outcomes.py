"""How an attempt ended, committed once: the run is over, or waits for another attempt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, true, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel, col, select

from executor.models import Result, Run
from executor.runs import masked, retrying
from executor.runs.conditions import expired, held, writable
from executor.runs.receipts import close_receipt, mark_refused
from executor.runs.rows import WHOSE, end_attempt, moment
from executor.runs.spec import Lease, Outcome
from executor.schemas.receipts import PHASE
from executor.schemas.runs import OVER
from secretstore.database import Database


def finish(
    db: Database, lease: Lease, outcome: Outcome, *, if_expired: bool = False, for_good: bool = False
) -> str | None:
    """Commit an attempt's one outcome, and what becomes of the run: it is over, or `pending` again for a retry.

    Returns the run's state after it; None where the token is stale or the run is over: nothing was written.
    `if_expired` is for a janitor: it writes nothing, too, where the lease was renewed meanwhile. `for_good`: there is
    no retry.
    """

    def ways(session: Session, now: datetime) -> Iterator[_Way]:
        if not for_good and outcome.state in ("failed", "lost"):
            yield from _retry(session, db, lease, outcome, now)
        if outcome.state == "lost":
            yield _cancelled(now, outcome)
        yield _Way(
            state="failed" if outcome.state == "lost" else outcome.state,
            values={
                "reason": outcome.reason,
                "message": outcome.message,
                "exit_code": outcome.exit_code,
                "finished_at": now,
            },
        )

    return _settle(db, lease, outcome, ways, if_expired)


def give_back(db: Database, lease: Lease, outcome: Outcome) -> str | None:
    """An attempt began nothing: back to `pending`, free to be claimed, or cancelled if that was asked for.

    It was lost before its gate; or, with the state `refused`, the key service refused behind it, and the supervisor is
    gone without having started anything. Returns and refuses as `finish` does.
    """

    def ways(_: Session, now: datetime) -> Iterator[_Way]:
        yield _again(now, **({"refused": Run.refused + 1, "started_at": None} if outcome.state == "refused" else {}))
        yield _cancelled(now, outcome)

    return _settle(db, lease, outcome, ways, if_expired=False)


@dataclass(frozen=True)
class _Way:
    """One of the ways a run may go on from an attempt's end: the first whose condition holds is taken."""

    state: str
    values: Mapping[str, Any]
    only_if: ColumnElement[bool] = field(default_factory=true)


def _settle(
    db: Database,
    lease: Lease,
    outcome: Outcome,
    ways: Callable[[Session, datetime], Iterator[_Way]],
    if_expired: bool,
) -> str | None:
    """One transaction: the run goes the first way that is open, its attempt ends, what it left is stored."""
    for with_receipt in (True, False):
        closing = False
        try:
            with db.writing() as session:
                now = moment(session, db)
                # First: where the token is stale nothing else may be written, and the row is ours from here on.
                found = _take_way(session, lease, ways(session, now), expired(db, if_expired))
                if found is None:
                    return None
                state, run = found
                worker = end_attempt(session, lease, outcome, state if state in OVER else outcome.state, now)
                # Copies: a transaction that is undone empties the objects that were in it.
                session.add_all(type(row)(**row.model_dump()) for row in (*outcome.rows, *_left(lease, outcome)))
                session.flush()
                masked.store(session, lease, PHASE, outcome, now)
                closing = with_receipt
                if closing:
                    close_receipt(session, lease, PHASE, outcome, run, worker, now)
                    if outcome.state == "refused":
                        mark_refused(session, lease)
                return state
        except DBAPIError:
            # The run ends all the same; a receipt that cannot be closed goes on saying "may have been opened".
            if not closing:
                raise
    return None


def _again(now: datetime, **more: Any) -> _Way:
    """Another attempt. The token ends here: a worker that wakes up late must not write, nor hold the run.

    Never of a run that somebody asked to cancel: the same statement sees to that.
    """
    values = {"fencing_token": Run.fencing_token + 1, "rung_at": now, **more}
    return _Way("pending", values, only_if=col(Run.cancel_requested_at).is_(None))


def _cancelled(now: datetime, outcome: Outcome) -> _Way:
    values = {"reason": "cancelled", "message": f"cancelled; {outcome.message or 'lost'}", "finished_at": now}
    return _Way("cancelled", values, only_if=col(Run.cancel_requested_at).is_not(None))


def _retry(session: Session, db: Database, lease: Lease, outcome: Outcome, now: datetime) -> Iterator[_Way]:
    """The way back, where the run has a retry left and is tried again for such a reason."""
    try:
        asked = session.exec(select(Run.retries, Run.retried, Run.retry_on).where(held(lease))).first()
        if asked is None or not 0 <= asked[1] < min(asked[0], retrying.MOST):
            return
        if not retrying.retried(outcome.reason, asked[2]):
            return
    except (ValueError, TypeError):  # what cannot be read, and no list of ours, asks for nothing
        return
    wait = retrying.delay(outcome.reason, asked[1])
    yield _again(now, retried=asked[1] + 1, not_before=db.after(wait))


def _take_way(
    session: Session, lease: Lease, ways: Iterator[_Way], conditions: Sequence[ColumnElement[bool]]
) -> tuple[str, Row[Any]] | None:
    """The run's new state, and whose run it is; None where no way is open."""
    for way in ways:
        run = session.exec(
            update(Run)
            .where(writable(lease), way.only_if, *conditions)
            .values(state=way.state, **way.values, lease_owner=None, lease_until=None, held_up=None)
            .returning(*WHOSE)
            .execution_options(synchronize_session=False)
        ).first()
        if run is not None:
            return way.state, run
    return None


def _left(lease: Lease, outcome: Outcome) -> tuple[SQLModel, ...]:
    if outcome.result is None and outcome.note is None and outcome.problem is None:
        return ()
    found = {"result": outcome.result, "note": outcome.note, "problem": outcome.problem}
    return (Result(run_id=lease.run_id, attempt=lease.attempt, **found),)
