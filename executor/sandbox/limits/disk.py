"""How much a run has on disk, counted a little at a time: neither many files nor a deep tree holds the counting up.

What has no name any more is found as long as a process has it open or, where one may look at that, has mapped it. What
is on its way through a socket, and open nowhere, is not.
"""

import contextlib
import ctypes
import os
import platform
import stat
import time
from collections.abc import Iterable, Iterator

from executor.sandbox import tree

_BLOCK = 512  # bytes; what st_blocks counts
_CLOCK = 64  # entries between two looks at the clock
_DEEPEST = 512  # folders in each other; each is a descriptor while it is looked at
_TOO_DEEP = 1 << 60
"""What is deeper counts as: more than any limit, as nobody knows what is there."""

_PROCESSES = 4096  # whose open files are looked at
_THREADS = 1024  # of each, which may have descriptors of their own
_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine(), -1)
_KCMP_FILES = 2

_libc = ctypes.CDLL(None)


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
                yield from _below(folder, seen)
        for pid in _first(tree.descendants(), _PROCESSES):
            for place in _held_by(pid):
                yield _removed(place, devices, seen)


def _below(top: str, seen: set[tuple[int, int]]) -> Iterator[int]:
    """Bytes of each entry below a folder, which is held open: what the run puts in its place leads nowhere."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    levels: list[tuple[int, list[str]]] = []
    try:
        levels.append((os.open(top, flags), []))
        yield from _listed(*levels[-1], seen)
        while levels:
            held, folders = levels[-1]
            if not folders:
                os.close(levels.pop()[0])
            elif len(levels) > _DEEPEST:
                yield _TOO_DEEP
                folders.clear()
            else:
                with contextlib.suppress(OSError):
                    levels.append((os.open(folders.pop(), flags, dir_fd=held), []))
                    yield from _listed(*levels[-1], seen)
    finally:
        for held, _ in levels:
            os.close(held)


def _listed(held: int, folders: list[str], seen: set[tuple[int, int]]) -> Iterator[int]:
    """Bytes of each entry of a folder; those that are folders are put into a list."""
    with os.scandir(held) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(entry.name)
            elif found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            yield found.st_blocks * _BLOCK


def _held_by(pid: int) -> Iterator[str]:
    """Links to what a process has open, in each of its threads that has descriptors of its own, and has mapped."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")[:_THREADS]
        for thread in threads:
            if thread == str(pid) or not _same_descriptors(pid, int(thread)):
                folder = f"/proc/{pid}/task/{thread}/fd"
                yield from (f"{folder}/{name}" for name in os.listdir(folder))
        with open(f"/proc/{pid}/maps", "rb") as lines:
            for line in lines:
                if line.endswith(b" (deleted)\n"):
                    first, last = (int(end, 16) for end in line.split(b" ", 1)[0].split(b"-"))
                    yield f"/proc/{pid}/map_files/{first:x}-{last:x}"
    except OSError:  # it is gone, or does not let itself be looked at
        return


def _same_descriptors(pid: int, thread: int) -> bool:
    return bool(_libc.syscall(_KCMP, pid, thread, _KCMP_FILES, 0, 0) == 0)


def _removed(place: str, devices: set[int], seen: set[tuple[int, int]]) -> int:
    """Bytes of what is open or mapped, if it is a file on these devices that has no name any more."""
    try:
        found = os.stat(place)
    except OSError:
        return 0
    key = (found.st_dev, found.st_ino)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink or found.st_dev not in devices or key in seen:
        return 0
    seen.add(key)
    return found.st_blocks * _BLOCK


def _first(pids: Iterable[int], most: int) -> Iterator[int]:
    for _, pid in zip(range(most), pids, strict=False):
        yield pid
