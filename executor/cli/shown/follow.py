"""Watch a run: its masked output as it comes, until it is over or the user has seen enough."""

import codecs
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import IO, Protocol

from executor.cli.here import Here
from executor.cli.shown import screen
from executor.operations import runs
from executor.schemas.output import BEGINNING, Place, StoredPiece
from executor.schemas.run_operations import OutputOf, ThatAttempt, ThatRun
from executor.schemas.runs import OVER
from secretstore.errors import DatabaseUnavailable

_PAUSE = 0.05  # seconds between two looks at whether a run has ended

Write = Callable[[StoredPiece], None]


class Patience(Protocol):
    """What is done about a run that waits."""

    def look(self) -> None:
        """The run is still pending."""

    def over(self) -> None:
        """It is not, or nobody watches."""


class Detached(Exception):
    """the user pressed Ctrl-C"""

    def __init__(self, place: Place = BEGINNING) -> None:
        self.place = place
        super().__init__()


def follow(
    at: Here,
    run_id: str,
    write: Write,
    waiting: Patience | None = None,
    *,
    after: Place = BEGINNING,
    streams: Collection[str] | None = None,
) -> None:
    """Write a run's output until it is over; a database that goes away for a while is waited for.

    Raises:
        Detached: Ctrl-C was pressed; the run goes on, and so can reading, from the place it carries.
    """
    away, retried, held_up, lost_to = False, 0, None, None
    with interrupts() as pressed:
        try:
            for look in at.ask(runs.follow, OutputOf(run=run_id, after=after, streams=streams)):
                if waiting is not None and (look.state != "pending" or look.pieces or look.away):
                    waiting.over()
                if look.away is not away:
                    away = look.away
                    _say_where_the_database_is(at, away)
                for piece in look.pieces:
                    write(piece)
                if look.held_up not in (None, held_up):
                    held_up = look.held_up
                    screen.say(screen.printable(held_up), "yellow")
                if look.lost_to != lost_to:
                    lost_to = look.lost_to
                    if lost_to is not None:
                        screen.say(screen.printable(lost_to), "yellow")
                if look.retried != retried and look.state not in OVER:
                    with contextlib.suppress(DatabaseUnavailable):  # the next look tells
                        screen.say(at.ask(runs.show, ThatAttempt(run=run_id)).tried_again, "yellow")
                        retried = look.retried
                if pressed():
                    raise Detached(look.place)
                # What has said something is taken: its environment is being built.
                untaken = look.state == "pending" and look.place == BEGINNING
                if waiting is not None and untaken and not away:
                    with contextlib.suppress(DatabaseUnavailable):  # the next look finds out
                        waiting.look()
        finally:
            if waiting is not None:
                waiting.over()


def come_back(run_id: str, place: Place) -> str:
    """The command that goes on where this one was left."""
    return f"sealrun runs logs -f {run_id[:8]}" + (f" --after {place}" if place != BEGINNING else "")


def wait_until_over(at: Here, run_id: str, seconds: float, stop: Callable[[], bool]) -> bool:
    """Whether a run ends within so many seconds, and before `stop` says so."""
    until = time.monotonic() + seconds
    while at.ask(runs.state, ThatRun(run=run_id)) not in OVER:
        if stop() or time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Ctrl-C becomes an answer instead of an exception, which could cut a transaction or a line in two."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True

    def asked() -> bool:
        nonlocal pressed
        was, pressed = pressed, False
        return was

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def to_streams(out: IO[bytes], also: Callable[[bytes], None] | None = None, *, stamped: bool = False) -> Write:
    """A writer that passes the run's bytes on as they are: its stdout to `out`, all else to stderr.

    What the run's set-up said is dimmed on a terminal. `stamped`: each line begins with when it was written.
    """
    open_lines: set[str] = set()

    def write(piece: StoredPiece) -> None:
        stream = out if piece.stream == "stdout" else sys.stderr.buffer
        data = _stamped(piece, open_lines) if stamped else piece.data
        if piece.stream == "setup":
            data = screen.paint_bytes(data, "dim", sys.stderr)
        stream.write(data)
        stream.flush()
        screen.left_open(piece.data)
        if also is not None:
            also(piece.data)

    return write


def as_json(out: IO[bytes]) -> Write:
    """A writer of one JSON object per piece. A character that two pieces share stands in the later one."""
    decoders: dict[tuple[int, str], codecs.IncrementalDecoder] = {}

    def write(piece: StoredPiece) -> None:
        key = (piece.attempt, piece.stream)
        decoder = decoders.setdefault(key, codecs.getincrementaldecoder("utf-8")(errors="replace"))
        document = {
            "attempt": piece.attempt,
            "sequence": piece.sequence,
            "stream": piece.stream,
            "at": screen.moment(piece.at),
            "text": decoder.decode(piece.data),
        }
        out.write(json.dumps(document).encode() + b"\n")
        out.flush()

    return write


def _stamped(piece: StoredPiece, open_lines: set[str]) -> bytes:
    """The piece with its moment before each line that begins in it; `open_lines` are streams that are within one."""
    mark = screen.moment(piece.at).encode() + b" "
    lines = piece.data.split(b"\n")
    ended, last = [line + b"\n" for line in lines[:-1]], lines[-1]
    marked = [line if piece.stream in open_lines and not place else mark + line for place, line in enumerate(ended)]
    if ended:
        open_lines.discard(piece.stream)
    if last:
        marked.append(last if piece.stream in open_lines else mark + last)
        open_lines.add(piece.stream)
    return b"".join(marked)


def _say_where_the_database_is(at: Here, away: bool) -> None:
    if away:
        screen.say(f"{at.at.where} does not answer; waiting for it", "yellow")
    else:
        screen.say(f"{at.at.where.rpartition(' ')[0]} answers again")
