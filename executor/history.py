"""Reading runs: by reference, in lists, with result, problem and receipt. Writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from executor.errors import AmbiguousRun, UnknownRun
from executor.models import Attempt, ReceiptSecret, Result, Run
from executor.outputs import OutputFile, list_files
from executor.runs import OVER
from secretstore.database import Database


@dataclass(frozen=True)
class ReceiptEntry:
    """One secret an attempt was given."""

    name: str
    version: int
    channel: str
    alias: str | None


@dataclass(frozen=True)
class Receipt:
    """What an attempt was given, and under which isolation. `status`: none, opening or closed.

    One that stays `opening` after the run is over was cut off: its secrets may have been opened.
    """

    status: str
    secrets: tuple[ReceiptEntry, ...]
    opened_at: datetime | None
    dropped_at: datetime | None
    rung: str | None
    controls: dict[str, Any]


@dataclass(frozen=True)
class RunView:
    """A run with the attempt that counts, the latest."""

    id: str
    project: str
    environment: str
    target: dict[str, Any]
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
    result: Any
    note: str | None
    problem: dict[str, Any] | None
    receipt: Receipt | None
    outputs: tuple[OutputFile, ...]

    @property
    def over(self) -> bool:
        """Whether an outcome is committed."""
        return self.state in OVER

    @property
    def title(self) -> str:
        """The target as one would type it."""
        return title(self.target)


def title(target: dict[str, Any]) -> str:
    """A target as one would type it: its arguments are left out of a function's, in full for the rest."""
    kind = target.get("kind")
    if kind == "function":
        return f"{target['path']}:{target['function']}"
    if kind == "module":
        return " ".join(["-m", target["module"], *target.get("argv", ())])
    if kind == "file":
        return " ".join([target["path"], *target.get("argv", ())])
    if kind == "command":
        return " ".join(["--", *target["argv"]])
    return f"({kind})"  # a row that another version, or nobody's, has written


def find(db: Database, reference: str, project_id: str | None = None) -> str:
    """The id of a run named by id, unique prefix, or `@last`.

    Raises:
        UnknownRun: none is meant.
        AmbiguousRun: several are.
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
        raise AmbiguousRun(reference=reference, count=len(found))
    return found[0]


def show(db: Database, run_id: str) -> RunView:
    """One run in full.

    Raises:
        UnknownRun: there is none of this id.
    """
    with db.reading() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise UnknownRun(reference=run_id)
        attempt = session.get(Attempt, (run_id, run.attempt))
        left = session.get(Result, (run_id, run.attempt))
        given = session.exec(
            select(ReceiptSecret)
            .where(ReceiptSecret.run_id == run_id, ReceiptSecret.attempt == run.attempt)
            .order_by(col(ReceiptSecret.name))
        ).all()
    receipt = None
    if attempt is not None and attempt.rung is not None:
        receipt = Receipt(
            status=attempt.receipt,
            secrets=tuple(ReceiptEntry(row.name, row.version, row.channel, row.alias) for row in given),
            opened_at=attempt.opened_at,
            dropped_at=attempt.dropped_at,
            rung=attempt.rung,
            controls=attempt.controls or {},
        )
    return _view(run, attempt, left, receipt, tuple(list_files(db, run_id, run.attempt)))


def state_of(db: Database, run_id: str) -> str:
    """A run's state alone: what a follower asks ten times a second."""
    with db.reading() as session:
        return session.exec(select(Run.state).where(Run.id == run_id)).one()


def list_runs(db: Database, project_id: str | None = None, limit: int = 20, state: str | None = None) -> list[RunView]:
    """The latest runs first, without results and receipts."""
    statement = select(Run).order_by(col(Run.created_at).desc()).limit(limit)
    if project_id is not None:
        statement = statement.where(Run.project_id == project_id)
    if state is not None:
        statement = statement.where(Run.state == state)
    with db.reading() as session:
        return [_view(run, None, None, None, ()) for run in session.exec(statement)]


def live_runs(db: Database, project_id: str) -> int:
    """How many runs of a project are not over."""
    with db.reading() as session:
        return len(session.exec(select(Run.id).where(Run.project_id == project_id, col(Run.state).not_in(OVER))).all())


def _view(
    run: Run,
    attempt: Attempt | None,
    left: Result | None,
    receipt: Receipt | None,
    outputs: tuple[OutputFile, ...],
) -> RunView:
    return RunView(
        id=run.id,
        project=run.project,
        environment=run.environment,
        target=run.target,
        state=run.state,
        reason=run.reason,
        message=run.message,
        exit_code=run.exit_code,
        signal=attempt.signal if attempt else None,
        attempt=run.attempt,
        worker=attempt.worker if attempt else None,
        created_at=run.created_at,
        created_by=run.created_by,
        started_at=run.started_at,
        finished_at=run.finished_at,
        cancel_requested_at=run.cancel_requested_at,
        result=left.result if left else None,
        note=left.note if left else None,
        problem=left.problem if left else None,
        receipt=receipt,
        outputs=outputs,
    )
