"""Search what a run left in SEALRUN_OUTPUT_DIR for secrets, and send it to the worker file by file.

The tree is dead when this starts, so nothing changes underneath. A text in which a secret is found is masked, and so
are names; where that is not enough the file is withheld and named. Compressed or encrypted content cannot be searched,
as the documentation says.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from executor.masking.masker import Hits
from executor.supervisor import masked_text
from executor.supervisor.masked_files import MASKED_LIMIT, Masking, of_name
from executor.supervisor.report import Reporter
from executor.supervisor.seen import FILE, FILE_NAME

FILES_LIMIT = 1000
PATH_LIMIT = 1024  # bytes; PostgreSQL's index takes no more than 2,700
DEPTH_LIMIT = 100  # folders, each of which stays open while its contents are read
_PATH_SHOWN = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18
_SECRET = "it contains a secret"
_UNSEARCHABLE = "it cannot be searched for secrets"
_TAKEN = "its name, once it is masked, is another's"


def collect(folder: str, limit: int, uid: int | None, reporter: Reporter, masked: Mapping[str, Masking] = {}) -> None:
    """Send the files below `folder`, at most `limit` bytes and 1,000 files; report the rest as withheld.

    This process may read what the run may not, so it follows no link at any step, not even the folder itself.

    Args:
        folder: the run's output folder.
        limit: bytes of all files together.
        uid: the run's own user id, if it has one: files of other owners are withheld.
        reporter: sends them.
        masked: by name, how a file is masked that is not masked byte for byte.

    Raises:
        NoLongerExpected: the run was lost meanwhile; files may be large and many, so it is looked at every step.
    """
    left, files = limit, 0
    names = _Names(reporter)
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        reporter.withheld("…", f"the output folder cannot be read: {os.strerror(error.errno or 0)}")
        return
    for name, place, closed in _walk(top, "", reporter):
        reporter.check()
        shown = names.shown(name)
        if (files := files + 1) > FILES_LIMIT:
            reporter.withheld("…", f"more than {FILES_LIMIT:,} files were left")
            return
        try:
            why = closed or _why_withheld(name, place, uid, left, limit)
            if why is None:
                left -= _send(name, shown, place, reporter, masked.get(name))
        except OSError as error:
            why = f"it cannot be read: {os.strerror(error.errno or 0)}"
        if why is not None:
            reporter.withheld(shown.text, why)


def _why_withheld(name: str, place: int, uid: int | None, left: int, limit: int) -> str | None:
    """Return why a file is withheld unopened; None if it is to be searched."""
    found = os.stat(os.path.basename(name), dir_fd=place, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if uid is not None and found.st_uid != uid:
        return "it belongs to another user"
    if found.st_size > left:
        return f"the files left are larger than {limit:,} bytes together"
    return None


def _send(name: str, shown: "_Shown", place: int, reporter: Reporter, masking: Masking | None) -> int:
    """Search a file, and send it if it has no secret, or once that is masked; return the number of bytes sent."""
    masker = reporter.masker
    fd = os.open(os.path.basename(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    try:
        size = os.fstat(fd).st_size
        if masker.finds([shown.text.encode()]):
            reporter.withheld(shown.text, _SECRET)
            return 0
        if shown.taken:
            reporter.withheld(shown.text, _TAKEN)
            return 0
        if masking is not None and size <= MASKED_LIMIT:
            return _send_masked(shown, b"".join(_chunks(fd, reporter, size)), reporter, masking)
        if masker.finds(_chunks(fd, reporter)):
            os.lseek(fd, 0, os.SEEK_SET)
            return _send_leaky(shown, fd, size, reporter, masking or of_name(name))
        _announce(shown, size, reporter)
        os.lseek(fd, 0, os.SEEK_SET)
        for data in _chunks(fd, reporter, size):
            reporter.file_data(data)
        return size
    finally:
        os.close(fd)


def _send_leaky(shown: "_Shown", fd: int, size: int, reporter: Reporter, masking: Masking | None) -> int:
    """Send a file in which a secret was found, if it is text; its size is that of the masked one."""
    if masking is not None and size <= MASKED_LIMIT:
        return _send_masked(shown, b"".join(_chunks(fd, reporter, size)), reporter, masking)
    looked = masked_text.look(_chunks(fd, reporter, size), reporter.masker)
    reporter.seen.add(FILE, looked.hits)
    if masking is not None or not looked.given:
        reporter.withheld(shown.text, _SECRET)
        return 0
    _announce(shown, looked.size, reporter, looked.hits, looked.first)
    os.lseek(fd, 0, os.SEEK_SET)
    for data in masked_text.masked(_chunks(fd, reporter, size), reporter.masker):
        reporter.file_data(data)
    return looked.size


def _send_masked(shown: "_Shown", data: bytes, reporter: Reporter, masking: Masking) -> int:
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
    _announce(shown, len(anew), reporter, hits, stream.first if byte_for_byte else {})
    for start in range(0, len(anew), _CHUNK):
        reporter.file_data(anew[start : start + _CHUNK])
    return len(anew)


def _announce(
    shown: "_Shown", size: int, reporter: Reporter, hits: Hits | None = None, first: Hits | None = None
) -> None:
    reporter.file(shown.text, size, *masked_text.entries(hits or {}, first or {}, shown.hits))


def _walk(place: int, prefix: str, reporter: Reporter) -> Iterator[tuple[str, int, str | None]]:
    """Yield each file with its folder's descriptor, and each entry that cannot be taken, with the reason."""
    try:
        reporter.check()
        with os.scandir(place) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
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
                    yield from _walk(inner, name, reporter)
    finally:
        os.close(place)


@dataclass(frozen=True)
class _Shown:
    """A file's name as text, masked; `taken` where a folder has it, or a file has the name of one of its folders."""

    text: str
    hits: Hits
    taken: bool


class _Names:
    """The names that files are shown under: masked, and still unique."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._files: set[str] = set()
        self._folders: set[str] = set()

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


def _chunks(fd: int, reporter: Reporter, size: int | None = None) -> Iterator[bytes]:
    """Yield a file's bytes. Who is lost gets no end of them, which would make a file look searched that is not."""
    while data := os.read(fd, _CHUNK if size is None else min(_CHUNK, size)):
        reporter.check()
        yield data
        if size is not None:
            size -= len(data)
