"""Everything that leaves a supervisor: output, results and our own messages, masked. There is no other way out."""

import json
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from executor.boundary.wire import FRAME_LIMIT, Kind, encode
from executor.masking.masker import MASK, Masker, NestedTooDeep, Stream
from executor.supervisor.allowance import Allowance, LogLimits, Portion, size_text
from executor.supervisor.child import Child
from executor.supervisor.metrics_file import Metric
from executor.supervisor.seen import MESSAGE, METRIC, PROBLEM, RESULT, STDERR, STDOUT, Seen

_READ = 1 << 16
_LAST_WORDS = 4 << 10  # bytes of a stream
_SENT = 1 << 18
_CONGESTED = 4 << 20  # bytes waiting for the worker at which the child's output stays in its pipes
_PATIENCE = 60.0  # seconds for the worker to take the last frames of a run that did not begin
_LOOK = 0.5  # seconds between two looks at whether it is still to be waited for
_DEPTH_LIMIT = 64
_FREE_TEXT = ("message", "path", "why", "note")
_PROBLEM_BEGINS = b'{"problem":'
_PROBLEM_READ = 4 << 20  # bytes of JSON
_CAUSES = 10
_RELATIONS = ("cause", "context", "member")
# Characters, after masking; `entry` keeps within them.
_TEXTS = {"type": 1 << 10, "message": 16 << 10, "traceback": 128 << 10}
_NOTE = 4 << 10
_NOT_TOLD = (
    "no result came: the process ended by itself before the function returned, as by os._exit, or something closed "
    "the descriptors that it had not opened"
)
_BROKEN_OFF = "what it says is not known: the process ended, or failed, while it was asked"
T = TypeVar("T")


class NoLongerExpected(Exception):
    """what is sent has nobody any more to keep it: the worker is gone, or the run is no longer its own"""


class Reporter:
    """A queue of frames to the worker that never blocks, behind the masker."""

    def __init__(self, worker: socket.socket) -> None:
        self._worker = worker
        self._queue = bytearray()
        self._gone = False
        self._masker = Masker.build({})
        self.seen = Seen(self._masker)
        """What the masker has found so far. What is only searched, and does not go out so, counts nowhere else."""
        self._outputs: dict[Kind, _Output] = {}
        self._last_words = {Kind.STDOUT: b"", Kind.STDERR: b""}
        self._allowance: Allowance | None = None
        self._expected: Callable[[], bool] | None = None
        self.given = 0
        """Files that were given."""
        self.given_bytes = 0
        self._result = bytearray()
        self._result_size = 0
        self._result_limit = 0

    def register(self, masker: Masker, log_limits: LogLimits, result_bytes: int) -> None:
        """Put the masker in place; called before the child starts.

        Args:
            masker: built from all values of this run.
            log_limits: what is kept of stdout and stderr.
            result_bytes: the limit of the result as JSON.
        """
        self._masker = masker
        self.seen = Seen(masker)
        self._allowance = Allowance(log_limits)
        for kind, place in ((Kind.STDOUT, STDOUT), (Kind.STDERR, STDERR)):
            self._outputs[kind] = _Output(self.seen.at(place).stream(), self._allowance.stream())
        self._result_limit = result_bytes

    def wait_while(self, expected: Callable[[], bool]) -> None:
        """Wait for a worker that takes nothing as long as this says; it is asked again and again."""
        self._expected = expected

    def check(self) -> None:
        """Look, between two steps of long work, whether there is still somebody to do it for.

        Raises:
            NoLongerExpected: there is not.
        """
        if self._gone or (self._expected is not None and not self._expected()):
            raise NoLongerExpected

    @property
    def over_limit(self) -> bool:
        """Whether the run printed more than is kept, and is to end for it."""
        return self._allowance is not None and self._allowance.exceeded

    @property
    def pending(self) -> bool:
        """Whether frames wait for the worker."""
        return bool(self._queue)

    @property
    def congested(self) -> bool:
        """Whether so many frames wait that no more output should be read."""
        return len(self._queue) > _CONGESTED

    def post(self, kind: Kind, document: dict[str, Any] | None = None) -> None:
        """Queue a structured frame with its free text masked.

        Other fields are not masked: a secret that equals one of our words must not change what the worker understands.
        """
        self._enqueue(self._structured(kind, document or {}))

    def _structured(self, kind: Kind, document: dict[str, Any]) -> bytes:
        mask = self.seen.at(MESSAGE).mask_text
        masked = {
            key: mask(value) if key in _FREE_TEXT and isinstance(value, str) else value
            for key, value in document.items()
        }
        return encode(kind, masked)

    def carry(self, kind: Kind, fd: int) -> bool:
        """Read from a pipe of the child and pass it on; False at its end."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return True
        if kind is Kind.RESULT:
            self._result_size += len(data)
            room = max(self._result_limit, _PROBLEM_READ) - len(self._result)
            self._result += data[: max(room, 0)]
        elif data:
            self._pass_on(kind, self._outputs[kind].take(data))
        return bool(data)

    def drain(self, child: Child, patience: float) -> None:
        """Read the rest from the pipes of a child that has ended, for at most `patience` seconds."""
        pipes = {child.stdout: Kind.STDOUT, child.stderr: Kind.STDERR, child.result: Kind.RESULT}
        deadline = time.monotonic() + patience
        while pipes and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(pipes), [], [], left)
            for fd in ready:
                if not self.carry(pipes[fd], fd):
                    del pipes[fd]
            self.flush()
        for kind, output in self._outputs.items():
            self._pass_on(kind, output.finish())

    def result(self, awaited: bool = False) -> None:
        """Parse what the child reported, mask every text and number in it, and send it.

        Args:
            awaited: a result has to be there: the child is a function's, and has ended well.
        """
        if not self._result:
            if awaited:
                self._note(_NOT_TOLD)
            return
        is_problem = self._result.startswith(_PROBLEM_BEGINS)
        limit = _PROBLEM_READ if is_problem else self._result_limit
        if is_problem and self._result_size > limit:
            self._untold()
            return
        if self._result_size > limit:
            self._note_too_large()
            return
        try:
            document = json.loads(self._result)
            kind = Kind.PROBLEM if _of(document, dict).get("problem") is not None else Kind.RESULT
            if kind is Kind.RESULT and self._result_size > self._result_limit:
                # It began as a problem, which may be longer, and is none.
                self._note_too_large()
                return
            anew = {"problem": self._problem(document["problem"])} if kind is Kind.PROBLEM else self._returned(document)
            # NaN and infinities are not JSON: PostgreSQL would refuse the whole outcome.
            payload = json.dumps(anew, allow_nan=False, ensure_ascii=False).encode()
            if len(payload) > FRAME_LIMIT:
                raise ValueError
            self._enqueue(encode(kind, payload))
        except (NestedTooDeep, RecursionError):
            self._note(f"the result was not stored: it is nested more than {_DEPTH_LIMIT} levels deep")
        except (ValueError, TypeError):
            if is_problem:
                self._untold()
            else:
                self._note("the result was not stored: it is not valid JSON")

    def _returned(self, document: dict[str, Any]) -> dict[str, Any]:
        """Mask the values, not our keys: a secret that equals one of these words must not hide the result."""
        note = document.get("note")
        return {
            "result": self.seen.at(RESULT).mask_json(document.get("result"), _DEPTH_LIMIT),
            "note": None if note is None else self._text(note, _NOTE, RESULT),
        }

    def _problem(self, found: Any) -> dict[str, Any]:
        """Copy the known fields of a problem, each of its type, masked."""
        problem: dict[str, Any] = self._texts(found)
        causes = []
        for one in _of(found.get("causes", []), list)[:_CAUSES]:
            if _of(one, dict).get("relation") not in _RELATIONS:
                raise TypeError
            causes.append({**self._texts(one), "relation": one["relation"]})
        return {**problem, "causes": causes} if causes else problem

    def _texts(self, found: Any) -> dict[str, str]:
        return {
            name: self._text(found[name], limit, PROBLEM) for name, limit in _TEXTS.items() if name in _of(found, dict)
        }

    def _text(self, found: Any, limit: int, place: str) -> str:
        """Mask a text, then cut it. Of a very long one the run sends only the beginning, and how much that leaves out.

        It cut before anything was masked: what it left out is not told, nor what comes after the first mask, since a
        number or an end would tell how long that is which was masked.
        """
        left_out = 0
        if isinstance(found, dict):
            found, left_out = found.get("text"), _of(found.get("left_out"), int)
        text = _of(found, str).replace("\0", "\N{SYMBOL FOR NULL}")  # PostgreSQL's text has no NUL
        masker = self.seen.at(place)
        masked = masker.mask_beginning(text) if left_out else masker.mask_text(text)
        if left_out and masked != text:
            masked = "".join(masked.partition(MASK.decode())[:2])
        return f"{masked[:limit]}… (the rest was left out)" if left_out or len(masked) > limit else masked

    def metrics(self, metrics: Sequence[Metric]) -> None:
        """Send the run's own metrics; `metrics_file` has masked their texts and numbers with `metric_masker`."""
        if metrics:
            self._enqueue(encode(Kind.METRICS, [asdict(metric) for metric in metrics]))

    @property
    def metric_masker(self) -> Masker:
        """What masks the run's own metrics."""
        return self.seen.at(METRIC)

    def say(self, text: str) -> None:
        """Add a line of ours to the run's stderr."""
        self._log(Kind.STDERR, self._outputs[Kind.STDERR].portion.note(self.seen.at(MESSAGE).mask_text(text)))

    @property
    def last_words(self) -> str:
        """The end of what the run printed, masked, as far as it was kept: of stdout, then of stderr."""
        return b"\n".join(self._last_words.values()).decode(errors="replace")

    @property
    def written(self) -> dict[str, int]:
        """Bytes of each stream after masking: altogether, kept and left out.

        As they were written they are told nowhere: the difference would be the length of what was masked.
        """
        written: dict[str, int] = {}
        for kind, output in self._outputs.items():
            name, portion = kind.name.lower(), output.portion
            written[f"{name}_bytes"] = portion.kept + portion.left_out
            written[f"{name}_kept_bytes"] = portion.kept
            written[f"{name}_left_out_bytes"] = portion.left_out
        return written

    def file_begins(self, path: str) -> None:
        """Say whose bytes are next; the masker has searched the name already."""
        self.post(Kind.OUTPUT_BEGINS, {"path": path})

    def file(
        self, path: str, size: int, masked: Sequence[dict[str, Any]] = (), more: int = 0, *, executable: bool = False
    ) -> None:
        """Give the file whose bytes were sent last; before this it is none, and `withheld` drops what was sent of it.

        Args:
            path: its name, masked.
            size: its bytes as they were sent.
            masked: what was masked in it first.
            more: so much more was.
            executable: it is a program, and is to stay one.
        """
        self.given, self.given_bytes = self.given + 1, self.given_bytes + size
        told: dict[str, Any] = {"masked": {"first": list(masked), "more": more}} if masked else {}
        told |= {"executable": True} if executable else {}
        self.post(Kind.OUTPUT, {"path": path, "size": size, **told})

    def file_data(self, data: bytes) -> None:
        """Send bytes, masked, of the file that began last."""
        self._enqueue(encode(Kind.OUTPUT_DATA, data))
        while self.congested and not self._gone:
            self._flush_all()

    def withheld(self, path: str, why: str) -> None:
        """Report a file that is not given."""
        self.post(Kind.OUTPUT_WITHHELD, {"path": path, "why": why})

    @property
    def masker(self) -> Masker:
        """The run's masker, which counts nothing."""
        return self._masker

    def outcome(self, **facts: Any) -> None:
        """Send what the masker has found, then the last frame; wait (bounded) until the worker has taken everything."""
        frame = self._structured(Kind.OUTCOME, facts)
        if found := self.seen.told():
            self._enqueue(encode(Kind.MASKED, list(found)))
        self._enqueue(frame)
        self._flush_all()

    def flush(self) -> None:
        """Send as much as the worker takes now."""
        while self._queue and not self._gone:
            try:
                sent = self._worker.send(self._queue[:_SENT], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._gone = True
                self._queue.clear()
                return
            del self._queue[:sent]

    def _pass_on(self, kind: Kind, data: bytes) -> None:
        self._last_words[kind] = (self._last_words[kind] + data[-_LAST_WORDS:])[-_LAST_WORDS:]
        self._log(kind, data)

    def _log(self, kind: Kind, data: bytes) -> None:
        if data:
            self._enqueue(encode(kind, data))

    def _untold(self) -> None:
        """Send that there is a problem, whatever it is: a run that had one has not succeeded."""
        self.post(Kind.PROBLEM, {"problem": {"type": "an exception", "message": _BROKEN_OFF, "traceback": ""}})

    def _note_too_large(self) -> None:
        # By how much is not told: it is not masked yet.
        self._note(
            "the result was not stored: as JSON it is larger than SEALRUN_RESULT_LIMIT_KIB allows "
            f"({size_text(self._result_limit)}); write a file to SEALRUN_OUTPUT_DIR instead"
        )

    def _note(self, text: str) -> None:
        self.post(Kind.RESULT, {"result": None, "note": text})

    def _enqueue(self, frame: bytes) -> None:
        if not self._gone:
            self._queue += frame
            self.flush()

    def _flush_all(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        expected = self._expected or (lambda: time.monotonic() < deadline)
        self.flush()
        while self._queue and not self._gone and expected():
            select.select([], [self._worker], [], _LOOK)
            self.flush()
        if self._queue:
            self._gone = True


class _Output:
    """One stream of the run: masked first, then cut."""

    def __init__(self, stream: Stream, portion: Portion) -> None:
        self._stream = stream
        self._full = False
        self.portion = portion

    def take(self, data: bytes) -> bytes:
        """Return what is kept of this. What is not is masked, too: it is counted, and counts as it would have been."""
        kept = self.portion.take(self._stream.feed(data))
        if self.portion.full and not self._full:
            self._full = True
            self._stream.hits = dict(self._stream.hits)  # what is found from now on goes out nowhere
        return kept

    def finish(self) -> bytes:
        """End the stream; return what is kept of the rest."""
        return self.portion.take(self._stream.finish()) + self.portion.finish()


def _of(value: Any, kind: type[T]) -> T:
    """Check a value's type: a run may have written anything, past our `entry`.

    Raises:
        TypeError: it has another type.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError
    return value
