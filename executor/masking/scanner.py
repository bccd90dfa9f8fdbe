"""Vectorscan, where the package `hyperscan` is installed: one pass for thousands of heads, at gigabytes a second.

Compiling takes twenty times what building an automaton does, so it is for floods of output, and a thread does it while
they go on. It is an extra: without it, or on a machine it does not know, automatons find the same.
"""

import contextlib
import sys
import threading
from operator import itemgetter
from typing import Any

try:
    import hyperscan
except ImportError:
    hyperscan = None  # type: ignore[assignment]

_FEWEST = 129  # heads; the vectorised searches of an automaton are as fast for fewer
_MOST = 20_000  # heads; the compilation of more keeps everything else of a run waiting for seconds
_THREAD = "sealrun-scanner"
_END = itemgetter(1)


class Scanner:
    """Finds every place where a head occurs."""

    __slots__ = ("_length", "_scan")

    def __init__(self, heads: list[bytes]) -> None:
        """Compile it for these, all of one length.

        Raises:
            hyperscan.error: it cannot be compiled, or the processor is none it can use.
        """
        self._length = len(heads[0])
        # In this mode no second engine for small texts is compiled, which takes five times as long, and 50 MB.
        database = hyperscan.Database(mode=hyperscan.HS_MODE_VECTORED)
        count = len(heads)
        database.compile(expressions=heads, ids=range(count), elements=count, flags=[0] * count, literal=True)
        database.scratch = hyperscan.Scratch(database)
        self._scan: Any = database.scan  # its types know no vectors

    def find(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place."""
        found: list[tuple[int, int]] = []
        self._scan([memoryview(data)[start:] if start else data], _note, 0, found)
        if not found:
            return found
        found.sort(key=_END)
        shift = start - self._length
        return [(head, shift + end) for head, end in found]


def is_worth_it(heads: list[bytes]) -> bool:
    """Tell whether these can be searched for with a scanner, and faster than with automatons."""
    if hyperscan is None or not _FEWEST <= len(heads) <= _MOST:
        return False
    # The package takes a pattern to end at a NUL, and lengths to be little-endian.
    return b"\0" not in b"".join(heads) and sys.byteorder == "little"


def scanner(heads: list[bytes]) -> Scanner | None:
    """Return a scanner for these heads; None if it cannot be compiled here, or was not seen to find each of them."""
    try:
        made = Scanner(heads)
        step = len(heads[0]) + 1
        found = made.find(b"\0".join(heads), 0)
    except hyperscan.error:
        return None
    return made if found == [(number, number * step) for number in range(len(heads))] else None


class Compilation:
    """A scanner that is being compiled. It keeps nothing else waiting: the package releases the interpreter's lock."""

    __slots__ = ("_heads", "_thread", "scanner")

    def __init__(self, heads: list[bytes]) -> None:
        """Begin it."""
        self._heads = heads
        self.scanner: Scanner | None = None
        """Also when it is over: it cannot be compiled here."""
        # As a daemon, it keeps no process from ending.
        thread = threading.Thread(target=self._compile, name=_THREAD, daemon=True)
        self._thread: threading.Thread | None = thread
        try:
            thread.start()
        except RuntimeError:  # there may be no more threads
            self._thread = None

    @property
    def over(self) -> bool:
        """Whether it has ended, and its thread with it."""
        return self._thread is None or not self._thread.is_alive()

    def _compile(self) -> None:
        # MemoryError: without it, less is needed. What else there may be is not told: its text could have a needle.
        with contextlib.suppress(Exception):
            self.scanner = scanner(self._heads)


def compiling() -> list[threading.Thread]:
    """The threads of all compilations that are under way. A process that has one must not be forked."""
    return [thread for thread in threading.enumerate() if thread.name == _THREAD]


def _note(head: int, _start: int, end: int, _flags: int, found: list[tuple[int, int]]) -> None:
    found.append((head, end))
