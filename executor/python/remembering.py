"""What was found out from files, kept until one of them is another or has changed."""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

_Marks = dict[str, tuple[int, int, int] | None]
_SETTLED = 2_000_000_000  # nanoseconds; a second change within the grain of a file system's clock leaves no trace
_MOST = 256  # answers


class Remembered(Generic[T]):
    """Answers by key, each with the state of the files that it was read from, links among them as links."""

    def __init__(self, find: Callable[[str], T], read_from: Callable[[str], Iterable[Path]]) -> None:
        """Remember nothing yet.

        Args:
            find: finds an answer.
            read_from: the files and folders on which it depends; what is not there may be among them.
        """
        self._find, self._read_from = find, read_from
        self._kept: dict[str, tuple[_Marks, T]] = {}

    def __call__(self, key: str) -> T:
        """The answer; what `find` raises is not kept."""
        kept = self._kept.get(key)
        if kept is not None and _marks(kept[0]) == kept[0]:
            return kept[1]
        before = _marks(self._read_from(key))
        answer = self._find(key)
        if _is_settled(before) and before == _marks(self._read_from(key)):
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[key] = before, answer
        return answer


def _is_settled(marks: _Marks) -> bool:
    return max((mark[2] for mark in marks.values() if mark), default=0) < time.time_ns() - _SETTLED


def _marks(paths: Iterable[str | Path]) -> _Marks:
    """Identity and time of change, which no owner of a file can set, of each; None for one that is not there."""
    return {(name := str(path)): _mark(name) for path in paths}


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
