"""Search what a run left in SEALRUN_OUTPUT_DIR for secrets, and send it to the worker file by file.

The tree is dead when this starts, but a process outside it may have a file open, and write while it is read here: what
is sent was masked on its way out, whatever was found before, and a file that changed is withheld. A text in which a
secret is found is masked, and so are names; where that is not enough the file is withheld and named. Compressed or
encrypted content cannot be searched, as the documentation says.
"""

import itertools
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from executor.masking.masker import Hits
from executor.supervisor import masked_text
from executor.supervisor.masked_files import MASKED_LIMIT, Masking, of_name
from executor.supervisor.masked_text import Looked
from executor.supervisor.report import Reporter
from executor.supervisor.seen import FILE, FILE_NAME

FILES_LIMIT = 1000
PATH_LIMIT = 1024  # bytes; PostgreSQL's index takes no more than 2,700
DEPTH_LIMIT = 100  # folders, each of which stays open while its contents are read
ENTRIES, SECONDS = 20_000, 30.0
"""Files and folders, and seconds of looking at them, that one output folder is searched for: a run makes more of them
than there is memory for here."""

_PATH_SHOWN = 100
_REST = "…"  # stands for files that are not named
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18
_SECRET = "it contains a secret"
_UNSEARCHABLE = "it cannot be searched for secrets"
_TAKEN = "its name, once it is masked, is another's"
_CHANGED = "it changed while it was read"


def collect(
    folder: str, limit: int, uid: int | None, reporter: Reporter, masked: Mapping[str, Masking] = {}
) -> "Given":
    """Send the files below `folder`, at most `limit` bytes and 1,000 files; report the rest as withheld.

    This process may read what the run may not, so it follows no link at any step, not even the folder itself.

    Args:
        folder: the run's output folder.
        limit: bytes of all files together.
        uid: the run's own user id, if it has one: files of other owners are withheld.
        reporter: sends them.
        masked: by name, how a file is masked that is not masked byte for byte.

    Returns:
        What there is now, for what else is given of the run.

    Raises:
        NoLongerExpected: the run was lost meanwhile; files may be large and many, so it is looked at every step.
    """
    given = Given(limit, uid, reporter)
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        reporter.withheld(_REST, f"the output folder cannot be read: {os.strerror(error.errno or 0)}")
        return given
    looking = _Looking()
    for name, place, closed in _walk(top, "", reporter, looking):
        reporter.check()
        if given.full:
            looking.broken_off = f"more than {FILES_LIMIT:,} files were left"
            break
        began = time.monotonic()
        given.one(name, place, closed, masked.get(name))
        looking.until += time.monotonic() - began  # large files, and a slow database, are no fault of the folder
    if looking.broken_off is not None:
        reporter.withheld(_REST, looking.broken_off)
    return given


class _Looking:
    """How much of a folder may be looked at yet, and why that was not all of it."""

    def __init__(self) -> None:
        self._left = ENTRIES
        self.until = time.monotonic() + SECONDS
        self.broken_off: str | None = None

    def listed(self, place: int) -> list[os.DirEntry[str]]:
        """The entries of a folder in their order, as many as there is room for."""
        with os.scandir(place) as listing:
            entries = list(itertools.islice(listing, self._left + 1))
        if len(entries) > self._left:
            del entries[self._left :]
            self.broken_off = f"more than {ENTRIES:,} files and folders were left"
        self._left -= len(entries)
        return sorted(entries, key=lambda entry: entry.name)

    def late(self) -> bool:
        """Whether the time is over."""
        if time.monotonic() > self.until:
            self.broken_off = f"it took more than {SECONDS:.0f} seconds to look at"
            return True
        return False


class Given:
    """The files that are given of one run, under the names that they are shown by, within its limits."""

    def __init__(self, limit: int, uid: int | None, reporter: Reporter) -> None:
        self.left = self.limit = limit
        self._uid, self._reporter = uid, reporter
        self._names = _Names(reporter)
        self._files = 0

    @property
    def most(self) -> int:
        """How many files one run may leave."""
        return FILES_LIMIT

    @property
    def names(self) -> frozenset[str]:
        """The names that are given or withheld already."""
        return self._names.all

    @property
    def full(self) -> bool:
        """Whether there are as many files as one run may leave."""
        return self._files >= FILES_LIMIT

    def one(
        self,
        name: str,
        place: int,
        closed: str | None = None,
        masking: Masking | None = None,
        *,
        executable: bool = False,
    ) -> str | None:
        """Give a file, or tell why it is withheld; return the name that it is given by, None for one that is not.

        Args:
            name: its path.
            place: a descriptor of the folder that it lies in.
            closed: why it is withheld, where that is known.
            masking: how it is masked, if not byte for byte.
            executable: it is a program, and is to stay one.
        """
        self._files += 1
        reporter, before = self._reporter, self._reporter.given
        shown = replace(self._names.shown(name), executable=executable)
        try:
            why = closed or _why_withheld(_found(name, place), self._uid, self.left, self.limit)
            if why is None:
                with _File(name, place, reporter) as file:
                    # What was looked at by its name may be another by now.
                    why = _why_withheld(file.found, self._uid, self.left, self.limit)
                    if why is None:
                        self.left -= _send(shown, file, reporter, masking, of_name(name))
        except OSError as error:
            why = f"it cannot be read: {os.strerror(error.errno or 0)}"
        if why is not None:
            reporter.withheld(shown.text, why)
        return shown.text if reporter.given > before else None


def _found(name: str, place: int) -> os.stat_result:
    return os.stat(os.path.basename(name), dir_fd=place, follow_symlinks=False)


def _why_withheld(found: os.stat_result, uid: int | None, left: int, limit: int) -> str | None:
    """Return why a file is withheld unread; None if it is to be searched."""
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if uid is not None and found.st_uid != uid:
        return "it belongs to another user"
    if found.st_size > left:
        return f"the files left are larger than {limit:,} bytes together"
    return None


class _File:
    """A file that is open, to be read more than once; whoever else has it open may write to it meanwhile."""

    def __init__(self, name: str, place: int, reporter: Reporter) -> None:
        self._reporter = reporter
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = os.open(os.path.basename(name), flags, dir_fd=place)
        self.found = os.fstat(self._fd)
        """What it was before it was read."""
        self.size = self.found.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, of no more than the size that it had.

        Who is lost gets no end of them, which would make a file look searched that is not.
        """
        os.lseek(self._fd, 0, os.SEEK_SET)
        left = self.size
        while data := os.read(self._fd, min(_CHUNK, left)):
            self._reporter.check()
            yield data
            left -= len(data)

    def changed(self) -> bool:
        """Tell whether somebody wrote to it, as far as the kernel says: what is mapped into memory it does not see."""
        now = os.fstat(self._fd)
        return any(
            getattr(now, name) != getattr(self.found, name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns")
        )


def _send(shown: "_Shown", file: _File, reporter: Reporter, masking: Masking | None, if_leaky: Masking | None) -> int:
    """Search a file, and send it if it has no secret, or once that is masked; return the number of bytes sent."""
    masker = reporter.masker
    if masker.finds([shown.text.encode()]):
        reporter.withheld(shown.text, _SECRET)
        return 0
    if shown.taken:
        reporter.withheld(shown.text, _TAKEN)
        return 0
    if masking is not None and file.size <= MASKED_LIMIT:
        return _send_masked(shown, file, reporter, masking)
    if masker.finds(file.chunks()):
        return _send_leaky(shown, file, reporter, masking or if_leaky)
    now = Looked(False)
    return _give(shown, file, reporter, masked_text.clean(file.chunks(), masker, now), Looked(True, file.size), now)


def _send_leaky(shown: "_Shown", file: _File, reporter: Reporter, masking: Masking | None) -> int:
    """Send a file in which a secret was found, if it is text; its size is that of the masked one."""
    if masking is not None and file.size <= MASKED_LIMIT:
        return _send_masked(shown, file, reporter, masking)
    looked = masked_text.look(file.chunks(), reporter.masker)
    reporter.seen.add(FILE, looked.hits)
    if masking is not None or not looked.given:
        reporter.withheld(shown.text, _SECRET)
        return 0
    now = Looked(False)
    return _give(shown, file, reporter, masked_text.masked(file.chunks(), reporter.masker, now), looked, now)


def _give(
    shown: "_Shown", file: _File, reporter: Reporter, pieces: Iterator[bytes], looked: Looked, now: Looked
) -> int:
    """Send a file's pieces, and then what it is: nothing, if `now`, which they fill in, is not as it looked."""
    reporter.file_begins(shown.text)
    for data in pieces:
        reporter.file_data(data)
    if now != looked or file.changed():
        reporter.withheld(shown.text, _CHANGED)
    else:
        _tell(shown, now.size, reporter, now.hits, now.first)
    return now.size


def _send_masked(shown: "_Shown", file: _File, reporter: Reporter, masking: Masking) -> int:
    """Send a file that is masked as a whole: it is read once, so that what is sent is what was searched."""
    data = b"".join(file.chunks())
    if file.changed():
        reporter.withheld(shown.text, _CHANGED)
        return 0
    hits: Hits = {}
    try:
        anew = masking(data, reporter.masker.counting(hits))
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        # The run wrote it and may have meant it so: it must not end the supervisor, and what is not known is not sent.
        anew, why = None, _UNSEARCHABLE
    else:
        why = _SECRET
    reporter.seen.add(FILE, hits)
    if anew is None:
        reporter.withheld(shown.text, why)
        return 0
    stream = reporter.masker.stream()
    byte_for_byte = anew == stream.feed(data) + stream.rest()
    reporter.file_begins(shown.text)
    for start in range(0, len(anew), _CHUNK):
        reporter.file_data(anew[start : start + _CHUNK])
    _tell(shown, len(anew), reporter, hits, stream.first if byte_for_byte else {})
    return len(anew)


def _tell(shown: "_Shown", size: int, reporter: Reporter, hits: Hits, first: Hits) -> None:
    masked, more = masked_text.entries(hits, first, shown.hits)
    if shown.executable:
        reporter.file(shown.text, size, masked, more, executable=True)
    else:
        reporter.file(shown.text, size, masked, more)


def _walk(place: int, prefix: str, reporter: Reporter, looking: _Looking) -> Iterator[tuple[str, int, str | None]]:
    """Yield each file with its folder's descriptor, and each entry that cannot be taken, with the reason."""
    try:
        reporter.check()
        for entry in looking.listed(place):
            if looking.late():
                return
            name = os.path.join(prefix, entry.name)
            if len(os.fsencode(name)) > PATH_LIMIT:
                yield name, place, f"its path is longer than {PATH_LIMIT:,} bytes"
            elif name.count("/") > DEPTH_LIMIT:
                yield name, place, f"it is more than {DEPTH_LIMIT} folders deep"
            elif not entry.is_dir(follow_symlinks=False):
                yield name, place, None
            else:
                try:
                    inner = os.open(entry.name, _FOLDER, dir_fd=place)
                except OSError as error:
                    yield name, place, f"it cannot be read: {os.strerror(error.errno or 0)}"
                else:
                    yield from _walk(inner, name, reporter, looking)
    finally:
        os.close(place)


@dataclass(frozen=True)
class _Shown:
    """A file's name as text, masked; `taken` where a folder has it, or a file has the name of one of its folders."""

    text: str
    hits: Hits
    taken: bool
    executable: bool = False


class _Names:
    """The names that files are shown under: masked, and still unique."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._files = {_REST}
        self._folders: set[str] = set()

    @property
    def all(self) -> frozenset[str]:
        """The names that are taken."""
        return frozenset(self._files)

    def shown(self, name: str) -> _Shown:
        """Return the name to show for a file."""
        hits: Hits = {}
        text = self._reporter.masker.counting(hits).mask(os.fsencode(name)).decode(errors="replace")
        self._reporter.seen.add(FILE_NAME, hits)
        text = text if len(text) <= PATH_LIMIT else f"{text[:_PATH_SHOWN]}…"
        number, shown = 1, text
        while shown in self._files:
            number += 1
            shown = f"{text} ({number})"
        # Of two names that masking makes one, one may be a folder's: both cannot be written anywhere.
        folders = {shown[:place] for place, letter in enumerate(shown) if letter == "/"}
        taken = shown in self._folders or not self._files.isdisjoint(folders)
        self._files.add(shown)
        self._folders |= folders
        return _Shown(shown, hits, taken)
