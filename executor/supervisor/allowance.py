"""How much of a run's output is kept: up to a limit on both streams together, with a mark where it is reached.

It comes after the masker, which would not recognise what a cut leaves of a secret. A mark is a line of its own, and
the cut is made between lines if possible, so that our words do not break a line that is kept.
"""

from dataclasses import dataclass

_LINE_FEED = 10
_SHARE = 8  # each stream has this fraction of the total to itself, whatever the other one writes
_SHARE_LIMIT = 1 << 20  # bytes; a traceback has room in it


@dataclass(frozen=True)
class LogLimits:
    """Bytes that are kept of both streams of an attempt together, after masking; `drop` what is beyond, or end it."""

    total: int
    drop: bool = False


class Allowance:
    """What may be kept of both streams of an attempt together."""

    def __init__(self, limits: LogLimits) -> None:
        self.limits = limits
        self._share = min(limits.total // _SHARE, _SHARE_LIMIT)
        self._streams: list[Portion] = []

    def stream(self) -> "Portion":
        """Add a stream."""
        self._streams.append(Portion(self))
        return self._streams[-1]

    def left_for(self, stream: "Portion") -> int:
        """Return how many more bytes of this stream may be kept, without touching another's unused share."""
        others = sum(max(other.kept, self._share) for other in self._streams if other is not stream)
        return max(self.limits.total - others - stream.kept, 0)

    @property
    def exceeded(self) -> bool:
        """Whether a stream had more than may be kept, and the run is to end for it."""
        return not self.limits.drop and any(stream.full for stream in self._streams)


class Portion:
    """One stream: give it what comes out of the masker, and send on what it returns.

    `kept` counts the bytes that were sent on, without marks; `left_out` those that were not: masked ones, since their
    number would tell the length of what was masked.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._inside = False  # the last bytes sent do not end a line
        self.kept = 0
        self.left_out = 0
        self.full = False  # nothing more is kept

    def take(self, data: bytes) -> bytes:
        """Return what is kept of this, with a mark where it is cut."""
        size = len(data)
        if self.full or size > (left := self._allowance.left_for(self)):
            size = 0 if self.full else _fit(data, left)
        self.kept += size
        if size:
            self._inside = data[size - 1] != _LINE_FEED
        if size == len(data):
            return data
        self.left_out += len(data) - size
        if self.full:
            return data[:0]
        self.full = True
        limits = self._allowance.limits
        what = "the rest of this stream is not kept" if limits.drop else "the run is ended"
        return data[:size] + self.note(f"the output limit of {size_text(limits.total)} is reached: {what}")

    def finish(self) -> bytes:
        """End the stream: return a mark if something was left out at the end."""
        if not self.left_out:
            return b""
        return self.note(f"{self.left_out:,} bytes were left out at the end of this stream")

    def note(self, text: str) -> bytes:
        """Return a line of ours, whatever the limit."""
        before = b"\n" if self._inside else b""
        self._inside = False
        return before + f"sealrun: {text}\n".encode()


def _fit(data: bytes, stop: int) -> int:
    """Return the last place up to `stop` at which a line begins, else a character; a carriage return ends one, too."""
    if end := max(data.rfind(b"\n", 0, stop), data.rfind(b"\r", 0, stop)) + 1:
        return end
    while stop > 0 and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


def size_text(number: int) -> str:
    """Write a limit in the unit of its setting."""
    if number % (1 << 20) == 0:
        return f"{number >> 20:,} MiB"
    return f"{number >> 10:,} KiB" if number % (1 << 10) == 0 else f"{number:,} bytes"
