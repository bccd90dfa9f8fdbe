"""Whether files are as they were: what was found out of them then need not be found out again.

What is compared is what the kernel says of each: which it is, its size, its mode, and when its content or anything else
of it was last changed (ctime, which no program can set back). Two changes can have one time, as a file system's clock
has ticks: so a sight tells of all later ones only once it was the same for longer than any clock's tick (`SETTLED`).
Where times are somebody else's, or are not told at once, as of a network's file system, there is no sight.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SETTLED = 3.0
"""Seconds; the coarsest clock of a file system, FAT's, ticks every 2."""

_MOST = 5_000  # entries below a folder: to look at more takes longer than to ask git
_LOCAL = frozenset(
    ("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "squashfs", "tmpfs", "xfs", "zfs")
)
_MOUNTS = "/proc/self/mountinfo"

Seen = tuple[object, ...]


@dataclass(frozen=True)
class Watch:
    """Paths, whether there is anything or not, and a folder with all that is in it but Python's environments."""

    paths: tuple[str, ...]
    folder: str

    def look(self) -> Seen | None:
        """What is there now; None where nothing can be told from it."""
        seen: list[object] = [_told(path) for path in self.paths]
        waiting, entries = [self.folder], 0
        while waiting:
            seen_in = waiting.pop()
            try:
                with os.scandir(seen_in) as members:
                    present = sorted(members, key=lambda member: member.name)
            except OSError:
                return None
            entries += len(present)
            if entries > _MOST:
                return None
            for member in present:
                if member.name == ".git" and seen_in != self.folder:
                    return None  # another repository
                try:
                    found = member.stat(follow_symlinks=False)
                except OSError:
                    return None
                seen.append((member.path, *_identity(found)))
                if stat.S_ISDIR(found.st_mode):
                    if member.name not in (".git", ".venv"):
                        waiting.append(member.path)
                elif stat.S_ISLNK(found.st_mode):
                    seen.append(_told(member.path))
        return tuple(seen)


def watch(paths: Iterable[Path], folder: Path) -> Watch | None:
    """A watch of these; None where one lies on a file system that does not tell of every change at once."""
    wanted = tuple(dict.fromkeys(map(os.fspath, paths)))
    mounts = _mounts()
    places = {os.path.dirname(path) for path in wanted} | {os.fspath(folder)}
    if not all(_kind(os.path.realpath(place), mounts) in _LOCAL for place in places):
        return None
    return Watch(wanted, os.fspath(folder))


def _told(path: str) -> tuple[int, ...] | None:
    try:
        return _identity(os.stat(path))
    except (OSError, ValueError):
        return None


def _identity(found: os.stat_result) -> tuple[int, ...]:
    what = found.st_dev, found.st_ino, found.st_mode, found.st_uid
    # Of a folder what is in it is asked for, and its own times tell of what is not: a file that came and went.
    if stat.S_ISDIR(found.st_mode):
        return what
    return (*what, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _mounts() -> Sequence[tuple[str, str]]:
    """Where file systems are mounted, and of which kind each is, the deepest first."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" - ", 1) for line in file]
    except OSError:
        return ()
    found = [(_plain(line[0].split()[4]), line[1].split()[0]) for line in lines if len(line) == 2]
    found.reverse()  # of two at one place the later one counts
    return sorted(found, key=lambda mount: -len(mount[0]))


def _plain(written: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        written = written.replace(code, character)
    return written


def _kind(place: str, mounts: Sequence[tuple[str, str]]) -> str:
    below = ((point, kind) for point, kind in mounts if place == point or place.startswith(point.rstrip("/") + "/"))
    return next(below, ("", ""))[1]
