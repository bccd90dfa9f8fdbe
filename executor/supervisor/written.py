"""What a run wrote beside its source: found after its tree is dead, and given with the files of SEALRUN_OUTPUT_DIR.

Whatever stands there, it was made by the run: nothing is followed, entered twice, waited for or trusted, and a process
that is root has no capability meanwhile but to read. What is no plain file is told and left out; what was removed is
told and never done.
"""

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from executor.sandbox import kernel
from executor.sandbox.working import COPY, OVERLAY
from executor.sandbox.working.copy import Mark, mark
from executor.supervisor.chosen import Chosen
from executor.supervisor.outputs import PATH_LIMIT, Given
from executor.supervisor.report import Reporter
from executor.supervisor.written_told import Told, note

DEEP, ENTRIES, BYTES, SECONDS = 64, 100_000, 4 << 30, 30.0
"""Folders in each other, entries, bytes, and seconds of looking at them, that one run's folder is searched for."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "it is a link"),
    (stat.S_ISFIFO, "it is a named pipe"),
    (stat.S_ISSOCK, "it is a socket"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
)
_OPAQUE = "user.overlay.opaque"
_OF_THE_KERNEL = ("user.overlay.", "security.", "system.")


def collect(job: Mapping[str, Any], marks: Mapping[bytes, Mark], given: Given, reporter: Reporter) -> None:
    """Give what a run wrote beside its source, and tell what that is.

    Args:
        job: as the worker gave it.
        marks: of its copy, as that was made.
        given: the files that are given already, whose names come first.
        reporter: sends and tells.

    Raises:
        NoLongerExpected: the run was lost meanwhile.
    """
    working = job.get("working", {})
    how = working.get("how")
    if how not in (COPY, OVERLAY):
        return
    with kernel.reading_alone():
        try:
            top = os.open(working["folder"] if how == COPY else working["upper"], _FOLDER | os.O_CLOEXEC)
        except OSError:
            return  # the run has removed all of it
        below = _opened(working["source"]) if how == OVERLAY else None
        owner = job["view"]["uid"]
        patterns = job.get("collect") or ()
        search = _Search(top, below, marks, Chosen(patterns), os.geteuid() if owner is None else owner)
        told = search.give(given, reporter)
        if below is not None:
            os.close(below)
    told.tell(job["run"], patterns, reporter)


def _opened(folder: str) -> int | None:
    try:
        return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None


@dataclass
class _Level:
    """A folder that is being searched."""

    handle: int
    prefix: str
    names: Iterator[str]


class _Search:
    """One look at everything that lies in a run's folder."""

    def __init__(self, top: int, below: int | None, marks: Mapping[bytes, Mark], chosen: Chosen, owner: int) -> None:
        self._top, self._below, self._marks, self._chosen, self._owner = top, below, marks, chosen, owner
        self._device = os.fstat(top).st_dev
        self._left, self._bytes = ENTRIES, BYTES
        self._until = time.monotonic() + SECONDS
        self._missing = set(marks)
        self.told = Told()

    def give(self, given: Given, reporter: Reporter) -> Told:
        """Give what is chosen, within all limits."""
        told, before = self.told, given.names
        for name, place, found in self._entries(reporter):
            why = self._why_not(found)
            if (limit := self._beyond(found, given, why)) is not None:
                told.over[limit] += 1
                continue
            self._bytes -= found.st_size
            began, sent = time.monotonic(), reporter.given_bytes
            extra = why is None and self._has_more(name, place, found)
            program = self._chosen.named and bool(found.st_mode & stat.S_IXUSR)
            shown = given.one(name, place, why, executable=program)
            told.bytes += reporter.given_bytes - sent
            self._until += time.monotonic() - began  # a slow database is no fault of the folder
            if shown is not None:
                told.given.append(shown)
                told.bare += [shown] * extra
                plain = shown.rpartition(" (")[0]
                told.numbered += [(plain, shown)] * (shown not in before and plain in before and shown != name)
        if self._missing and told.broken_off is None:
            told.removed += sorted(filter(self._chosen.tells, map(os.fsdecode, self._missing)))
        return told

    def _beyond(self, found: os.stat_result, given: Given, why: str | None) -> str | None:
        """The limit that a file is beyond; None where it is within all."""
        if given.full:
            return f"{given.most:,} files"
        if why is not None:
            return None
        if found.st_size > given.left:
            return f"{given.limit:,} bytes (SEALRUN_OUTPUT_LIMIT_MIB)"
        return f"{BYTES:,} bytes beside its source" if found.st_size > self._bytes else None

    def _entries(self, reporter: Reporter) -> Iterator[tuple[str, int, os.stat_result]]:
        """Yield what was written and is chosen, each with a descriptor of its folder."""
        levels = [self._level(self._top, "")]
        try:
            while levels:
                reporter.check()
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(levels.pop().handle)
                    continue
                if time.monotonic() > self._until:
                    self.told.broken_off = f"more than {SECONDS:.0f} seconds of looking"
                    return
                path = level.prefix + name
                try:
                    found = os.stat(name, dir_fd=level.handle, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    if (inner := self._inner(level, name, path, len(levels))) is not None:
                        levels.append(inner)
                elif self._is_removed(path, found):
                    if self._chosen.tells(path):
                        note(self.told.removed, path)
                elif self._was_written(path, found):
                    if self._chosen.takes(path):
                        self.told.matched = True
                        yield path, level.handle, found
                    elif self._chosen.tells(path):
                        self.told.unmatched += 1
        finally:
            for level in levels:
                os.close(level.handle)

    def _level(self, handle: int, prefix: str) -> _Level:
        with os.scandir(handle) as listing:
            # One more than there is room for, so that it is seen; a folder may have more than memory takes.
            names = [entry.name for entry in itertools.islice(listing, self._left + 1)]
        if len(names) > self._left:
            names.pop()
            self.told.broken_off = f"more than {ENTRIES:,} files and folders"
        self._left -= len(names)  # all that is held at a time: folders in each other have no room of their own
        return _Level(handle, prefix, iter(sorted(names)))

    def _inner(self, level: _Level, name: str, path: str, depth: int) -> _Level | None:
        if not self._chosen.enters(path):
            self._forget(path)
            return None
        if depth >= DEEP or len(os.fsencode(path)) > PATH_LIMIT:
            what = f"deeper than {DEEP} folders" if depth >= DEEP else f"below a path of more than {PATH_LIMIT:,} bytes"
            note(self.told.closed[what], path)
            return None
        try:
            handle = kernel.open_beneath(name, _FOLDER, level.handle)
        except OSError as refused:
            if refused.errno not in (errno.ENOENT, errno.ENOTDIR):
                note(self.told.closed["in a folder that cannot be read"], path)
            self._forget(path)
            return None
        if os.fstat(handle).st_dev != self._device:
            os.close(handle)
            return None
        if self._below is not None and _is_opaque(handle) and self._is_below(path):
            note(self.told.removed, f"{path}/")
        return self._level(handle, f"{path}/")

    def _forget(self, folder: str) -> None:
        """What is not looked at is not known to be gone."""
        start = os.fsencode(folder) + b"/"
        self._missing = {path for path in self._missing if not path.startswith(start)}

    def _is_removed(self, path: str, found: os.stat_result) -> bool:
        """Whether it is the kernel's mark for what lies below and is hidden."""
        return self._below is not None and stat.S_ISCHR(found.st_mode) and found.st_rdev == 0

    def _was_written(self, path: str, found: os.stat_result) -> bool:
        """Whether it is another file than what lies below; one that was only opened for writing is none."""
        raw = os.fsencode(path)
        self._missing.discard(raw)
        if self._below is None:
            return self._marks.get(raw) != mark(found)
        if (there := self._there(raw)) is None:
            return True
        same = ("st_size", "st_mtime_ns") if stat.S_ISREG(found.st_mode) else ("st_mtime_ns",)
        alike = stat.S_IFMT(there.st_mode) == stat.S_IFMT(found.st_mode)
        return not alike or any(getattr(there, one) != getattr(found, one) for one in same)

    def _is_below(self, path: str) -> bool:
        return self._there(os.fsencode(path)) is not None

    def _there(self, path: bytes) -> os.stat_result | None:
        """What lies below under a name, by no link: where the source has one, the run may have put a folder, to learn
        of files elsewhere whether they are like its own."""
        *folders, name = path.split(b"/")
        place = self._below
        assert place is not None
        try:
            for one in folders:
                inner = kernel.open_beneath(one, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, place)
                if place != self._below:
                    os.close(place)
                place = inner
            return os.stat(name, dir_fd=place, follow_symlinks=False)
        except OSError:
            return None
        finally:
            if place != self._below:
                os.close(place)

    def _why_not(self, found: os.stat_result) -> str | None:
        for is_one, why in _KINDS:
            if is_one(found.st_mode):
                return why
        if found.st_nlink != 1:
            return "it has more names than one"
        return "it belongs to another user" if found.st_uid != self._owner else None

    def _has_more(self, name: str, place: int, found: os.stat_result) -> bool:
        """Whether a file has what is never given: bits that lend rights, attributes beside its bytes."""
        if found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            return True
        try:
            handle = kernel.open_beneath(os.path.basename(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, place)
        except OSError:
            return False
        try:
            return any(not one.startswith(_OF_THE_KERNEL) for one in os.listxattr(handle))
        except OSError:
            return False
        finally:
            os.close(handle)


def _is_opaque(handle: int) -> bool:
    """Whether a folder stands in the place of the one below, and not for the two together."""
    try:
        return os.getxattr(handle, _OPAQUE) == b"y"
    except OSError:
        return False
