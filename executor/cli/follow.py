"""Watch a run: its masked output as it comes, until it is over or the user has seen enough."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from executor import history, logs
from executor.cli import screen
from executor.logs import Piece, Place
from executor.runs import OVER
from secretstore.database import Database

_SHORTEST, _LONGEST = 0.01, 0.1  # seconds between two looks: short while something happens
_SLOWING = 1.3
_READ = 500  # pieces


class Patience(Protocol):
    """What is done about a run that waits."""

    def look(self) -> None:
        """The run is still pending."""

    def over(self) -> None:
        """It is not, or nobody watches."""


class Detached(Exception):
    """the user pressed Ctrl-C"""


def follow(db: Database, run_id: str, write: Callable[[Piece], None], waiting: Patience | None = None) -> None:
    """Write a run's output until it is over.

    Raises:
        Detached: Ctrl-C was pressed; the run goes on.
    """
    place, pause, seen = Place(), _SHORTEST, ""
    with interrupts() as pressed:
        try:
            while True:
                # The state first: what is logged before an outcome is committed is then in what is read next.
                state = history.state_of(db, run_id)
                pieces, place = logs.read(db, run_id, place, _READ)
                if waiting is not None and (state != "pending" or pieces):
                    waiting.over()
                for piece in pieces:
                    write(piece)
                if state in OVER and len(pieces) < _READ:
                    return
                if pressed():
                    raise Detached
                if waiting is not None and state == "pending":
                    waiting.look()
                pause = _SHORTEST if pieces or state != seen else min(pause * _SLOWING, _LONGEST)
                seen = state
                time.sleep(pause)
        finally:
            if waiting is not None:
                waiting.over()


def wait_until_over(db: Database, run_id: str, seconds: float, stop: Callable[[], bool]) -> bool:
    """Whether a run ends within so many seconds, and before `stop` says so."""
    until = time.monotonic() + seconds
    while history.state_of(db, run_id) not in OVER:
        if stop() or time.monotonic() > until:
            return False
        time.sleep(_LONGEST / 2)
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


def to_streams(out: IO[bytes], also: Callable[[bytes], None] | None = None) -> Callable[[Piece], None]:
    """A writer that passes the run's bytes on as they are: its stdout to `out`, its stderr to ours."""

    def write(piece: Piece) -> None:
        stream = out if piece.stream == "stdout" else sys.stderr.buffer
        stream.write(piece.data)
        stream.flush()
        screen.left_open(piece.data)
        if also is not None:
            also(piece.data)

    return write
