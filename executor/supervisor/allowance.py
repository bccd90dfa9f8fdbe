"""How much of a run's output is kept: limits on line length, rate and total, with a mark at every cut.

It comes after the masker, which would not recognise what a cut leaves of a secret. A mark is a line of its own, and
cuts are made between lines if possible, so that our words do not break a line that is kept.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 4.0  # seconds' worth of the rate that may come at once
_PAUSE = 1.0  # seconds' worth that must be free again before output resumes: at most one mark a second
_LINE_FEED = 10
_SHARE = 8  # each stream has this fraction of the total to itself, whatever the other one writes


@dataclass(frozen=True)
class LogLimits:
    """Bytes after masking: of both streams of an attempt together, of one stream per second, of one line."""

    total: int
    rate: int
    line: int


class Allowance:
    """What may be kept of both streams of an attempt together."""

    def __init__(self, limits: LogLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._share = limits.total // _SHARE
        self._streams: list[Portion] = []

    def stream(self) -> "Portion":
        """Add a stream."""
        self._streams.append(Portion(self, self._limits, self._clock))
        return self._streams[-1]

    def left_for(self, stream: "Portion") -> int:
        """Return how many more bytes of this stream may be kept, without touching another's unused share."""
        others = sum(max(other.kept, self._share) for other in self._streams if other is not stream)
        return max(self._limits.total - others - stream.kept, 0)


class Portion:
    """One stream: give it what comes out of the masker, and send on what it returns.

    `kept` counts the bytes that were sent on, without marks; `left_out` those that were not.
    """

    def __init__(self, allowance: Allowance, limits: LogLimits, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._limits = limits
        self._clock = clock
        self._lines = _Lines(limits.line)
        self._tokens = BURST * limits.rate
        self._filled_at = clock()
        self._unsaid = 0  # bytes left out that no mark has reported yet
        self._pausing = False
        self._between = False  # the last bytes left out end a line
        self._inside = False  # the last bytes sent do not end a line
        self.kept = 0
        self.left_out = 0
        self.full = False  # nothing more is kept, so nothing more has to be masked

    def take(self, data: bytes) -> bytes:
        """Return what is kept of this, with marks."""
        return b"".join([self._pass(piece) for piece in self._lines.split(data)])

    def skip(self, size: int) -> None:
        """Count bytes as left out."""
        self._unsaid += size
        self.left_out += size

    def finish(self) -> bytes:
        """End the stream: return what is kept, and a mark if something was left out at the end."""
        out = b"".join([self._pass(piece) for piece in self._lines.finish()])
        if self.full and self._unsaid:
            return out + self._mark(f"{self._unsaid:,} bytes were left out at the end of this stream")
        return out + self._resume()

    def note(self, text: str) -> bytes:
        """Return a line of ours, whatever the limits."""
        return self._mark(text)

    def _pass(self, piece: "bytes | Cut") -> bytes:
        """Return of a piece what rate and total allow."""
        if isinstance(piece, Cut):
            # Within a pause, the mark at its end counts these bytes, too.
            if self.full or self._pausing:
                self.skip(piece.size)
                return b""
            self.left_out += piece.size
            return self._mark(f"{piece.size:,} bytes left out here: a line may have {size_text(self._limits.line)}")
        if self.full:
            self.skip(len(piece))
            return b""
        self._refill()
        out = b""
        if self._pausing:
            # Too much came too fast. Resume at the start of a line, once enough of the rate is free again.
            start = 0 if self._between else _after_first_end(piece)
            if self._tokens < _PAUSE * self._limits.rate or start is None:
                self._leave_out(piece)
                return b""
            self.skip(start)
            out, piece = self._resume(), piece[start:]
        # Keep what both total and rate allow; if that is not all of it, cut between lines.
        left = self._allowance.left_for(self)
        size = min(len(piece), left, int(self._tokens))
        if size < len(piece):
            size = _fit(piece, 0, size)
        self._tokens -= size
        self.kept += size
        if size:
            out += piece[:size]
            self._inside = piece[size - 1] != _LINE_FEED
        if size == len(piece):
            return out
        # Something did not fit. If the total was the reason, this is the end; if the rate was, it is a pause.
        self._leave_out(piece[size:])
        if left < len(piece) and left <= self._tokens + size:
            self.full = True
            limit = size_text(self._limits.total)
            return out + self._mark(f"the output limit of {limit} is reached: the rest of this stream is not kept")
        self._pausing = True
        return out

    def _leave_out(self, piece: bytes) -> None:
        self.skip(len(piece))
        self._between = piece[-1:] in (b"\n", b"\r")

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled_at) * self._limits.rate, BURST * self._limits.rate)
        self._filled_at = now

    def _resume(self) -> bytes:
        """End a pause; return the mark of what was left out in it."""
        unsaid, self._unsaid, self._pausing = self._unsaid, 0, False
        if not unsaid:
            return b""
        return self._mark(f"{unsaid:,} bytes left out here: more than {size_text(self._limits.rate)} in a second")

    def _mark(self, text: str) -> bytes:
        before = b"\n" if self._inside else b""
        self._inside = False
        return before + f"sealrun: {text}\n".encode()


@dataclass(frozen=True)
class Cut:
    """Bytes left out of a line that is too long."""

    size: int


class _Lines:
    """Cuts lines that are too long. A carriage return ends a line, too: progress bars send nothing else for hours."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0  # of the unfinished line
        self._left_out: int | None = None  # bytes left out of it, once it is too long

    def split(self, data: bytes) -> list[bytes | Cut]:
        """Return the pieces to keep, and the cuts between them."""
        pieces: list[bytes | Cut] = []
        place = 0
        while place < len(data):
            room = place + self._limit - self._length
            if self._left_out is not None:
                # Inside a line that is too long: leave out up to its end.
                start = _after_first_end(data, place)
                self._left_out += (len(data) if start is None else start) - place
                if start is None:
                    break
                pieces += self.finish()
                place = start
            elif room >= len(data):
                # No line can get too long within the rest.
                end = _last_end(data, place, len(data))
                self._length = len(data) - end if end else self._length + len(data) - place
                pieces.append(data[place:])
                break
            elif end := _last_end(data, place, room + 1):
                # Whole lines first; the one that is left may be too long.
                pieces.append(data[place:end])
                self._length, place = 0, end
            else:
                cut = _fit(data, place, room)
                pieces.append(data[place:cut])
                self._left_out, place = 0, cut
        return pieces

    def finish(self) -> list[bytes | Cut]:
        """Return the cut of a line that was too long, once it has ended."""
        left_out, self._left_out, self._length = self._left_out, None, 0
        return [] if left_out is None else [Cut(left_out)]


def _last_end(data: bytes, start: int, stop: int) -> int:
    """Return the place after the last line end; 0 if there is none."""
    return max(data.rfind(b"\n", start, stop), data.rfind(b"\r", start, stop)) + 1


def _after_first_end(data: bytes, start: int = 0) -> int | None:
    """Return the place after the first line end from `start` on; CR LF is one line end."""
    feed, carriage = data.find(b"\n", start), data.find(b"\r", start)
    if carriage != -1 and (feed == -1 or carriage < feed - 1):
        return carriage + 1
    return None if feed == -1 else feed + 1


def _fit(data: bytes, start: int, stop: int) -> int:
    """Return the last place up to `stop` at which a line begins, else a character."""
    if end := _last_end(data, start, stop):
        return end
    while stop > start and data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


def size_text(number: int) -> str:
    """Write a limit in the unit of its setting."""
    if number % (1 << 20) == 0:
        return f"{number >> 20:,} MiB"
    return f"{number >> 10:,} KiB" if number % (1 << 10) == 0 else f"{number:,} bytes"
