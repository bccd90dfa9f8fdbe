"""How much a run has on disk, counted a little at a time: neither many files nor a deep tree holds the counting up."""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator

from executor.sandbox import tree

_BLOCK = 512  # bytes; what st_blocks counts
_CLOCK = 64  # entries between two looks at the clock
_DEEPEST = 256
_PROCESSES = 256  # whose open files are looked at


class Disk:
    """Counts the blocks of all files in a run's folders, and of those that it holds open and has removed."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = [folder for folder in folders if folder]
        self._walk: Iterator[int] = iter(())
        self._sum = 0
        self.bytes = 0
        """Of the latest count that came to its end, or of the present one where that is more already."""

    def look(self, seconds: float) -> int:
        """Count on for so long, and begin anew where all is counted; `bytes`."""
        until = time.monotonic() + seconds
        for number, size in enumerate(self._walk, 1):
            self._sum += size
            if number % _CLOCK == 0 and time.monotonic() > until:
                self.bytes = max(self.bytes, self._sum)
                return self.bytes
        self.bytes, self._sum = self._sum, 0
        self._walk = self._sizes()
        return self.bytes

    def _sizes(self) -> Iterator[int]:
        seen: set[tuple[int, int]] = set()  # of files with several names
        devices = set()
        for folder in self._folders:
            with contextlib.suppress(OSError):
                devices.add(os.lstat(folder).st_dev)
                yield from _below(folder, seen, 0)
        for pid in _first(tree.descendants(), _PROCESSES):
            yield from _removed(pid, devices, seen)


def _below(folder: str | int, seen: set[tuple[int, int]], depth: int) -> Iterator[int]:
    """Bytes of each entry below a folder, which is held open: what the run puts in its place leads nowhere."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        held = os.open(folder, flags) if isinstance(folder, str) else folder
    except OSError:
        return
    try:
        below = []
        with os.scandir(held) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    below.append(entry.name)
                elif found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                yield found.st_blocks * _BLOCK
        for name in below if depth < _DEEPEST else ():
            with contextlib.suppress(OSError):
                yield from _below(os.open(name, flags, dir_fd=held), seen, depth + 1)
    except OSError:
        return
    finally:
        os.close(held)


def _removed(pid: int, devices: set[int], seen: set[tuple[int, int]]) -> Iterator[int]:
    """Bytes of each file that a process has open on these devices and that has no name any more."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # it is gone, or does not let itself be looked at
        return
    for name in names:
        try:
            found = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        key = (found.st_dev, found.st_ino)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev in devices and key not in seen:
            seen.add(key)
            yield found.st_blocks * _BLOCK


def _first(pids: Iterable[int], most: int) -> Iterator[int]:
    for _, pid in zip(range(most), pids, strict=False):
        yield pid
