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
from dataclasses import dataclass, field
from typing import Any

from executor.sandbox import kernel
from executor.sandbox.working import COPY, OVERLAY
from executor.sandbox.working.copy import Mark, mark
from executor.supervisor.chosen import Chosen
from executor.supervisor.outputs import PATH_LIMIT, Given
from executor.supervisor.report import Reporter

DEEP, ENTRIES, BYTES, SECONDS = 64, 20_000, 4 << 30, 30.0
"""Folders in each other, entries, bytes, and seconds of looking at them, that one run's folder is searched for."""

_NAMED = 5  # files, and things removed, that are named at the end
_NAME = 100  # characters
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


@dataclass
class _Told:
    """What the run is told at its end."""

    given: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    """Files that had more than their bytes."""
    bytes: int = 0
    over: int = 0
    broken_off: str | None = None


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
        search = _Search(top, below, marks, Chosen(job.get("collect") or ()), os.geteuid() if owner is None else owner)
        told = search.give(given, reporter)
        if below is not None:
            os.close(below)
    _tell(told, job["run"], reporter)


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
        self.told = _Told()

    def give(self, given: Given, reporter: Reporter) -> _Told:
        """Give what is chosen, within all limits."""
        told = self.told
        for name, place, found in self._entries(reporter):
            why = self._why_not(found)
            if given.full or (why is None and found.st_size > min(given.left, self._bytes)):
                told.over += 1
            else:
                self._bytes -= found.st_size
                began = time.monotonic()
                extra = why is None and self._has_more(name, place, found)
                before = reporter.given_bytes
                program = self._chosen.named and bool(found.st_mode & stat.S_IXUSR)
                shown = given.one(name, place, why, executable=program)
                told.bytes += reporter.given_bytes - before
                self._until += time.monotonic() - began  # a slow database is no fault of the folder
                if shown is not None:
                    told.given.append(shown)
                    if extra:
                        told.bare.append(shown)
        if self._missing and told.broken_off is None:
            told.removed += sorted(filter(self._chosen.takes, map(os.fsdecode, self._missing)))
        return told

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
                if self._left < 1 or time.monotonic() > self._until:
                    self.told.broken_off = (
                        f"more than {ENTRIES:,} entries" if self._left < 1 else f"{SECONDS:.0f} seconds of looking"
                    )
                    return
                self._left -= 1
                path = level.prefix + name
                try:
                    found = os.stat(name, dir_fd=level.handle, follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    if (inner := self._inner(level, name, path, len(levels))) is not None:
                        levels.append(inner)
                elif self._is_removed(path, found):
                    self.told.removed += [path] * self._chosen.takes(path)
                elif self._was_written(path, found) and self._chosen.takes(path):
                    yield path, level.handle, found
        finally:
            for level in levels:
                os.close(level.handle)

    def _level(self, handle: int, prefix: str) -> _Level:
        with os.scandir(handle) as listing:
            # One more than there is room for, so that it is seen; a folder may have more than memory takes.
            names = sorted(entry.name for entry in itertools.islice(listing, max(self._left, 0) + 1))
        return _Level(handle, prefix, iter(names))

    def _inner(self, level: _Level, name: str, path: str, depth: int) -> _Level | None:
        if depth >= DEEP or len(os.fsencode(path)) > PATH_LIMIT:
            self.told.over += 1
            return None
        if not self._chosen.enters(path):
            self._forget(path)
            return None
        try:
            handle = kernel.open_beneath(name, _FOLDER, level.handle)
        except OSError as refused:
            if refused.errno not in (errno.ENOENT, errno.ENOTDIR):
                self.told.over += 1
            self._forget(path)
            return None
        if os.fstat(handle).st_dev != self._device:
            os.close(handle)
            return None
        if self._below is not None and _is_opaque(handle) and self._is_below(path):
            self.told.removed.append(f"{path}/")
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


def _tell(told: _Told, run: str, reporter: Reporter) -> None:
    """Say at the end of its stderr what a run wrote beside its source."""
    if told.given:
        count, size = len(told.given), told.bytes
        files, them = ("file", "it") if count == 1 else ("files", "them")
        reporter.say(
            f"wrote {count:,} {files} beside the source ({_size(size)}): {_names(told.given, reporter)};"
            f" `sealrun runs download {run[:8]}` brings {them} back"
        )
    if told.bare:
        reporter.say(f"set-user-id bits and extended attributes are not kept: {_names(told.bare, reporter)}")
    if told.removed:
        reporter.say(f"removed beside the run, and as it was in the source: {_names(told.removed, reporter)}")
    if told.over or told.broken_off:
        why = told.broken_off or "it is more than a run may leave"
        what = f"{told.over:,} more that were" if told.over else "some of what was"
        reporter.say(f"{what} written beside the source are not kept: {why}; --collect 'GLOB' chooses which")


def _names(names: list[str], reporter: Reporter) -> str:
    shown = []
    for name in names[:_NAMED]:
        text = reporter.masker.mask_text(name.encode(errors="surrogateescape").decode(errors="replace"))
        text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
        shown.append(text if len(text) <= _NAME else f"{text[:_NAME]}…")
    return ", ".join([*shown, *["…"] * (len(names) > _NAMED)])


def _size(size: int) -> str:
    for unit, bits in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size >= 1 << bits:
            return f"{size / (1 << bits):.0f} {unit}"
    return f"{size} bytes"
