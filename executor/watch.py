"""From the gate to the outcome: store what a supervisor sends, renew the lease, pass on a cancellation."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from executor import logs, outputs, runs
from executor.bench import Bench
from executor.history import title
from executor.logs import Piece
from executor.models import Metric, Run, Sample
from executor.runs import Lease, Outcome, StaleToken
from executor.supervision import Supervision
from executor.supervisor.wire import Frame, Kind, WireBroken, send
from secretstore.errors import DatabaseUnavailable

REAP = 15.0  # seconds for a supervisor that has said its last word to be gone
_ROW_BYTES = 256 << 10
_FLUSH_BYTES = 1 << 20
_FLUSH_AGE = 0.1  # seconds a piece of output may wait for company before it is stored
_LISTEN = 0.02  # seconds of silence after which what was collected is stored
_LAST = 16 << 10  # bytes of an installer's words that are at hand for the message of a failure
_POLL = 0.2  # seconds between two looks at whether the run was cancelled


@dataclass
class _Row:
    """Output that waits to be stored: of one stream, with nothing of another in between."""

    stream: str
    at: datetime
    data: bytearray = field(default_factory=bytearray)


class Watch:
    """From the gate to the outcome: store what comes, renew the lease, pass on a cancellation."""

    def __init__(
        self,
        bench: Bench,
        run: Run,
        lease: Lease,
        supervision: Supervision,
        phases: Mapping[str, float] = {},
        after: int = 0,
    ) -> None:
        """Nothing is read yet.

        `phases` says how many seconds each took that is over, `after` which number the last piece of output has that
        the attempt has already.
        """
        self._bench = bench
        self._run = run
        self._lease = lease
        self._supervision = supervision
        self._phases = phases
        self._rows: list[_Row] = []
        self._numbers: list[SQLModel] = []  # samples and metrics
        self._bytes = 0
        self._sequences = {"output": after, "sample": 0, "metric": 0}
        self._waiting_since = 0.0
        self._renew_at = time.monotonic() + lease.seconds / 3
        self._cancel_sent = False
        self._file: tuple[str, int] | None = None
        self._left: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}
        self._connections: dict[str, dict[str, Any]] = {}

    def follow(self) -> Outcome:
        """Until the supervisor has said how it ended, or has ended without a word."""
        outcome: dict[str, Any] | None = None
        while outcome is None:
            try:
                frame = self._supervision.frames.receive(_LISTEN if self._waiting else _POLL)
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
        status = self._supervision.reaped(REAP)
        pieces, numbers = self._waiting_rows()
        return replace(self._judge(outcome, status), rows=[*logs.rows(self._lease, pieces), *numbers])

    def _take(self, frame: Frame) -> None:
        bench, lease = self._bench, self._lease
        if frame.kind in (Kind.STDOUT, Kind.STDERR):
            self._add_output(frame.kind.name.lower(), frame.payload)
        elif frame.kind is Kind.SAMPLE:
            self._add_number(Sample, "sample", frame.json())
        elif frame.kind is Kind.METRICS:
            for found in frame.json():
                self._add_number(Metric, "metric", found)
        elif frame.kind is Kind.STARTED:
            started = frame.json()
            self._aliases, self._connections = started["aliases"], started["connections"]
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

    @property
    def output(self) -> int:
        """The number of the last piece of output that is stored."""
        return self._sequences["output"]

    def _add_output(self, stream: str, data: bytes) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        last = self._rows[-1] if self._rows else None
        if last is None or last.stream != stream or len(last.data) + len(data) > _ROW_BYTES:
            last = _Row(stream, datetime.now(UTC))
            self._rows.append(last)
        last.data += data
        self._bytes += len(data)
        if self._bytes >= _FLUSH_BYTES:
            self._store()

    def _add_number(self, table: type[Sample] | type[Metric], of: str, found: dict[str, Any]) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._sequences[of] += 1
        this: dict[str, Any] = {
            "run_id": self._lease.run_id,
            "attempt": self._lease.attempt,
            "sequence": self._sequences[of],
        }
        self._numbers.append(table(**this, at=datetime.now(UTC), **found))

    @property
    def _waiting(self) -> bool:
        return bool(self._rows or self._numbers)

    def _mind(self) -> None:
        """Store what has waited, renew what is due, pass on a cancellation."""
        now = time.monotonic()
        if self._waiting and now - self._waiting_since > _FLUSH_AGE:
            self._store()
        if now >= self._renew_at:
            self._renew()
        if self._run.id in self._bench.cancelled and not self._cancel_sent:
            self._cancel_sent = True
            self._tell(Kind.CANCEL, {})

    def _renew(self) -> None:
        moment = deadline(self._lease)  # measured before it is sent: the supervisor's end comes before the lease's
        try:
            renewal = runs.renew(self._bench.db, self._lease)
        except DatabaseUnavailable:
            self._renew_at = time.monotonic() + 1.0
            return  # not renewed: the supervisor ends the run at the deadline it has
        if not renewal.held:
            raise StaleToken
        self._tell(Kind.DEADLINE, {"deadline": moment})
        self._renew_at = time.monotonic() + self._lease.seconds / 3

    def _tell(self, kind: Kind, document: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it is ending; its outcome, or the lack of one, says how
            send(self._supervision.supervisor, kind, document)

    def _store(self) -> None:
        if self._waiting:
            pieces, numbers = self._waiting_rows()
            self._insist(lambda: logs.append(self._bench.db, self._lease, pieces, numbers))

    def _waiting_rows(self) -> tuple[list[Piece], list[SQLModel]]:
        """What has waited, as it is stored; nothing waits any more."""
        first = self._sequences["output"] + 1
        pieces = [Piece(number, row.stream, row.at, bytes(row.data)) for number, row in enumerate(self._rows, first)]
        self._sequences["output"] += len(pieces)
        numbers = self._numbers
        self._rows, self._numbers, self._bytes = [], [], 0
        return pieces, numbers

    def _insist(self, write: Any) -> None:
        """Write, and wait for a database that is away; the supervisor's deadline goes on running meanwhile."""
        give_up = time.monotonic() + 2 * self._lease.seconds
        failed = False
        while True:
            try:
                write()
                return
            except DatabaseUnavailable:
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
        answer = self._opener()
        document = answer.json() if answer is not None else {}
        opened = document["at"] if answer is not None and answer.kind is Kind.OPENED else None
        not_opened = None
        if answer is not None and answer.kind is Kind.NOT_OPENED:
            not_opened = document["message"] + (f" ({document['hint']})" if document.get("hint") else "")
        of_secrets: dict[str, Any] = {
            "opened_at": datetime.fromisoformat(opened) if opened else None,
            "dropped_at": datetime.now(UTC) if status is not None else None,
            # Where handing over broke off some values may have arrived: nobody knows, and the receipt stays open.
            "not_opened": _text(not_opened) if document.get("error") != "OSError" else None,
        }
        if said is None:
            how = "it was killed" if status and status & 0x7F else "it ended without a word"
            return Outcome("lost", "lost", f"the supervisor was lost: {how}", **of_secrets)
        reason, message = said.get("reason"), said.get("message")
        if reason == "secrets_unavailable" and not_opened is not None:
            message = not_opened
        problem = self._left.get("problem")
        if reason == "exit_code" and problem is not None:
            reason = "out_of_memory" if str(problem.get("type")).endswith("MemoryError") else "exception"
        metrics = said.get("metrics")
        state = {None: "succeeded", "cancelled": "cancelled", "lost": "lost"}.get(reason, "failed")
        return Outcome(
            state=state,
            reason=reason,
            message=_text(message or self._sentence(reason, said)),
            exit_code=said.get("exit_code"),
            signal=said.get("signal"),
            result=self._left.get("result"),
            note=self._left.get("note"),
            problem=problem,
            metrics=metrics and {**metrics, "phases": {**self._phases, **metrics["phases"]}},
            aliases=self._aliases,
            connections=self._connections,
            **of_secrets,
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
            case "out_of_memory":
                by = "" if self._left.get("problem") is not None else ": the kernel ended it"
                peak = said["metrics"]["peak_memory_bytes"] / (1 << 20)
                return f"{what} ran out of memory{by}; it had {peak:,.0f} MiB at its highest"
            case "signal":
                return f"{what} was ended by signal {said['signal']}"
            case "timed_out":
                return f"{what} was ended after {self._run.timeout:g} seconds"
            case "lost":
                return "the run was ended because its worker could not renew the lease"
        return None


class SetupWatch(Watch):
    """The same for an installer: all it says is one stream, and what it leaves behind is no output of the run."""

    def __init__(self, bench: Bench, run: Run, lease: Lease, supervision: Supervision, after: int) -> None:
        """Nothing is read yet; `after` is the number of the last piece of output that the attempt has already."""
        super().__init__(bench, run, lease, supervision, after=after)
        self._last = b""

    def follow(self) -> Outcome:
        """Until the installer is gone; all of its output is stored then."""
        outcome = super().follow()
        if outcome.rows:
            self._insist(lambda: logs.append(self._bench.db, self._lease, [], outcome.rows))
        return replace(outcome, rows=())

    def last_words(self, limit: int) -> str:
        """The end of what the installer has said, from the beginning of a line, in at most so many characters."""
        words = (_text(self._last.decode(errors="replace")) or "").strip()
        return words if len(words) <= limit else words[-limit:].partition("\n")[2]

    def _take(self, frame: Frame) -> None:
        if frame.kind in (Kind.STDOUT, Kind.STDERR):
            self._add_output(runs.SETUP, frame.payload)
            self._last = (self._last + frame.payload)[-_LAST:]
        elif frame.kind is Kind.STARTED:
            super()._take(frame)

    def _sentence(self, reason: str | None, said: dict[str, Any]) -> str | None:
        return f"the installer ended without a word ({reason})"


def _text(message: str | None) -> str | None:
    """A sentence every database takes: a path may hold bytes that are no text."""
    return None if message is None else message.encode(errors="replace").decode().replace("\0", "?")


def deadline(lease: Lease) -> int:
    """The moment of CLOCK_BOOTTIME, in nanoseconds, at which the supervisor ends the run if it hears nothing more."""
    margin = max(lease.seconds * 0.2, 1.0)
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int((lease.seconds - margin) * 1e9)
