"""How an attempt ended, committed once: the run is over, or waits for another attempt."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from executor.models import Result
from executor.runs import masked, output, retrying
from executor.runs.conditions import HELD, NOT_CANCELLED, RUN, WRITABLE, expired, of
from executor.runs.receipts import close_receipt, mark_refused
from executor.runs.rows import WHOSE, end_attempt
from executor.runs.spec import Lease, Outcome
from executor.schemas.receipts import PHASE
from executor.schemas.runs import OVER
from secretstore.database import Database, clock
from secretstore.transaction import Transaction


def finish(
    db: Database, lease: Lease, outcome: Outcome, *, if_expired: bool = False, for_good: bool = False
) -> str | None:
    """Commit an attempt's one outcome, and what becomes of the run: it is over, or `pending` again for a retry.

    Returns the run's state after it; None where the token is stale or the run is over: nothing was written.
    `if_expired` is for a janitor: it writes nothing, too, where the lease was renewed meanwhile. `for_good`: there is
    no retry.
    """

    def ways(transaction: Transaction) -> Iterator[_Way]:
        if not for_good and outcome.state in ("failed", "lost"):
            yield from _retry(transaction, db, lease, outcome)
        if outcome.state == "lost":
            yield _cancelled(outcome)
        ended = {"reason": outcome.reason, "message": outcome.message, "exit_code": outcome.exit_code}
        yield _Way("ended", "failed" if outcome.state == "lost" else outcome.state, ended)

    return _settle(db, lease, outcome, ways, if_expired)


def give_back(db: Database, lease: Lease, outcome: Outcome) -> str | None:
    """An attempt began nothing: back to `pending`, free to be claimed, or cancelled if that was asked for.

    It was lost before its gate; or, with the state `refused`, the key service refused behind it, and the supervisor is
    gone without having started anything. Returns and refuses as `finish` does.
    """

    def ways(_: Transaction) -> Iterator[_Way]:
        yield _Way("refused" if outcome.state == "refused" else "again", "pending")
        yield _cancelled(outcome)

    return _settle(db, lease, outcome, ways, if_expired=False)


@dataclass(frozen=True)
class _Way:
    """One of the ways a run may go on from an attempt's end, see `_going`: the first that is open is taken."""

    which: str
    state: str
    values: Mapping[str, Any] = field(default_factory=dict)


# The run ends all the same: a receipt that cannot be closed goes on saying "may have been opened". Which of the
# statements was refused is not told where they are sent together. What was so in passing, such as a deadlock, is not
# the second time; and what is not the receipt's is without it, too.
_TRIES = (True, True, False)


def _settle(
    db: Database,
    lease: Lease,
    outcome: Outcome,
    ways: Callable[[Transaction], Iterator[_Way]],
    if_expired: bool,
) -> str | None:
    """One transaction: the run goes the first way that is open, its attempt ends, what it left is stored."""
    for with_receipt in _TRIES:
        try:
            with db.acting() as transaction:
                # First: where the token is stale nothing else may be written, and the row is ours from here on.
                found = _take_way(transaction, db, lease, ways(transaction), if_expired)
                if found is None:
                    return None
                state, run = found
                worker = end_attempt(transaction, lease, outcome, state if state in OVER else outcome.state, run.now)
                output.add(transaction, (*outcome.rows, *_left(lease, outcome)))
                masked.store(transaction, lease, PHASE, outcome, run.now)
                if with_receipt:
                    close_receipt(transaction, lease, PHASE, outcome, run, worker, run.now)
                    if outcome.state == "refused":
                        mark_refused(transaction, lease)
            return state
        except DBAPIError:
            if not with_receipt:
                raise
    return None


def _cancelled(outcome: Outcome) -> _Way:
    said = f"cancelled; {outcome.message or 'lost'}"
    return _Way("cancelled", "cancelled", {"reason": "cancelled", "message": said})


def _retry(transaction: Transaction, db: Database, lease: Lease, outcome: Outcome) -> Iterator[_Way]:
    """The way back, where the run has a retry left and is tried again for such a reason."""
    try:
        asked = transaction.execute(_RETRIES, of(lease)).first()
        if asked is None or not 0 <= asked.retried < min(asked.retries, retrying.MOST):
            return
        if not retrying.retried(outcome.reason, asked.retry_on):
            return
    except (ValueError, TypeError):  # what cannot be read, and no list of ours, asks for nothing
        return
    wait = retrying.delay(outcome.reason, asked.retried)
    yield _Way("retry", "pending", {"retried": asked.retried + 1, "delay": db.from_now(wait)})


_RETRIES = select(RUN.c.retries, RUN.c.retried, RUN.c.retry_on).where(HELD)


def _take_way(
    transaction: Transaction, db: Database, lease: Lease, ways: Iterator[_Way], if_expired: bool
) -> tuple[str, Any] | None:
    """The run's new state, and whose run it is, with the moment of it; None where no way is open."""
    for way in ways:
        bound = {**of(lease), "now": db.from_now(), "state": way.state, **way.values}
        run = transaction.execute(_going(db.dialect, way.which, if_expired), bound).first()
        if run is not None:
            return way.state, run
    return None


@cache
def _going(dialect: str, which: str, if_expired: bool) -> Update:
    """A way out of an attempt, its lease given up; `state` and other columns are set by the names that are bound.

    Where there is another attempt, the token ends here: a worker that wakes up late must not write, nor hold the run.
    There is none of a run that somebody asked to cancel: the same statement sees to that.
    """
    now = clock(dialect, "now")
    only_if: tuple[ColumnElement[bool], ...] = ()
    values: dict[str, Any] = {"finished_at": now}
    if which == "cancelled":
        only_if = (~NOT_CANCELLED,)
    elif which != "ended":
        only_if = (NOT_CANCELLED,)
        values = {"fencing_token": RUN.c.fencing_token + 1, "rung_at": now}
    if which == "refused":
        values |= {"refused": RUN.c.refused + 1, "started_at": None}
    elif which == "retry":
        values |= {"not_before": clock(dialect, "delay")}
    since = RUN.c.rung_at if "rung_at" in values else RUN.c.finished_at
    return (
        update(RUN)
        .where(WRITABLE, *only_if, *((expired(now),) if if_expired else ()))
        .values(lease_owner=None, lease_until=None, held_up=None, **values)
        .returning(*WHOSE, since.label("now"))
    )


def _left(lease: Lease, outcome: Outcome) -> tuple[SQLModel, ...]:
    if outcome.result is None and outcome.note is None and outcome.problem is None:
        return ()
    found = {"result": outcome.result, "note": outcome.note, "problem": outcome.problem}
    return (Result(run_id=lease.run_id, attempt=lease.attempt, **found),)
