"""All that leaves a supervisor. Output, results and words of ours pass the masker here; there is no other door."""

import json
import os
import select
import socket
import time
from typing import Any

from executor.supervisor.child import Child
from executor.supervisor.masking import Masker, Stream
from executor.supervisor.wire import FRAME_LIMIT, Kind, encode

_READ = 1 << 16
_SENT = 1 << 18
_CONGESTED = 4 << 20  # bytes waiting for the worker before the child's output is left in its pipes
_PATIENCE = 60.0  # seconds for a worker to take the last frames of a run that is over
_DEPTH_LIMIT = 64
_FREE_TEXT = ("message", "path", "why", "note")
_PROBLEM = ("type", "message", "traceback")


class Reporter:
    """A queue of frames to the worker that never blocks, in front of it the masker."""

    def __init__(self, worker: socket.socket) -> None:
        self._worker = worker
        self._queue = bytearray()
        self._gone = False
        self._masker = Masker.build({})
        self._streams: dict[Kind, Stream] = {}
        self._log_left = 0
        self._cut = False
        self._result = bytearray()
        self._result_limit = 0

    def register(self, masker: Masker, log_bytes: int, result_bytes: int) -> None:
        """Put the masker in place; called before the child exists.

        Args:
            masker: built from all values of this run.
            log_bytes: stdout and stderr together, after masking; the rest is cut, and said.
            result_bytes: the result or problem as JSON.
        """
        self._masker = masker
        self._streams = {Kind.STDOUT: masker.stream(), Kind.STDERR: masker.stream()}
        self._log_left = log_bytes
        self._result_limit = result_bytes

    @property
    def pending(self) -> bool:
        """Whether frames wait for the worker."""
        return bool(self._queue)

    @property
    def congested(self) -> bool:
        """Whether so much waits that no more output should be read."""
        return len(self._queue) > _CONGESTED

    def post(self, kind: Kind, document: dict[str, Any] | None = None) -> None:
        """Queue a structured frame of ours, the free text in it masked.

        Not what stands beside it: a secret whose value is a word of ours must not change what the worker understands.
        """
        masked = {
            key: self._masker.mask_text(value) if key in _FREE_TEXT and isinstance(value, str) else value
            for key, value in (document or {}).items()
        }
        self._enqueue(encode(kind, masked))

    def carry(self, kind: Kind, fd: int) -> bool:
        """Read what a pipe of the child holds and pass it on; False at its end."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return True
        if kind is Kind.RESULT:
            # One byte over the limit is kept, to tell "too large" from "just fits".
            self._result += data[: self._result_limit + 1 - len(self._result)]
        elif data:
            self._log(kind, self._streams[kind].feed(data))
        return bool(data)

    def drain(self, child: Child, patience: float) -> None:
        """Take what is left in the pipes of a child that is over, for at most `patience` seconds."""
        pipes = {child.stdout: Kind.STDOUT, child.stderr: Kind.STDERR, child.result: Kind.RESULT}
        deadline = time.monotonic() + patience
        while pipes and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(pipes), [], [], left)
            for fd in ready:
                if not self.carry(pipes[fd], fd):
                    del pipes[fd]
            self.flush()
        for kind, stream in self._streams.items():
            self._log(kind, stream.finish())

    def result(self) -> None:
        """Parse what the child reported, mask every text and number in it, and write it anew."""
        if not self._result:
            return
        if len(self._result) > self._result_limit:
            self._note(f"the result is larger than {self._result_limit:,} bytes and was not stored")
            return
        try:
            kind, document = _shaped(json.loads(self._result))
            masked = self._masked(document)
            # NaN and infinities are no JSON, and PostgreSQL would refuse the whole outcome for one.
            payload = json.dumps(masked, allow_nan=False, ensure_ascii=False).encode()
            if len(payload) > FRAME_LIMIT:
                raise ValueError
            self._enqueue(encode(kind, payload))
        except (ValueError, TypeError, AttributeError, RecursionError):
            self._note("the result was not readable JSON, or nested too deeply, and was not stored")

    def _masked(self, document: dict[str, Any]) -> dict[str, Any]:
        """The values, not our own keys: a secret whose value is one of these words must not hide what stands there."""
        if "problem" in document:
            return {"problem": {key: self._masker.mask_text(text) for key, text in document["problem"].items()}}
        return {key: self._masker.mask_json(value, _DEPTH_LIMIT) for key, value in document.items()}

    def file(self, path: str, size: int) -> None:
        """Announce a file that is left; its bytes follow by `file_data`. The masker has searched both already."""
        self.post(Kind.OUTPUT, {"path": path, "size": size})

    def file_data(self, data: bytes) -> None:
        """Bytes of the file announced last."""
        self._enqueue(encode(Kind.OUTPUT_DATA, data))
        while self.congested and not self._gone:
            self._flush_within(_PATIENCE)

    def withheld(self, path: str, why: str) -> None:
        """Name a file that stays behind."""
        self.post(Kind.OUTPUT_WITHHELD, {"path": path, "why": why})

    @property
    def masker(self) -> Masker:
        """For `outputs`, which searches files before it announces them."""
        return self._masker

    def outcome(self, **facts: Any) -> None:
        """The last frame; waits (bounded) until the worker has taken everything."""
        self.post(Kind.OUTCOME, facts)
        self._flush_within(_PATIENCE)

    def flush(self) -> None:
        """Send what the worker takes now."""
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

    def _log(self, kind: Kind, data: bytes) -> None:
        if not data or self._cut:
            return
        if len(data) > self._log_left:
            data = data[: self._log_left]
            self._cut = True
        self._log_left -= len(data)
        if data:
            self._enqueue(encode(kind, data))
        if self._cut:
            self._enqueue(encode(Kind.STDERR, b"\nsealrun: the output limit is reached; what follows is not kept\n"))

    def _note(self, text: str) -> None:
        self.post(Kind.RESULT, {"result": None, "note": text})

    def _enqueue(self, frame: bytes) -> None:
        if not self._gone:
            self._queue += frame
            self.flush()

    def _flush_within(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.flush()
        while self._queue and not self._gone and (left := deadline - time.monotonic()) > 0:
            select.select([], [self._worker], [], left)
            self.flush()
        if self._queue:
            self._gone = True


def _shaped(document: Any) -> tuple[Kind, dict[str, Any]]:
    """The fields a run may fill, of the types they are stored as. It may have written anything, past our `entry`.

    Raises:
        TypeError: a field is of another type.
    """
    if not isinstance(document, dict):
        raise TypeError
    problem = document.get("problem")
    if problem is not None:
        if not isinstance(problem, dict):
            raise TypeError
        return Kind.PROBLEM, {"problem": {name: _text(problem[name]) for name in _PROBLEM if name in problem}}
    note = document.get("note")
    return Kind.RESULT, {"result": document.get("result"), "note": None if note is None else _text(note)}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.replace("\0", "\N{SYMBOL FOR NULL}")  # PostgreSQL's text has no NUL
