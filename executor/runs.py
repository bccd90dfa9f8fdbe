"""The only writer of a run's state. Every write after the claim carries the fencing token, or changes nothing.

Read it top to bottom: a run is accepted, claimed, let through the gate, renewed, finished, perhaps to be tried again;
or cancelled; or given up, as nobody can take it; or found lost.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Row,
    ScalarSelect,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    true,
    update,
)
from sqlalchemy import select as select_rows
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from executor import notices, retrying
from executor.errors import KeyTaken, ReceiptRefused, RunMisplaced, RunOver, UnknownRun
from executor.given import Given
from executor.models import Attempt, Receipt, ReceiptConnection, ReceiptSecret, Result, Run
from secretstore import audit
from secretstore.audit import Actor
from secretstore.bundle import SealedBundle
from secretstore.database import Database, utc_now
from secretstore.errors import RowUnreadable
from secretstore.models import Project
from secretstore.planned import CATALOG

RUNGS = ("process", "landlock", "namespace")
OVER = ("succeeded", "failed", "cancelled")
LONGEST = 10**8
"""Seconds that any time of a run stays below."""
# A run whose attempts die again and again before their gate would otherwise go round for ever. Retries do not count.
ATTEMPTS_LIMIT = 10
PHASE, SETUP = "run", "setup"
# The advisory locks by which claims of a limited project take turns, apart from those of anything else.
_TURN = 0x7365616C
# What an audit event says about a run.
_WHOSE = (col(Run.project_id), col(Run.project), col(Run.environment), col(Run.created_by))


@dataclass(frozen=True)
class RunSpec:
    """What a submitter asks for. Times are in seconds.

    The source is the folder `source_root` on machines of the name `host`, or, on any machine, the uploaded `bundle`.
    `secret_names` None means every secret of the environment. `requirements` says what the run's own Python
    environment is built of; only `setup_secret_names` are given to that. After an attempt that failed for one of the
    reasons `retry_on` (None: those of `retrying`) there is another, `retries` times at most. Of two runs of a project
    with one `idempotency_key` the second is the first.
    """

    project_id: str
    project: str
    environment_id: str
    environment: str
    target: dict[str, Any]
    source_root: str
    host: str | None
    bundle: str | None = None
    source_commit: str | None = None
    source_dirty: bool | None = None
    python: str | None = None
    python_version: str | None = None
    requirements: dict[str, Any] | None = None
    setup_secret_names: list[str] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secret_names: list[str] | None = None
    connections: bool = True
    timeout: float | None = None
    queue: str = "sealrun"
    queue_timeout: float | None = None
    rung_min: str | None = None
    network: str = "full"
    retries: int = 0
    retry_on: list[str] | None = None
    retry_of: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Offer:
    """What a worker can give; a claim takes nothing beyond it.

    `pythons` are versions of interpreters that environments can be built with, as in `3.12`; `places` are patterns of
    the projects and environments it serves, as in `shop/staging` or `shop/*`.
    """

    worker: str
    host: str
    queues: tuple[str, ...]
    rung: str
    networks: tuple[str, ...] = ("full",)
    pythons: tuple[str, ...] = ()
    places: tuple[str, ...] = ("*/*",)


@dataclass(frozen=True)
class Lease:
    """The right to write about one attempt, as long as nobody holds a later token.

    `limited`: only so many runs of its project may be running, so that others may wait for this one's end.
    """

    run_id: str
    attempt: int
    token: int
    seconds: float
    limited: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `result`, `note` and `problem` came through the masker.

    Of its secrets: `opened_at` is when the opener had handed them over, `not_opened` why it did not, `dropped_at` when
    the supervisor that held them was gone. What is not known is None. `refused` is the kind of the error that shut the
    gate. A `state` of `lost` is how an attempt ends; the run of it is tried again, or has failed.
    """

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
    not_opened: str | None = None
    refused: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of data sources and catalogs by key, as in `source/lake`: why one was `left_out`, when one `expires_at`, and
    which optional settings are `absent`."""
    metrics: Mapping[str, Any] | None = None
    rows: Sequence[SQLModel] = ()  # the end of its output, committed with the outcome


class GateShut(Exception):
    """the lease has passed on, or the run was cancelled meanwhile"""


class Accepted(NamedTuple):
    """A run that is there; `new` is False where an earlier one has its idempotency key, and is the one."""

    run_id: str
    new: bool


def accept(db: Database, spec: RunSpec, actor: str) -> Accepted:
    """Accept a run: one row, `pending`; or find the one that was accepted under its idempotency key before.

    Raises:
        KeyTaken: the run that has the key has another target or environment.
    """
    try:
        with db.writing() as session:
            now = _moment(session, db)
            run = Run(**vars(spec), created_at=now, created_by=actor, rung_at=now)
            session.add(run)
            session.flush()
            return Accepted(run.id, True)
    except IntegrityError:
        if spec.idempotency_key is None:
            raise
        # The unique index has decided between the two.
        with db.reading() as session:
            earlier = session.exec(
                select(Run).where(Run.project_id == spec.project_id, Run.idempotency_key == spec.idempotency_key)
            ).first()
        if earlier is None:
            raise
    if (earlier.target, earlier.environment_id) != (spec.target, spec.environment_id):
        raise KeyTaken(key=spec.idempotency_key, run=earlier.id[:8])
    return Accepted(earlier.id, False)


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
            .where(col(Run.id) == run_id, *_free(db), suits(offer), _room_for_it(db))
            .values(
                fencing_token=Run.fencing_token + 1,
                attempt=Run.attempt + 1,
                lease_owner=offer.worker,
                lease_until=db.after(seconds),
                not_before=None,
            )
            .returning(Run, _most_running())
            .execution_options(synchronize_session=False)
        ).first()
        if taken is None:
            return None
        run, most = cast("tuple[Run, int | None]", taken)
        if most is not None and db.dialect != "sqlite" and not _within(session, db, run.project_id, most):
            session.rollback()
            return None
        now = _moment(session, db)
        if run.attempt > 1:
            _lose_claimed(session, run_id, now)
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
    return bool(session.exec(_leases(Run, db).where(Run.project_id == project_id)).one() <= most)


def pass_gate(
    db: Database,
    lease: Lease,
    read: Callable[[Session], Given],
    *,
    rung: str,
    controls: Mapping[str, Any],
    packages: Mapping[str, Any] | None = None,
) -> Given:
    """The gate: state `running`, the sealed values read, and the receipt written as `opening`, in one transaction.

    The number of statements does not depend on the number of secrets. `packages` says what the run's Python consists
    of.

    Raises:
        GateShut: the token is stale or the run was cancelled; nothing was written, and nothing may be opened.
        ReceiptRefused: the receipt or its audit event could not be written; nothing was, and nothing may be opened.
        RunMisplaced: the secrets are not of the place that the run's row names; nothing was written.
        SealrunError: from `read`; nothing was written.
    """

    def begun(now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        isolation = {"rung": rung, "controls": dict(controls)}
        built = {"packages": dict(packages)} if packages is not None else {}
        moment = {"state": "running", "started_at": now}
        return moment, moment | isolation | built

    return _gate(db, lease, PHASE, begun, read)


def open_setup(
    db: Database,
    lease: Lease,
    read: Callable[[Session], Given],
    *,
    rung: str,
    controls: Mapping[str, Any],
) -> Given:
    """The gate of a setup step that is given secrets: its receipt is written as `opening`; the run stays `pending`.

    Raises:
        GateShut, ReceiptRefused, SecretStoreError: as of `pass_gate`.
    """

    def begun(_: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"rung": rung, "controls": dict(controls)}

    return _gate(db, lease, SETUP, begun, read)


def close_setup(db: Database, lease: Lease, outcome: Outcome) -> None:
    """Close the receipt of a setup step whose installer is gone, and renew the lease.

    Raises:
        StaleToken: the attempt is no longer the run's; the receipt stays as it is.
    """
    with db.writing() as session:
        now = _moment(session, db)
        run = session.exec(
            update(Run)
            .where(held(lease), col(Run.state).not_in(OVER))
            .values(lease_until=db.after(lease.seconds))
            .returning(*_WHOSE, col(Run.lease_owner))
            .execution_options(synchronize_session=False)
        ).first()
        if run is None:
            raise StaleToken
        _close_receipt(session, lease, SETUP, outcome, run, run[-1], now)


def _gate(
    db: Database,
    lease: Lease,
    phase: str,
    begun: Callable[[datetime], tuple[dict[str, Any], dict[str, Any]]],
    read: Callable[[Session], Given],
) -> Given:
    """One transaction: the lease renewed with what `begun` says of run and attempt, the values read, the receipt."""
    recording = False
    try:
        with db.writing() as session:
            now = _moment(session, db)
            of_run, of_attempt = begun(now)
            run = session.exec(
                update(Run)
                .where(
                    held(lease),
                    col(Run.state) == "pending",
                    col(Run.lease_until) >= db.now(),
                    col(Run.cancel_requested_at).is_(None),
                )
                .values(lease_until=db.after(lease.seconds), **of_run)
                .returning(*_WHOSE, col(Run.lease_owner))
                .execution_options(synchronize_session=False)
            ).first()
            if run is None:
                raise GateShut
            given = read(session)
            _insist_on_place(run, given.bundle)
            this = (col(Attempt.run_id) == lease.run_id, col(Attempt.number) == lease.attempt)
            _write(session, update(Attempt).where(*this).values(**of_attempt))
            if given.bundle is not None and given.opens:
                recording = True
                _open_receipt(session, lease, phase, given.bundle, given, run, now)
            return given
    except DBAPIError as problem:
        if recording:
            raise ReceiptRefused from problem
        raise


def _insist_on_place(run: Row[Any], bundle: SealedBundle | None) -> None:
    """The audit event goes by the names in the run's row, which have to be those of what is opened."""
    if bundle is None:
        return
    found = bundle.project_id, bundle.project, bundle.environment
    if found != (run.project_id, run.project, run.environment):
        raise RunMisplaced(claimed=f"{run.project}/{run.environment}", found=f"{bundle.project}/{bundle.environment}")


def _open_receipt(
    session: Session, lease: Lease, phase: str, bundle: SealedBundle, given: Given, run: Row[Any], now: datetime
) -> None:
    """The receipt, a row per secret and per setting filled in, and the audit event; `run` ends with its worker."""
    this = {"run_id": lease.run_id, "attempt": lease.attempt, "phase": phase}
    session.connection().execute(
        insert(Receipt).values(
            **this,
            status="opening",
            environment_id=bundle.environment_id,
            generation=bundle.generation,
            fingerprint=bundle.fingerprint,
            key_service=bundle.key_service,
            secrets=len(bundle.items),
            opening_at=now,
        )
    )
    rows = [
        this
        | {
            "secret_id": item.secret_id,
            "name": item.name,
            "version": item.version,
            "channel": given.channels[item.name],
            "given_at": now,
            "expires_at": item.expires_at if item.expires_at is not None and item.expires_at <= now else None,
        }
        for item in bundle.items
    ]
    session.connection().execute(insert(ReceiptSecret), rows)  # one statement for all of them
    if used := list(_connections_of(lease, bundle, given)):
        session.connection().execute(insert(ReceiptConnection), used)
    detail = {"generation": bundle.generation, "secrets": len(bundle.items)}
    _note(session, lease, phase, run, run[-1], "secrets.open", "begun", detail, now)


def _connections_of(lease: Lease, bundle: SealedBundle, given: Given) -> Iterator[dict[str, Any]]:
    """Which version of which secret each data source and catalog is filled in with, and where.

    A catalog that takes the keys of a source has them as `source.access_key_id` and so on.
    """
    items = {item.name: item for item in bundle.items}
    plan = {one.key: one for one in given.plan if one.refused is None}
    for one in plan.values():
        of_source = plan.get(f"source/{one.settings.get('source')}") if one.role == CATALOG else None
        filled = [(reference.place, reference) for reference in one.references()]
        if of_source is not None:
            filled += [(f"source.{reference.place}", reference) for reference in of_source.references()]
        for place, reference in filled:
            if (item := items.get(reference.secret)) is not None:
                yield {
                    "run_id": lease.run_id,
                    "attempt": lease.attempt,
                    "role": one.role,
                    "connection": one.name,
                    "place": place,
                    "secret_id": item.secret_id,
                    "secret": item.name,
                    "version": item.version,
                    "field": reference.field,
                }


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
    """An attempt was lost before its gate: back to `pending`, free to be claimed, or cancelled if that was asked for.

    Returns and refuses as `finish` does.
    """

    def ways(_: Session, now: datetime) -> Iterator[_Way]:
        yield _again(now)
        yield _cancelled(now, outcome)

    return _settle(db, lease, outcome, ways, if_expired=False)


@dataclass(frozen=True)
class _Way:
    """One of the ways a run may go on from an attempt's end: the first whose condition holds is taken."""

    state: str
    values: Mapping[str, Any]
    only_if: ColumnElement[bool] = field(default_factory=true)


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


def _settle(
    db: Database,
    lease: Lease,
    outcome: Outcome,
    ways: Callable[[Session, datetime], Iterator[_Way]],
    if_expired: bool,
) -> str | None:
    for with_receipt in (True, False):
        closing = False
        try:
            with db.writing() as session:
                now = _moment(session, db)
                found = _take_way(session, lease, ways(session, now), _expired(db, if_expired))
                if found is None:
                    return None
                state, run = found
                worker = _end_attempt(session, lease, outcome, state if state in OVER else outcome.state, now)
                # Copies: a transaction that is undone empties the objects that were in it.
                session.add_all(type(row)(**row.model_dump()) for row in (*outcome.rows, *_left(lease, outcome)))
                session.flush()
                closing = with_receipt
                if closing:
                    _close_receipt(session, lease, PHASE, outcome, run, worker, now)
                return state
        except DBAPIError:
            # The run ends all the same; a receipt that cannot be closed goes on saying "may have been opened".
            if not closing:
                raise
    return None


def _take_way(
    session: Session, lease: Lease, ways: Iterator[_Way], conditions: Sequence[ColumnElement[bool]]
) -> tuple[str, Row[Any]] | None:
    """The run's new state, and whose run it is; None where no way is open."""
    for way in ways:
        run = session.exec(
            update(Run)
            .where(held(lease), col(Run.state).not_in(OVER), way.only_if, *conditions)
            .values(state=way.state, **way.values, lease_owner=None, lease_until=None)
            .returning(*_WHOSE)
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


def cancel(db: Database, run_id: str, actor: str) -> bool:
    """Cancel a run: at once where nobody has it, else by asking its worker. True when it is cancelled already.

    What was asked is never taken back, so that neither a retry nor another worker's claim can overlook it.

    Raises:
        RunOver: an outcome is committed; it stands.
        UnknownRun: there is none of this id.
    """
    with db.writing() as session:
        now = _moment(session, db)
        request = {"cancel_requested_at": now, "cancel_requested_by": actor}
        ended = {"state": "cancelled", "reason": "cancelled", "finished_at": now}
        # Asked first: from then on the row is ours, and nobody claims the run, or has it back for a retry, in between.
        asked = _write(
            session,
            update(Run)
            .where(col(Run.id) == run_id, col(Run.state).not_in(OVER))
            .where(col(Run.cancel_requested_at).is_(None))
            .values(**request),
        )
        if _write(session, _end_waiting(db, run_id).values(**ended)):
            _lose_claimed(session, run_id, now)
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


def give_up(db: Database, run_id: str, said: str, reason: str = "no_capable_worker") -> bool:
    """End a run that no worker can take; False where one has it by now, or it is over."""
    with db.writing() as session:
        now = _moment(session, db)
        ended = {"state": "failed", "reason": reason, "message": said, "finished_at": now}
        given_up = _write(
            session,
            _end_waiting(db, run_id).where(claimable(db), col(Run.cancel_requested_at).is_(None)).values(**ended),
        )
        if given_up:
            _lose_claimed(session, run_id, now)
        return bool(given_up)


def _end_waiting(db: Database, run_id: str) -> Update:
    return (
        update(Run).where(col(Run.id) == run_id, unheld(db)).values(lease_owner=None, lease_until=None, not_before=None)
    )


def end_lost(
    db: Database, skipped: Callable[[str, Exception], None] = lambda run_id, problem: None
) -> list[tuple[str, str]]:
    """Settle runs whose lease ran out past the gate, and those that are lost too often; (run id, new state) each.

    `skipped` is told of a run that the database does not let end, and why; the others are settled all the same.
    """
    settled: list[tuple[str, str]] = []
    expired = and_(col(Run.state) == "running", col(Run.lease_until) < db.now())
    stuck = and_(unheld(db), or_(_hopeless(), col(Run.cancel_requested_at).is_not(None)))
    with db.reading() as session:
        # What decides and nothing more: a row that cannot be read as a whole is settled as well.
        due = session.execute(
            select_rows(
                col(Run.id),
                col(Run.attempt),
                col(Run.fencing_token),
                col(Run.state),
                col(Run.cancel_requested_at).is_not(None).label("cancelled"),
            ).where(or_(expired, stuck))
        ).all()
    for run in due:
        try:
            state = _end_lost(db, run)
        except DBAPIError as problem:
            skipped(run.id, problem)
            continue
        if state is not None:
            settled.append((run.id, state))
    return settled


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
            .values(not_before=None, rung_at=_moment(session, db))
            .returning(col(Run.id), col(Run.queue))
            .execution_options(synchronize_session=False)
        )
        return [(run_id, queue) for run_id, queue in told]


def next_of(db: Database, project_id: str, offer: Offer) -> tuple[str, str] | None:
    """The run that is to have the slot that its project has again: id and queue; one of this worker's before others."""
    with db.reading() as session:
        return session.exec(
            select(Run.id, Run.queue)
            .where(Run.project_id == project_id, *_free(db), _room(db))
            .order_by(case((suits(offer), 0), else_=1), col(Run.created_at))
            .limit(1)
        ).first()


def unclaimed(db: Database, offer: Offer, older_than: float, limit: int) -> list[tuple[str, str]]:
    """Runs this worker could take and nobody has, `older_than` seconds after their bell, oldest first: id and queue."""
    with db.reading() as session:
        return list(
            session.exec(
                select(Run.id, Run.queue)
                .where(*_free(db), suits(offer), _room(db), col(Run.rung_at) <= db.after(-older_than))
                .order_by(col(Run.created_at))
                .limit(limit)
            )
        )


def expected(db: Database, offer: Offer) -> bool:
    """Whether there is a run that this worker could take now or, after its delay or in its project's turn, later."""
    with db.reading() as session:
        return session.exec(select(Run.id).where(unheld(db), suits(offer)).limit(1)).first() is not None


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
    """Pending, nobody's lease is good, and no retry is waited for."""
    return and_(unheld(db), or_(col(Run.not_before).is_(None), col(Run.not_before) <= db.now()))


def unheld(db: Database) -> ColumnElement[bool]:
    """Pending, and nobody's lease is good."""
    return and_(col(Run.state) == "pending", or_(col(Run.lease_until).is_(None), col(Run.lease_until) < db.now()))


def _room(db: Database) -> ColumnElement[bool]:
    """Its project is none that has all the leases it may have: they are looked up once for all runs of a listing."""
    return col(Run.project_id).not_in(_full_projects(db))


def _room_for_it(db: Database) -> ColumnElement[bool]:
    """The same for one run: nothing is counted but for its own project, and only if that has a limit."""
    full: ColumnElement[bool] = _full_projects(db).where(Project.id == Run.project_id).correlate(Run).exists()
    return ~full


def _full_projects(db: Database) -> Any:
    leases = _leases(others := aliased(Run), db).where(others.project_id == Project.id).correlate(Project)
    full = leases.scalar_subquery() >= Project.max_running
    return select(Project.id).where(col(Project.max_running).is_not(None), full)


def _most_running() -> ScalarSelect[int | None]:
    return select(Project.max_running).where(Project.id == Run.project_id).correlate(Run).scalar_subquery()


def _leases(run: Any, db: Database) -> Any:
    """How many runs somebody has a good lease of: counted whenever it is asked, since a counter could be wrong."""
    return select(func.count()).select_from(run).where(run.lease_owner.is_not(None), run.lease_until >= db.now())


def _hopeless() -> ColumnElement[bool]:
    """So many attempts were lost before their gate that there is no other."""
    return col(Run.attempt) - col(Run.retried) >= ATTEMPTS_LIMIT


def _free(db: Database) -> tuple[ColumnElement[bool], ...]:
    """There is nobody's claim, and nothing but a worker to wait for, and its project's turn."""
    return claimable(db), col(Run.cancel_requested_at).is_(None), ~_hopeless()


def suits(offer: Offer) -> ColumnElement[bool]:
    """What the run asks for is what the worker can give."""
    rungs: Collection[str] = RUNGS[: RUNGS.index(offer.rung) + 1]
    return and_(
        col(Run.queue).in_(offer.queues),
        or_(col(Run.host).is_(None), col(Run.host) == offer.host),
        or_(col(Run.rung_min).is_(None), col(Run.rung_min).in_(rungs)),
        col(Run.network).in_(offer.networks),
        or_(col(Run.python_version).is_(None), col(Run.python_version).in_(offer.pythons)),
        or_(*(_at(place) for place in offer.places)),
    )


def _at(place: str) -> ColumnElement[bool]:
    """The run is of the project and environment that a pattern as `shop/*` names."""
    project, _, environment = place.partition("/")
    return and_(
        true() if project == "*" else col(Run.project) == project,
        true() if environment == "*" else col(Run.environment) == environment,
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


def _end_attempt(session: Session, lease: Lease, outcome: Outcome, state: str, now: datetime) -> str:
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


def _close_receipt(
    session: Session, lease: Lease, phase: str, outcome: Outcome, run: Row[Any], worker: str, now: datetime
) -> None:
    """Write what is known of an open receipt, and close it where that is all there is to know."""
    known: dict[str, Any] = {"opened_at": outcome.opened_at, "dropped_at": outcome.dropped_at}
    ended = "done" if outcome.opened_at and outcome.dropped_at else "unknown"
    if outcome.not_opened is not None:
        known, ended = {"reason": outcome.not_opened}, "failed"
    of_phase = (("run_id", lease.run_id), ("attempt", lease.attempt), ("phase", phase))
    closed = session.exec(
        update(Receipt)
        .where(*(getattr(Receipt, name) == value for name, value in of_phase), col(Receipt.status) == "opening")
        .values(status="opening" if ended == "unknown" else "closed", **known)
        .returning(col(Receipt.generation), col(Receipt.secrets))
        .execution_options(synchronize_session=False)
    ).first()
    if closed is not None:
        detail = {"generation": closed[0], "secrets": closed[1]}
        _note(session, lease, phase, run, worker, "secrets.close", ended, detail, now)
    elif outcome.refused is not None:
        _note(session, lease, phase, run, worker, "secrets.open", "refused", {"reason": outcome.refused}, now)
    if phase == PHASE:
        _say_of_connections(session, lease, outcome)
    if outcome.aliases:
        given = (getattr(ReceiptSecret, name) == value for name, value in of_phase)
        named = update(ReceiptSecret).where(*given, col(ReceiptSecret.name) == bindparam("given"))
        rows = [{"given": name, "also": alias} for name, alias in outcome.aliases.items()]
        session.connection().execute(named.values(alias=bindparam("also")), rows)


def _say_of_connections(session: Session, lease: Lease, outcome: Outcome) -> None:
    for key, said in outcome.connections.items():
        role, _, name = key.partition("/")
        until = said.get("expires_at")
        this = (("run_id", lease.run_id), ("attempt", lease.attempt), ("role", role), ("connection", name))
        of_it = [getattr(ReceiptConnection, of) == value for of, value in this]
        if until or said.get("left_out"):
            ends = datetime.fromisoformat(until) if until else None
            changed = update(ReceiptConnection).where(*of_it).values(left_out=said.get("left_out"), expires_at=ends)
            _write(session, changed)
        if absent := said.get("absent"):  # only the opened secret tells which of its fields are there
            gone = delete(ReceiptConnection).where(*of_it, col(ReceiptConnection.place).in_(absent))
            session.connection().execute(gone)


def _note(
    session: Session,
    lease: Lease,
    phase: str,
    run: Row[Any],
    worker: str,
    action: str,
    ended: str,
    detail: Mapping[str, object],
    now: datetime,
) -> None:
    """An audit event about a run's secrets; it waits to be linked, so runs do not wait for each other."""
    audit.append_later(
        session,
        run.project_id,
        run.project,
        actor=Actor(run.created_by, f"worker {worker}"),
        action=action,
        subject=run.environment,
        detail={"run": lease.run_id, "attempt": lease.attempt, "phase": phase, **detail},
        outcome=ended,
        at=now,
    )


def _write(session: Session, statement: Update) -> int:
    statement = statement.execution_options(synchronize_session=False)  # no object of the session outlives it
    return cast("CursorResult[Any]", session.exec(statement)).rowcount


def _moment(session: Session, db: Database) -> datetime:
    """The database's clock; SQLite's is this machine's, and need not be asked."""
    return utc_now() if db.dialect == "sqlite" else cast(datetime, session.exec(select(db.now())).one())
