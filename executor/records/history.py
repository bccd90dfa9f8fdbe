"""Reading runs: by reference, in lists, with result, problem and receipts.

Writes nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from executor import models
from executor.errors import UnknownRun
from executor.models import Attempt, ReceiptSecret, Result, Run
from executor.records.files import OutputFile, list_files
from executor.runs import OVER, PHASE, needs, workers
from secretstore.database import Database, utc_now

_TITLE_JSON = 40  # characters
SAMPLES_SHOWN = 300


@dataclass(frozen=True)
class ReceiptEntry:
    """One secret a phase was given; `expires_at` where it was expired already when it was given."""

    name: str
    version: int
    channel: str
    alias: str | None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class ConnectionEntry:
    """A setting of a data source or catalog that a secret, or one field of its JSON, was filled in for.

    `left_out` says why the run was not given the connection after all; `expires_at` is when the short-lived credentials
    end that were made of the secret, which itself did not reach the run.
    """

    role: str
    connection: str
    place: str
    secret: str
    version: int
    field: str | None = None
    left_out: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Receipt:
    """What a phase of an attempt was given, and under which isolation. `status`: none, opening or closed.

    One that stays `opening` after the run is over was cut off: its secrets may have been opened. A closed one without
    `opened_at` has the `reason` why they were not. `opening_at`, and what names the key pair that was used, are None
    where the status is none: no secret was asked for.
    """

    status: str
    secrets: tuple[ReceiptEntry, ...]
    opened_at: datetime | None
    dropped_at: datetime | None
    rung: str | None
    controls: dict[str, Any]
    phase: str = PHASE
    opening_at: datetime | None = None
    reason: str | None = None
    environment_id: str | None = None
    generation: int | None = None
    fingerprint: str | None = None
    key_service: str | None = None
    connections: tuple[ConnectionEntry, ...] = ()

    @property
    def may_have_been_opened(self) -> bool:
        """Whether nothing says that they were opened, or that they were not."""
        return self.status == "opening" and self.opened_at is None


@dataclass(frozen=True)
class AttemptView:
    """One attempt at a run, with a receipt per phase."""

    number: int
    worker: str
    state: str
    reason: str | None
    message: str | None
    exit_code: int | None
    signal: int | None
    claimed_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    receipts: tuple[Receipt, ...]
    metrics: dict[str, Any] | None = None
    packages: dict[str, Any] | None = None
    """What its Python consists of: `python`, and of an environment `environment`, `lock`, `cached` and `seconds`."""

    @property
    def receipt(self) -> Receipt | None:
        """Of the run's own phase; None before the gate."""
        return next((receipt for receipt in self.receipts if receipt.phase == PHASE), None)


@dataclass(frozen=True)
class SampleView:
    """What the processes of an attempt used up to a moment: CPU seconds in sum, bytes of memory then."""

    at: datetime
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class MetricView:
    """A number that a run reported itself."""

    at: datetime
    name: str
    value: float
    unit: str | None
    labels: dict[str, str] | None


@dataclass(frozen=True)
class RunView:
    """A run with one attempt, the one that counts or the one that was asked for, and all of them.

    `retried` of at most `retries` times it was tried again, not yet before `not_before`.

    `host`, `rung_min`, `network` and `python_version` are what it needs of a worker beside its queue; `waiting_for`
    says what no live worker offers of it, as long as nobody has taken it.

    Its source is the folder `source_root`, or the `bundle` that was uploaded from there; `source_dirty` says that it
    differed from `source_commit`. None: not known.

    `metrics` is what the attempt used: seconds, bytes, and the seconds of each phase. `reported` is what it reported
    itself. `samples` are every so many, so that there are not too many of them.
    """

    id: str
    project: str
    environment: str
    target: dict[str, Any]
    queue: str
    state: str
    reason: str | None
    message: str | None
    exit_code: int | None
    signal: int | None
    attempt: int
    worker: str | None
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    retries: int
    retried: int
    not_before: datetime | None
    retry_of: str | None
    result: Any
    note: str | None
    problem: dict[str, Any] | None
    receipt: Receipt | None
    outputs: tuple[OutputFile, ...]
    attempts: tuple[AttemptView, ...] = ()
    host: str | None = None
    rung_min: str | None = None
    network: str = "full"
    python_version: str | None = None
    waiting_for: str | None = None
    source_root: str = ""
    bundle: str | None = None
    source_commit: str | None = None
    source_dirty: bool | None = None
    metrics: dict[str, Any] | None = None
    reported: tuple[MetricView, ...] = ()
    samples: tuple[SampleView, ...] = ()

    @property
    def over(self) -> bool:
        """Whether an outcome is committed."""
        return self.state in OVER

    @property
    def delayed(self) -> str | None:
        """What it waits for between two attempts."""
        if self.state != "pending" or self.not_before is None:
            return None
        left = max((self.not_before - utc_now()).total_seconds(), 0)
        return f"retry {self.retried} of {self.retries} in {left:.0f} s"

    @property
    def tried_again(self) -> str:
        """How the latest attempt that is over ended, and what comes after it."""
        ended = max((one for one in self.attempts if one.finished_at), key=lambda one: one.number, default=None)
        how = f"attempt {ended.number} {ended.state}; " if ended is not None else ""
        return how + (self.delayed or f"retry {self.retried} of {self.retries}")

    @property
    def title(self) -> str:
        """The target as one would type it."""
        return title(self.target)


def title(target: dict[str, Any]) -> str:
    """A target as one would type it: a function's arguments by name, which stand before it, are left out."""
    kind = target.get("kind")
    if kind == "function":
        return " ".join([f"{target['path']}:{target['function']}", *map(_argument, target.get("args", ()))])
    if kind == "module":
        return " ".join(["-m", target["module"], *target.get("argv", ())])
    if kind == "file":
        return " ".join([target["path"], *target.get("argv", ())])
    if kind == "command":
        return " ".join(["--", *target["argv"]])
    return f"({kind})"  # a row that something else has written


def _argument(argument: dict[str, Any]) -> str:
    """One by position: text as it is, JSON as JSON, of which a title has room for the beginning."""
    if "text" in argument:
        return str(argument["text"])
    text = json.dumps(argument.get("json"), ensure_ascii=False)
    return text if len(text) <= _TITLE_JSON else text[: _TITLE_JSON - 1] + "…"


def find(db: Database, reference: str, project_id: str | None = None) -> str:
    """The id of a run named by id, unique prefix, or `@last`.

    Raises:
        UnknownRun: none is meant.
        UnknownRun: several are.
    """
    statement = select(Run.id).order_by(col(Run.created_at).desc())
    if project_id is not None:
        statement = statement.where(Run.project_id == project_id)
    with db.reading() as session:
        if reference == "@last":
            found = session.exec(statement.limit(1)).all()
        elif not reference or not set(reference) <= set("0123456789abcdef"):
            found = []
        else:
            found = session.exec(statement.where(col(Run.id).startswith(reference)).limit(100)).all()
    if not found:
        raise UnknownRun(reference=reference)
    if len(found) > 1:
        raise UnknownRun(
            '"{reference}" is the beginning of {count} run ids',
            reference=reference,
            count=len(found),
            hint="give more of it",
        )
    return found[0]


def show(db: Database, run_id: str, attempt: int | None = None) -> RunView:
    """One run in full, with what an attempt left; the latest unless one is named, which began and ended when it did.

    Raises:
        UnknownRun: there is none of this id.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise UnknownRun(reference=run_id)
        number = run.attempt if attempt is None else attempt
        left = session.get(Result, (run_id, number))
        attempts = _attempts(session, run)
        reported, samples = _reported(session, run_id, number), _samples(session, run_id, number)
    shown = next((one for one in attempts if one.number == number), None)
    outputs = tuple(list_files(db, run_id, number))
    view = _view(run, number, shown, left, outputs, attempts, _waiting_for(db, [run]).get(run.id))
    if attempt is not None and shown is not None:
        view = replace(view, started_at=shown.started_at, finished_at=shown.finished_at)
    return replace(view, reported=reported, samples=samples)


def _waiting_for(db: Database, found: Sequence[Run]) -> dict[str, str]:
    """What no live worker offers of what runs need that wait, by id; the workers are looked up once, if at all."""
    waiting = [run for run in found if run.state == "pending" and run.lease_owner is None]
    live = workers.list_workers(db, alive_only=True) if waiting else []
    return {run.id: missing for run in waiting if (missing := needs.waiting_for(run, live))}


def _reported(session: Session, run_id: str, attempt: int) -> tuple[MetricView, ...]:
    of = models.Metric
    rows = select(of).where(of.run_id == run_id, of.attempt == attempt).order_by(col(of.sequence))
    return tuple(MetricView(row.at, row.name, row.value, row.unit, row.labels) for row in session.exec(rows))


def _samples(session: Session, run_id: str, attempt: int) -> tuple[SampleView, ...]:
    of = models.Sample
    this = (of.run_id == run_id, of.attempt == attempt)
    step = session.exec(select(func.count()).where(*this)).one() // SAMPLES_SHOWN + 1
    rows = select(of).where(*this, col(of.sequence) % step == 0).order_by(col(of.sequence))
    return tuple(SampleView(row.at, row.cpu_seconds, row.memory_bytes) for row in session.exec(rows))


def _attempts(session: Session, run: Run) -> tuple[AttemptView, ...]:
    run_id = run.id
    rows = session.exec(select(Attempt).where(Attempt.run_id == run_id).order_by(col(Attempt.number))).all()
    # From when on each could have been claimed: the run was accepted, or the attempt before it was over.
    free_at = [run.created_at, *(row.finished_at or row.claimed_at for row in rows)]
    written = session.exec(
        select(models.Receipt).where(models.Receipt.run_id == run_id).order_by(col(models.Receipt.opening_at))
    ).all()
    entries: dict[tuple[int, str], list[ReceiptEntry]] = {}
    given = select(ReceiptSecret).where(ReceiptSecret.run_id == run_id).order_by(col(ReceiptSecret.name))
    for row in session.exec(given) if written else ():
        entry = ReceiptEntry(row.name, row.version, row.channel, row.alias, row.expires_at)
        entries.setdefault((row.attempt, row.phase), []).append(entry)
    used: dict[int, list[ConnectionEntry]] = {}
    filled = models.ReceiptConnection
    order = (col(filled.role).desc(), col(filled.connection), col(filled.place))
    for found in session.exec(select(filled).where(filled.run_id == run_id).order_by(*order)) if written else ():
        used.setdefault(found.attempt, []).append(
            ConnectionEntry(**{of.name: getattr(found, of.name) for of in fields(ConnectionEntry)})
        )
    return tuple(
        AttemptView(
            number=row.number,
            worker=row.worker,
            state=row.state,
            reason=row.reason,
            message=row.message,
            exit_code=row.exit_code,
            signal=row.signal,
            claimed_at=row.claimed_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            receipts=tuple(_receipts(row, [one for one in written if one.attempt == row.number], entries, used)),
            metrics=row.metrics and _with_queue(row.metrics, row.claimed_at - since),
            packages=row.packages,
        )
        for row, since in zip(rows, free_at, strict=False)
    )


def _with_queue(metrics: dict[str, Any], waited: timedelta) -> dict[str, Any]:
    """An attempt's metrics, its phases with the one that only the database's clock can tell."""
    queued = {"queued": max(round(waited.total_seconds(), 4), 0.0)}
    return {**metrics, "phases": {**queued, **metrics.get("phases", {})}}


def _receipts(
    attempt: Attempt,
    written: Sequence[models.Receipt],
    entries: Mapping[tuple[int, str], Sequence[ReceiptEntry]],
    used: Mapping[int, Sequence[ConnectionEntry]],
) -> Iterator[Receipt]:
    isolation: dict[str, Any] = {"rung": attempt.rung, "controls": attempt.controls or {}}
    for row in written:
        yield Receipt(
            status=row.status,
            secrets=tuple(entries.get((row.attempt, row.phase), ())),
            opened_at=row.opened_at,
            dropped_at=row.dropped_at,
            phase=row.phase,
            opening_at=row.opening_at,
            reason=row.reason,
            environment_id=row.environment_id,
            generation=row.generation,
            fingerprint=row.fingerprint,
            key_service=row.key_service,
            connections=tuple(used.get(row.attempt, ())) if row.phase == PHASE else (),
            **isolation,
        )
    if attempt.started_at is not None and not any(row.phase == PHASE for row in written):
        yield Receipt(status="none", secrets=(), opened_at=None, dropped_at=None, **isolation)


def state_of(db: Database, run_id: str) -> str:
    """A run's state alone: what a follower asks ten times a second.

    Raises:
        UnknownRun: there is none of this id, or not any more.
    """
    with db.reading() as session:
        state = session.exec(select(Run.state).where(Run.id == run_id)).first()
    if state is None:
        raise UnknownRun(reference=run_id)
    return state


def standing(db: Database, run_id: str) -> tuple[str, int]:
    """A run's state, and how often it has been tried again.

    Raises:
        UnknownRun: there is none of this id, or not any more.
    """
    with db.reading() as session:
        found = session.exec(select(Run.state, Run.retried).where(Run.id == run_id)).first()
    if found is None:
        raise UnknownRun(reference=run_id)
    return found


def list_runs(db: Database, project_id: str | None = None, limit: int = 20, state: str | None = None) -> list[RunView]:
    """The latest runs first, without results and receipts."""
    # What environments are built of may be long, and is nobody's to see in a list.
    light = defer(Run.requirements)  # type: ignore[arg-type]  # SQLModel gives a column the type of its value
    statement = select(Run).options(light).order_by(col(Run.created_at).desc()).limit(limit)
    if project_id is not None:
        statement = statement.where(Run.project_id == project_id)
    if state is not None:
        statement = statement.where(Run.state == state)
    with db.reading() as session:
        found = session.exec(statement).all()
    waiting = _waiting_for(db, found)
    return [_view(run, run.attempt, None, None, (), (), waiting.get(run.id)) for run in found]


def _view(
    run: Run,
    number: int,
    attempt: AttemptView | None,
    left: Result | None,
    outputs: tuple[OutputFile, ...],
    attempts: tuple[AttemptView, ...],
    waiting_for: str | None,
) -> RunView:
    return RunView(
        id=run.id,
        project=run.project,
        environment=run.environment,
        target=run.target,
        queue=run.queue,
        state=run.state,
        reason=run.reason,
        message=run.message,
        exit_code=run.exit_code,
        signal=attempt.signal if attempt else None,
        attempt=number,
        worker=attempt.worker if attempt else None,
        created_at=run.created_at,
        created_by=run.created_by,
        started_at=run.started_at,
        finished_at=run.finished_at,
        cancel_requested_at=run.cancel_requested_at,
        retries=run.retries,
        retried=run.retried,
        not_before=run.not_before,
        retry_of=run.retry_of,
        result=left.result if left else None,
        note=left.note if left else None,
        problem=left.problem if left else None,
        receipt=attempt.receipt if attempt else None,
        outputs=outputs,
        attempts=attempts,
        host=run.host,
        rung_min=run.rung_min,
        network=run.network,
        python_version=run.python_version,
        waiting_for=waiting_for,
        source_root=run.source_root,
        bundle=run.bundle,
        source_commit=run.source_commit,
        source_dirty=run.source_dirty,
        metrics=attempt.metrics if attempt else None,
    )
