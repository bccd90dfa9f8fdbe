"""One run, one straight line, as the worker sees it: claim, prepare, gate, open, supervise, finish.

The worker holds no plaintext at any step. It moves ciphertext one way and masked frames the other.
"""

import contextlib
import logging
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from executor import logs, outputs, runs
from executor.errors import ExecutorError, SourceIsHome, SourceMoved, TargetMissing
from executor.history import title
from executor.logs import Piece
from executor.models import Run
from executor.runs import GateShut, Lease, Offer, Outcome, StaleToken
from executor.settings import Settings
from executor.source import environment_for, interpreter_paths
from executor.supervision import Supervision, Zygote
from executor.supervisor import sandbox
from executor.supervisor.errors import SupervisorError
from executor.supervisor.wire import Frame, Kind, WireBroken, send
from executor.supervisor.workspace import Workspace, workspace
from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database
from secretstore.errors import DatabaseBusy, DatabaseUnreachable, SecretStoreError

logger = logging.getLogger("sealrun")

_FLUSH_BYTES = 256 << 10
_FLUSH_AGE = 0.1  # seconds a piece of output may wait for company before it is stored
_LISTEN = 0.02  # seconds of silence after which what was collected is stored
_POLL = 0.2  # seconds between two looks at whether the run was cancelled
_REAP = 15.0


@dataclass(frozen=True)
class Bench:
    """What a worker brings to every run."""

    settings: Settings
    db: Database
    zygote: Zygote
    host: sandbox.Host
    offer: Offer
    forbidden: tuple[Path, ...]
    cancelled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)


def dispatch(bench: Bench, run_id: str) -> None:
    """Execute a run if it is ours to take; its outcome is committed once, or left to whoever holds a later token."""
    with contextlib.ExitStack() as ending:
        # Asked for before the claim, to be forked meanwhile; it holds nothing, and without a claim it just ends.
        supervision = ending.enter_context(bench.zygote.pair())
        claimed = runs.claim(bench.db, run_id, bench.offer, bench.settings.lease)
        if claimed is not None:
            _execute(bench, *claimed, supervision)


def _execute(bench: Bench, run: Run, lease: Lease, supervision: Supervision) -> None:
    bench.active.add(run.id)
    logger.info("run %s: attempt %d", run.id, lease.attempt)
    outcome: Outcome | None
    try:
        outcome = _attempt(bench, run, lease, supervision)
    except GateShut:
        outcome = Outcome("cancelled", "cancelled") if runs.renew(bench.db, lease).cancel_requested else None
    except StaleToken:
        outcome = None
    except SupervisorNotReady as error:
        # Lost before the gate: nothing was opened and nothing of the run has started, so it is always tried again.
        runs.give_back(bench.db, lease, Outcome("lost", "lost", str(error)))
        outcome = None
    except (ExecutorError, SupervisorError, SecretStoreError) as error:
        hint = f" ({error.hint})" if error.hint else ""
        reason = "secrets_unavailable" if isinstance(error, SecretStoreError) else "setup_failed"
        outcome = Outcome("failed", reason, f"{error}{hint}")
    except Exception as error:
        # Nothing in this process has seen a value, so its log may have the whole of it; the run ends with a sentence.
        logger.exception("run %s: unforeseen", run.id)
        said = f"unforeseen in the worker, whose log says more: {type(error).__name__}"
        outcome = Outcome("failed", "internal_error", said)
    finally:
        bench.active.discard(run.id)
        bench.cancelled.discard(run.id)
    if outcome is not None:
        _finish(bench, run, lease, outcome)
    # The outcome's message may hold a name of the user's choice, its state and reason are words of ours.
    logger.info("run %s: %s", run.id, outcome.reason or outcome.state if outcome else "given back")


def _attempt(bench: Bench, run: Run, lease: Lease, supervision: Supervision) -> Outcome:
    name = f"{run.id}-{lease.attempt}"
    with workspace(bench.settings.workspaces, name, bench.settings.run_uids) as place, contextlib.ExitStack() as ending:
        # Before the place is cleared, whatever happens, nothing of the run is left to write into it.
        ending.callback(supervision.cut, _REAP)
        job = _prepare(bench, run, place)
        _ready(supervision, job)
        deadline = _deadline(lease)
        variables: dict[str, str] = {}

        def read(session: Session) -> SealedBundle | None:
            variables.update(vault.plain_variables(session, run.environment_id) | run.variables)
            return _bundle(session, run)

        bundle = runs.pass_gate(bench.db, lease, read, rung=job["view"]["rung"], controls=job["controls"])
        with contextlib.suppress(OSError):  # who is gone is found missing by the watch
            if bundle is not None and bundle.items:
                request = {"keys": bench.settings.store.keys, "bundle": bundle.to_json()}
                send(supervision.opener, Kind.BUNDLE, request)
            supervision.opener.shutdown(socket.SHUT_WR)
            go = {
                "deadline": deadline,
                "secrets": bool(bundle is not None and bundle.items),
                "variables": variables,
            }
            send(supervision.supervisor, Kind.GO, go)
        return _Watch(bench, run, lease, supervision).follow()


def _prepare(bench: Bench, run: Run, place: Workspace) -> dict[str, Any]:
    """The job as the supervisor gets it: everything but secrets."""
    source = Path(run.source_root)
    if not source.is_dir():
        raise TargetMissing(path=source, root=source)
    if source.resolve() != source:
        raise SourceMoved(root=source, place=source.resolve())
    if sandbox.users_home().is_relative_to(source):
        raise SourceIsHome(root=source)
    python, interpreter = interpreter_paths(run.python)
    view = sandbox.view(
        bench.host,
        source=source,
        interpreter=interpreter,
        writable=(place.home, place.temporary, place.output),
        uid=place.uid,
        forbidden=bench.forbidden,
    )
    settings = bench.settings
    return {
        "run": run.id,
        "target": run.target,
        "python": str(python),
        "folder": str(source),
        "view": view.to_json(),
        "base": environment_for(run, place, python),
        "output": str(place.output),
        "controls": _controls(bench.host, view),
        "limits": {
            "timeout": run.timeout,
            "term_grace": settings.term_grace,
            "log_bytes": settings.log_bytes,
            "result_bytes": settings.result_bytes,
            "output_bytes": settings.output_bytes,
        },
    }


def _controls(host: sandbox.Host, view: sandbox.View) -> dict[str, Any]:
    """What is really in force, for the receipt."""
    own_user = view.uid is not None
    return {
        "landlock_abi": host.landlock_abi,
        "own_user": own_user,
        "own_mounts": host.mounts,
        "no_new_privileges": True,
        "tree": "subreaper",
        "key_file_readable": not own_user and view.rung == "process",
    }


def _bundle(session: Session, run: Run) -> SealedBundle | None:
    if run.secret_names is not None and not run.secret_names:
        return None
    return vault.sealed_bundle(session, run.environment_id, run.secret_names)


def _ready(supervision: Supervision, job: dict[str, Any]) -> None:
    """Wait for the supervisor and give it the job.

    Raises:
        SupervisorNotReady: it is not there.
    """
    try:
        frame = supervision.frames.receive(30)
        send(supervision.supervisor, Kind.JOB, job)
    except (TimeoutError, WireBroken, OSError):
        frame = None
    if frame is None or frame.kind is not Kind.READY:
        raise SupervisorNotReady


class SupervisorNotReady(ExecutorError):
    """the run's supervisor did not come up"""


class _Watch:
    """From the gate to the outcome: store what comes, renew the lease, pass on a cancellation."""

    def __init__(self, bench: Bench, run: Run, lease: Lease, supervision: Supervision) -> None:
        self._bench = bench
        self._run = run
        self._lease = lease
        self._supervision = supervision
        self._pieces: list[Piece] = []
        self._sequence = 0
        self._waiting_since = 0.0
        self._renew_at = time.monotonic() + lease.seconds / 3
        self._cancel_sent = False
        self._file: tuple[str, int] | None = None
        self._left: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def follow(self) -> Outcome:
        """Until the supervisor has said how it ended, or has ended without a word."""
        outcome: dict[str, Any] | None = None
        while outcome is None:
            try:
                frame = self._supervision.frames.receive(_LISTEN if self._pieces else _POLL)
            except TimeoutError:
                self._store()
            except WireBroken:
                break
            else:
                if frame is None:
                    break
                if frame.kind is Kind.OUTCOME:
                    outcome = frame.json()
                else:
                    self._take(frame)
            self._mind()
        status = self._supervision.reaped(_REAP)
        return replace(self._judge(outcome, status), rows=logs.rows(self._lease, self._pieces))

    def _take(self, frame: Frame) -> None:
        bench, lease = self._bench, self._lease
        if frame.kind in (Kind.STDOUT, Kind.STDERR):
            self._sequence += 1
            if not self._pieces:
                self._waiting_since = time.monotonic()
            self._pieces.append(Piece(self._sequence, frame.kind.name.lower(), datetime.now(UTC), frame.payload))
            if sum(len(piece.data) for piece in self._pieces) > _FLUSH_BYTES:
                self._store()
        elif frame.kind is Kind.STARTED:
            self._aliases = frame.json()["aliases"]
        elif frame.kind in (Kind.RESULT, Kind.PROBLEM):
            self._left |= frame.json()
        elif frame.kind is Kind.OUTPUT:
            found = frame.json()
            self._file = (found["path"], 0)
            self._insist(lambda: outputs.begin(bench.db, lease, found["path"], found["size"]))
        elif frame.kind is Kind.OUTPUT_DATA and self._file is not None:
            path, sequence = self._file
            self._file = (path, sequence + 1)
            self._insist(lambda: outputs.append(bench.db, lease, path, sequence, frame.payload))
        elif frame.kind is Kind.OUTPUT_WITHHELD:
            found = frame.json()
            self._insist(lambda: outputs.begin(bench.db, lease, found["path"], None, found["why"]))

    def _mind(self) -> None:
        """Store what has waited, renew what is due, pass on a cancellation."""
        now = time.monotonic()
        if self._pieces and now - self._waiting_since > _FLUSH_AGE:
            self._store()
        if now >= self._renew_at:
            self._renew()
        if self._run.id in self._bench.cancelled and not self._cancel_sent:
            self._cancel_sent = True
            self._tell(Kind.CANCEL, {})

    def _renew(self) -> None:
        deadline = _deadline(self._lease)  # measured before it is sent: the supervisor's end comes before the lease's
        try:
            renewal = runs.renew(self._bench.db, self._lease)
        except (DatabaseUnreachable, DatabaseBusy):
            self._renew_at = time.monotonic() + 1.0
            return  # not renewed: the supervisor ends the run at the deadline it has
        if not renewal.held:
            raise StaleToken
        self._tell(Kind.DEADLINE, {"deadline": deadline})
        self._renew_at = time.monotonic() + self._lease.seconds / 3

    def _tell(self, kind: Kind, document: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is ending; its outcome, or the lack of one, says how
            send(self._supervision.supervisor, kind, document)

    def _store(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._insist(lambda: logs.append(self._bench.db, self._lease, pieces))

    def _insist(self, write: Any) -> None:
        """Write, and wait for a database that is away; the supervisor's deadline goes on running meanwhile."""
        give_up = time.monotonic() + 2 * self._lease.seconds
        failed = False
        while True:
            try:
                write()
                return
            except (DatabaseUnreachable, DatabaseBusy):
                failed = True
                if time.monotonic() > give_up:
                    raise StaleToken from None
                self._bench.stopping.wait(0.5)
            except IntegrityError:
                if not failed:
                    raise
                return  # the commit whose answer was lost had been made

    def _judge(self, said: dict[str, Any] | None, status: int | None) -> Outcome:
        """The supervisor's words as an outcome; without words its wait status."""
        dropped_at = datetime.now(UTC) if status is not None else None
        if said is None:
            how = "it was killed" if status and status & 0x7F else "it ended without a word"
            return Outcome("lost", "lost", f"the supervisor was lost: {how}", dropped_at=dropped_at)
        answer = self._opener()
        reason, message = said.get("reason"), said.get("message")
        if reason == "secrets_unavailable" and answer is not None and answer.kind is Kind.NOT_OPENED:
            document = answer.json()
            message = document["message"] + (f" ({document['hint']})" if document.get("hint") else "")
        if reason == "exit_code" and self._left.get("problem") is not None:
            reason = "exception"
        state = {None: "succeeded", "cancelled": "cancelled", "lost": "lost"}.get(reason, "failed")
        opened = answer.json()["at"] if answer is not None and answer.kind is Kind.OPENED else None
        return Outcome(
            state=state,
            reason=reason,
            message=_text(message or self._sentence(reason, said)),
            exit_code=said.get("exit_code"),
            signal=said.get("signal"),
            result=self._left.get("result"),
            note=self._left.get("note"),
            problem=self._left.get("problem"),
            opened_at=datetime.fromisoformat(opened) if opened else None,
            dropped_at=dropped_at,
            aliases=self._aliases,
        )

    def _opener(self) -> Frame | None:
        try:
            return self._supervision.answers.receive(1.0)
        except (TimeoutError, WireBroken):
            return None

    def _sentence(self, reason: str | None, said: dict[str, Any]) -> str | None:
        target = self._run.target
        what = target["argv"][0] if target["kind"] == "command" else title(target).removeprefix("-m ").partition(" ")[0]
        match reason:
            case "exit_code":
                return f"{what} ended with exit code {said['exit_code']}"
            case "exception":
                problem = self._left["problem"]
                if problem.get("type") == "Mistake":  # entry's own sentence: wrong arguments, no such function
                    return str(problem.get("message"))
                return f"{what} raised {problem.get('type', 'an exception')}"
            case "signal":
                return f"{what} was ended by signal {said['signal']}"
            case "timed_out":
                return f"{what} was ended after {self._run.timeout:g} seconds"
            case "lost":
                return "the run was ended because its worker could not renew the lease"
        return None


def _finish(bench: Bench, run: Run, lease: Lease, outcome: Outcome) -> None:
    """Commit, insisting for a while when the database is away; else the lease runs out and a janitor settles it."""
    give_up = time.monotonic() + 60
    while True:
        try:
            if outcome.state == "lost":
                if run.retry_when_lost:
                    runs.give_back(bench.db, lease, outcome)
                else:
                    runs.finish(bench.db, lease, replace(outcome, state="failed"))
            else:
                runs.finish(bench.db, lease, outcome)
            return
        except (DatabaseUnreachable, DatabaseBusy):
            if time.monotonic() > give_up:
                return
            bench.stopping.wait(0.5)


def _text(message: str | None) -> str | None:
    """A sentence every database takes: a path may hold bytes that are no text."""
    return None if message is None else message.encode(errors="replace").decode().replace("\0", "?")


def _deadline(lease: Lease) -> int:
    """The moment of CLOCK_BOOTTIME, in nanoseconds, at which the supervisor ends the run if it hears nothing more."""
    margin = max(lease.seconds * 0.2, 1.0)
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int((lease.seconds - margin) * 1e9)
