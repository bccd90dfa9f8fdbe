"""A copy of a source, within limits, with the rights of whoever makes it: what a run may not read, its copy has not.

Links stay links, holes stay holes, modes and times are kept but for set-user-id bits; sockets, pipes and devices are
left out. Nothing here follows a link, or trusts that what it looked at is still there.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from executor.sandbox.removal import remove

FILES, BYTES = 2_000, 64 << 20
"""What is copied at most: entries of all kinds, and bytes of files."""

DEEP = 128  # folders, two descriptors for each
LINKED = (".git", ".hg", ".svn", ".venv", "venv", "node_modules")
"""Folders at the top of a source that are not copied: a link leads to them, and they stay read-only."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_DENIED = (errno.EACCES, errno.EPERM)

Mark = tuple[int, int, int, int]
"""What changes when a file is written or replaced: its number, size, and the two times that are no reading."""


@dataclass
class Room:
    """What may still be copied."""

    entries: int = FILES
    bytes: int = BYTES

    def takes(self, size: int) -> bool:
        """Whether there is room for one more of this size; it is taken."""
        if self.entries < 1 or self.bytes < size:
            return False
        self.entries, self.bytes = self.entries - 1, self.bytes - size
        return True


@dataclass
class Copied:
    """What a copy consists of: each entry but folders by its path, and whether anything did not fit."""

    marks: dict[bytes, Mark] = field(default_factory=dict)
    whole: bool = True


def too_much(source: Path) -> str | None:
    """Tell why a source is not copied; None where it is small enough. Looks at no more than it needs to know that."""
    room, left = Room(), [(os.fsencode(source), 0)]
    while left:
        folder, depth = left.pop()
        if depth > DEEP:
            return f"it is more than {DEEP} folders deep"
        with contextlib.suppress(OSError), os.scandir(folder) as listing:
            for entry in listing:
                inner = entry.is_dir(follow_symlinks=False)
                if inner and depth == 0 and os.fsdecode(entry.name) in LINKED:
                    continue
                found = entry.stat(follow_symlinks=False)
                if not room.takes(_size(found)):
                    return f"it has more than {FILES:,} files, or {BYTES >> 20} MiB"
                if inner:
                    left.append((entry.path, depth + 1))
    return None


def mark(found: os.stat_result) -> Mark:
    """What is compared to know whether a file was written."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def make(source: str, target: str) -> Copied:
    """Copy a source to a folder that is made for it; called in the run's own process, as its user.

    Raises:
        OSError: it cannot be written, or there is more of it than there was.
    """
    _make_room(target)
    os.mkdir(target, 0o700)
    with _opened(os.open(source, _FOLDER)) as below, _opened(os.open(target, _FOLDER)) as above:
        copied = fill(below, above, links=source)
    if not copied.whole:
        raise OSError(errno.EFBIG, "it has become too large to be copied", source)
    return copied


def fill(
    source: int, target: int, *, room: Room | None = None, links: str | None = None, missed: bool = True
) -> Copied:
    """Copy what lies in one folder into another, until there is no more room.

    Args:
        source: a descriptor of the folder to read.
        target: a descriptor of the folder to write in, which is empty.
        room: what may be copied at most.
        links: the path of the source; some of its folders are linked to instead.
        missed: what is closed to this process has a closed one of its kind in its place, so that it is not missed.
    """
    return _Filling(room or Room(), links, missed).run(source, target)


class _Filling:
    def __init__(self, room: Room, links: str | None, missed: bool) -> None:
        self._room, self._links, self._missed = room, links, missed
        self._copied = Copied()

    def run(self, source: int, target: int) -> Copied:
        stack = [_Level(os.dup(source), os.dup(target), b"", os.fstat(source))]
        try:
            while stack:
                level = stack[-1]
                name = next(level.names, None)
                if name is None:
                    level.close(finish=len(stack) > 1)
                    stack.pop()
                elif (inner := self._entry(level, name, len(stack))) is not None:
                    stack.append(inner)
        finally:
            for level in stack:
                level.close(finish=False)
        return self._copied

    def _entry(self, level: "_Level", name: bytes, depth: int) -> "_Level | None":
        """Copy one entry; a folder is returned, to be copied next."""
        try:
            found = os.lstat(name, dir_fd=level.source)
        except OSError:
            return None  # gone meanwhile
        folder, path = stat.S_ISDIR(found.st_mode), level.prefix + name
        if folder and self._links is not None and depth == 1 and os.fsdecode(name) in LINKED:
            os.symlink(os.path.join(os.fsencode(self._links), name), name, dir_fd=level.target)
            return None
        if not (folder or stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return None
        if depth > DEEP or not self._room.takes(_size(found)):
            self._copied.whole = False
            return None
        if folder:
            return _inner(level, name, path, found, self._missed)
        if stat.S_ISLNK(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                os.symlink(os.readlink(name, dir_fd=level.source), name, dir_fd=level.target)
                os.utime(name, ns=_times(found), dir_fd=level.target, follow_symlinks=False)
        else:
            _file(level, name, self._missed)
        with contextlib.suppress(FileNotFoundError):
            self._copied.marks[path] = mark(os.lstat(name, dir_fd=level.target))
        return None


@dataclass
class _Level:
    """A folder that is being copied."""

    source: int
    target: int
    prefix: bytes
    found: os.stat_result
    names: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.names = iter([os.fsencode(name) for name in os.listdir(self.source)])

    def close(self, *, finish: bool) -> None:
        if finish:
            os.fchmod(self.target, stat.S_IMODE(self.found.st_mode) & 0o777 | 0o700)
            os.utime(self.target, ns=_times(self.found))
        os.close(self.source)
        os.close(self.target)


def _inner(level: _Level, name: bytes, path: bytes, found: os.stat_result, missed: bool) -> _Level | None:
    try:
        source = os.open(name, _FOLDER, dir_fd=level.source)
        try:
            os.stat(".", dir_fd=source)  # one that can be listed may still be closed to those who pass through
        except OSError:
            os.close(source)
            raise
    except OSError as refused:
        if missed and refused.errno in _DENIED:
            os.mkdir(name, 0, dir_fd=level.target)
        return None
    os.mkdir(name, 0o700, dir_fd=level.target)
    return _Level(source, os.open(name, _FOLDER, dir_fd=level.target), path + b"/", found)


def _file(level: _Level, name: bytes, missed: bool) -> None:
    try:
        source = os.open(name, _READ, dir_fd=level.source)
    except OSError as refused:
        if missed and refused.errno in _DENIED:
            os.close(os.open(name, _NEW, 0, dir_fd=level.target))
        return
    with _opened(source):
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            return
        with _opened(os.open(name, _NEW, 0o600, dir_fd=level.target)) as target:
            if _bytes(source, target, found.st_size) < found.st_size:
                os.ftruncate(target, found.st_size)
            os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o777)
            os.utime(target, ns=_times(found))


def _bytes(source: int, target: int, size: int) -> int:
    """Copy what has been written of a file, and leave its holes; return where the last of it ends."""
    at = done = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        end = min(os.lseek(source, at, os.SEEK_HOLE), size)
        while at < end:
            data = os.pread(source, min(_CHUNK, end - at), at)
            if not data:
                return done
            at += os.pwrite(target, data, at)
            done = at
    return done


def _make_room(target: str) -> None:
    """Remove a copy whose making was broken off."""
    if os.path.lexists(target):
        remove(Path(target))


def _size(found: os.stat_result) -> int:
    """What a file takes on the disk; a hole takes nothing."""
    return min(found.st_size, found.st_blocks * 512) if stat.S_ISREG(found.st_mode) else 0


def _times(found: os.stat_result) -> tuple[int, int]:
    return found.st_atime_ns, found.st_mtime_ns


@contextlib.contextmanager
def _opened(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)
