"""The only writer of a run's state. Every write after the claim carries the fencing token, or changes nothing.

Read it top to bottom: a run is created, claimed, let through the gate, renewed, finished; or cancelled; or found lost.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Update, and_, insert, or_, update
from sqlmodel import Session, SQLModel, col, select

from executor.errors import RunOver, UnknownRun
from executor.models import Attempt, ReceiptSecret, Result, Run
from secretstore.bundle import SealedBundle
from secretstore.database import Database, utc_now

RUNGS = ("process", "landlock", "namespace")
OVER = ("succeeded", "failed", "cancelled")
# A run whose attempts die again and again before their gate would otherwise go round for ever.
ATTEMPTS_LIMIT = 10


@dataclass(frozen=True)
class RunSpec:
    """What a submitter asks for. `secret_names` None means every secret of the environment; `timeout` is in seconds."""

    project_id: str
    project: str
    environment_id: str
    environment: str
    target: dict[str, Any]
    source_root: str
    host: str
    python: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secret_names: list[str] | None = None
    timeout: float | None = None
    queue: str = "sealrun"
    rung_min: str | None = None
    retry_when_lost: bool = False


@dataclass(frozen=True)
class Offer:
    """What a worker can give; a claim takes nothing beyond it."""

    worker: str
    host: str
    queues: tuple[str, ...]
    rung: str


@dataclass(frozen=True)
class Lease:
    """The right to write about one attempt, as long as nobody holds a later token."""

    run_id: str
    attempt: int
    token: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `result`, `note` and `problem` came through the masker."""

    state: str
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: Any = None
    note: str | None = None
    problem: dict[str, Any] | None = None
    opened_at: datetime | None = None
    dropped_at: datetime | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[SQLModel] = ()  # the end of its output, committed with the outcome


class GateShut(Exception):
    """the lease has passed on, or the run was cancelled meanwhile"""


def create(db: Database, spec: RunSpec, actor: str) -> str:
    """Accept a run: one row, `pending`. Returns its id."""
    with db.writing() as session:
        now = _moment(session, db)
        run = Run(**vars(spec), created_at=now, created_by=actor, rung_at=now)
        session.add(run)
        return run.id


def claim(db: Database, run_id: str, offer: Offer, seconds: float) -> tuple[Run, Lease] | None:
    """Take a pending run, or nothing: it is another's, over, cancelled, or asks for what this worker cannot give."""
    with db.writing() as session:
        taken = session.exec(
            update(Run)
            .where(
                col(Run.id) == run_id,
                claimable(db),
                col(Run.cancel_requested_at).is_(None),
                col(Run.attempt) < ATTEMPTS_LIMIT,
                suits(offer),
            )
            .values(
                fencing_token=Run.fencing_token + 1,
                attempt=Run.attempt + 1,
                lease_owner=offer.worker,
                lease_until=db.after(seconds),
            )
            .returning(Run)
            .execution_options(synchronize_session=False)
        ).first()
        if taken is None:
            return None
        run = cast(Run, taken[0])
        now = _moment(session, db)
        if run.attempt > 1:
            _lose_claimed(session, run_id, now)
        values = {"run_id": run_id, "number": run.attempt, "fencing_token": run.fencing_token, "worker": offer.worker}
        session.connection().execute(insert(Attempt).values(**values, claimed_at=now, state="claimed", receipt="none"))
        session.expunge(run)
        return run, Lease(run_id, run.attempt, run.fencing_token, seconds)


def pass_gate(
    db: Database,
    lease: Lease,
    read_bundle: Callable[[Session], SealedBundle | None],
    *,
    rung: str,
    controls: Mapping[str, Any],
) -> SealedBundle | None:
    """The gate: state `running`, the sealed values read, and the receipt written as `opening`, in one transaction.

    Raises:
        GateShut: the token is stale or the run was cancelled; nothing was written, and nothing may be opened.
        SecretStoreError: from `read_bundle`; nothing was written.
    """
    with db.writing() as session:
        now = _moment(session, db)
        passed = _write(
            session,
            update(Run)
            .where(
                held(lease),
                col(Run.state) == "pending",
                col(Run.lease_until) >= db.now(),
                col(Run.cancel_requested_at).is_(None),
            )
            .values(state="running", started_at=now, lease_until=db.after(lease.seconds)),
        )
        if not passed:
            raise GateShut
        bundle = read_bundle(session)
        items = bundle.items if bundle is not None else ()
        _write(
            session,
            update(Attempt)
            .where(col(Attempt.run_id) == lease.run_id, col(Attempt.number) == lease.attempt)
            .values(
                state="running",
                started_at=now,
                rung=rung,
                controls=dict(controls),
                receipt="opening" if items else "none",
            ),
        )
        rows = [
            {
                "run_id": lease.run_id,
                "attempt": lease.attempt,
                "secret_id": item.secret_id,
                "name": item.name,
                "version": item.version,
                "channel": "environment",
            }
            for item in items
        ]
        if rows:
            session.connection().execute(insert(ReceiptSecret), rows)  # one statement for all of them
        return bundle


@dataclass(frozen=True)
class Renewal:
    """What a renewal found."""

    held: bool
    cancel_requested: bool = False


def renew(db: Database, lease: Lease) -> Renewal:
    """Hold the lease for its length from now, and learn whether somebody asked to cancel."""
    with db.writing() as session:
        row = session.exec(
            update(Run)
            .where(held(lease), col(Run.state).not_in(OVER))
            .values(lease_until=db.after(lease.seconds))
            .returning(col(Run.cancel_requested_at))
        ).first()
        return Renewal(False) if row is None else Renewal(True, row[0] is not None)


def finish(db: Database, lease: Lease, outcome: Outcome, *, if_expired: bool = False) -> bool:
    """Commit an attempt's one outcome. False where the token is stale or the run is over: nothing was written.

    `if_expired` is for a janitor: it writes nothing, too, where the lease was renewed meanwhile.
    """
    with db.writing() as session:
        now = _moment(session, db)
        if not _write(
            session,
            update(Run)
            .where(held(lease), col(Run.state).not_in(OVER), *_expired(db, if_expired))
            .values(
                state=outcome.state,
                reason=outcome.reason,
                message=outcome.message,
                exit_code=outcome.exit_code,
                finished_at=now,
                lease_owner=None,
                lease_until=None,
            ),
        ):
            return False
        _end_attempt(session, lease, outcome, now)
        session.add_all(outcome.rows)
        if outcome.result is not None or outcome.note is not None or outcome.problem is not None:
            session.add(
                Result(
                    run_id=lease.run_id,
                    attempt=lease.attempt,
                    result=outcome.result,
                    note=outcome.note,
                    problem=outcome.problem,
                )
            )
        return True


def give_back(db: Database, lease: Lease, outcome: Outcome, *, if_expired: bool = False) -> bool:
    """An attempt was lost and the run may have another: back to `pending`, free to be claimed. Its token ends here."""
    with db.writing() as session:
        now = _moment(session, db)
        if not _write(
            session,
            update(Run)
            .where(held(lease), col(Run.state).not_in(OVER), *_expired(db, if_expired))
            .values(
                state="pending",
                # The attempt has its outcome: a worker that wakes up late must not write another, nor hold the run.
                fencing_token=Run.fencing_token + 1,
                lease_owner=None,
                lease_until=None,
                rung_at=now,
            ),
        ):
            return False
        _end_attempt(session, lease, outcome, now)
        session.add_all(outcome.rows)
        return True


def cancel(db: Database, run_id: str, actor: str) -> bool:
    """Cancel a run: at once where nobody has it, else by asking its worker. True when it is cancelled already.

    Raises:
        RunOver: an outcome is committed; it stands.
        UnknownRun: there is none of this id.
    """
    with db.writing() as session:
        now = _moment(session, db)
        request = {"cancel_requested_at": now, "cancel_requested_by": actor}
        ended = {"state": "cancelled", "reason": "cancelled", "finished_at": now}
        if _write(
            session,
            update(Run)
            .where(col(Run.id) == run_id, claimable(db))
            .values(**ended, **request, lease_owner=None, lease_until=None),
        ):
            _lose_claimed(session, run_id, now)
            return True
        if not _write(
            session,
            update(Run)
            .where(col(Run.id) == run_id, col(Run.state).not_in(OVER))
            .where(col(Run.cancel_requested_at).is_(None))
            .values(**request),
        ):
            state = session.exec(select(Run.state).where(Run.id == run_id)).first()
            if state is None:
                raise UnknownRun(reference=run_id)
            if state in OVER:
                raise RunOver(run=run_id[:8], state=state)
    return False


def end_lost(db: Database) -> list[tuple[str, str]]:
    """Settle runs whose lease ran out past the gate, and those that are lost too often; (run id, new state) each."""
    settled: list[tuple[str, str]] = []
    expired = and_(col(Run.state) == "running", col(Run.lease_until) < db.now())
    hopeless = or_(col(Run.attempt) >= ATTEMPTS_LIMIT, col(Run.cancel_requested_at).is_not(None))
    with db.reading() as session:
        due = session.exec(
            select(Run).where(
                or_(
                    expired,
                    and_(claimable(db), hopeless),
                )
            )
        ).all()
    for run in due:
        lease = Lease(run.id, run.attempt, run.fencing_token, 0)
        if run.cancel_requested_at is not None:
            ended = finish(
                db, lease, Outcome("cancelled", "cancelled", "cancelled; its worker was lost"), if_expired=True
            )
            state = "cancelled"
        elif run.state == "running" and run.retry_when_lost and run.attempt < ATTEMPTS_LIMIT:
            ended = give_back(db, lease, Outcome("lost", "lost"), if_expired=True)
            state = "pending"
        else:
            said = (
                "its worker was lost while it ran; it may have done part of its work"
                if run.state == "running"
                else f"{ATTEMPTS_LIMIT} attempts were lost before they began"
            )
            ended = finish(db, lease, Outcome("failed", "lost", said), if_expired=True)
            state = "failed"
        if ended:
            settled.append((run.id, state))
    return settled


def unclaimed(db: Database, offer: Offer, older_than: float, limit: int) -> list[tuple[str, str]]:
    """Runs this worker could take and nobody has, `older_than` seconds after their bell, oldest first: id and queue."""
    with db.reading() as session:
        return list(
            session.exec(
                select(Run.id, Run.queue)
                .where(
                    claimable(db),
                    col(Run.cancel_requested_at).is_(None),
                    col(Run.attempt) < ATTEMPTS_LIMIT,
                    suits(offer),
                    col(Run.rung_at) <= db.after(-older_than),
                )
                .order_by(col(Run.created_at))
                .limit(limit)
            )
        )


def guard(session: Session, lease: Lease) -> None:
    """Let the transaction go on only while the token is the run's latest and the run is not over.

    Raises:
        StaleToken: it is not.
    """
    row = session.exec(
        select(Run.fencing_token).where(held(lease), col(Run.state).not_in(OVER)).with_for_update()
    ).first()
    if row is None:
        raise StaleToken


class StaleToken(Exception):
    """a later claim has taken the run over"""


def claimable(db: Database) -> ColumnElement[bool]:
    """Pending, and nobody's lease is good."""
    return and_(col(Run.state) == "pending", or_(col(Run.lease_until).is_(None), col(Run.lease_until) < db.now()))


def suits(offer: Offer) -> ColumnElement[bool]:
    """What the run asks for is what the worker can give."""
    rungs: Collection[str] = RUNGS[: RUNGS.index(offer.rung) + 1]
    return and_(
        col(Run.queue).in_(offer.queues),
        col(Run.host) == offer.host,
        or_(col(Run.rung_min).is_(None), col(Run.rung_min).in_(rungs)),
    )


def held(lease: Lease) -> ColumnElement[bool]:
    """The run, if the token is still its latest."""
    return and_(col(Run.id) == lease.run_id, col(Run.fencing_token) == lease.token)


def _expired(db: Database, asked: bool) -> list[ColumnElement[bool]]:
    return [or_(col(Run.lease_until).is_(None), col(Run.lease_until) < db.now())] if asked else []


def _lose_claimed(session: Session, run_id: str, now: datetime) -> None:
    """An attempt that did not reach its gate, and whose lease is over, was lost."""
    session.exec(
        update(Attempt)
        .where(col(Attempt.run_id) == run_id, col(Attempt.state) == "claimed")
        .values(state="lost", reason="lost", finished_at=now)
    )


def _end_attempt(session: Session, lease: Lease, outcome: Outcome, now: datetime) -> None:
    values: dict[str, Any] = {
        "state": outcome.state,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "finished_at": now,
    }
    this = and_(
        col(Attempt.run_id) == lease.run_id,
        col(Attempt.number) == lease.attempt,
        col(Attempt.fencing_token) == lease.token,
    )
    if outcome.dropped_at is not None and session.exec(select(Attempt.receipt).where(this)).first() == "opening":
        values |= {"opened_at": outcome.opened_at, "dropped_at": outcome.dropped_at, "receipt": "closed"}
    _write(session, update(Attempt).where(this).values(**values))
    for name, alias in outcome.aliases.items():
        given = and_(
            col(ReceiptSecret.run_id) == lease.run_id,
            col(ReceiptSecret.attempt) == lease.attempt,
            col(ReceiptSecret.name) == name,
        )
        _write(session, update(ReceiptSecret).where(given).values(alias=alias))


def _write(session: Session, statement: Update) -> int:
    statement = statement.execution_options(synchronize_session=False)  # no object of the session outlives it
    return cast("CursorResult[Any]", session.exec(statement)).rowcount


def _moment(session: Session, db: Database) -> datetime:
    """The database's clock; SQLite's is this machine's, and need not be asked."""
    return utc_now() if db.dialect == "sqlite" else cast(datetime, session.exec(select(db.now())).one())
