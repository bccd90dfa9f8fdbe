"""Search what a run left in SEALRUN_OUTPUT_DIR for secrets, and send it to the worker file by file.

The tree is dead when this starts, so nothing changes underneath. A file with a secret in its name or content is
withheld and named, unless it is of a kind that can be masked; compressed or encrypted content cannot be searched, as
the documentation says.
"""

import os
import stat
from collections.abc import Iterator, Mapping

from executor.supervisor.masked_files import MASKED_LIMIT, Masking
from executor.supervisor.report import Reporter

FILES_LIMIT = 1000
PATH_LIMIT = 1024  # bytes; PostgreSQL's index takes no more than 2,700
DEPTH_LIMIT = 100  # folders, each of which stays open while its contents are read
_PATH_SHOWN = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18
_SECRET = "it contains a secret"
_UNSEARCHABLE = "it cannot be searched for secrets"


def collect(folder: str, limit: int, uid: int | None, reporter: Reporter, masked: Mapping[str, Masking] = {}) -> None:
    """Send the files below `folder`, at most `limit` bytes and 1,000 files; report the rest as withheld.

    This process may read what the run may not, so it follows no link at any step, not even the folder itself.

    Args:
        folder: the run's output folder.
        limit: bytes of all files together.
        uid: the run's own user id, if it has one: files of other owners are withheld.
        reporter: sends them.
        masked: by name, how a file with a secret in its content is masked, in the place of being withheld.

    Raises:
        NoLongerExpected: the run was lost meanwhile; files may be large and many, so it is looked at every step.
    """
    left, files = limit, 0
    names: set[str] = set()
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        reporter.withheld("…", f"the output folder cannot be read: {os.strerror(error.errno or 0)}")
        return
    for name, place, closed in _walk(top, "", reporter):
        reporter.check()
        shown = _shown(name, names, reporter)
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
            reporter.withheld(shown, why)


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


def _send(name: str, shown: str, place: int, reporter: Reporter, masking: Masking | None) -> int:
    """Search a file, and send it if it has no secret, or once that is masked; return the number of bytes sent."""
    masker = reporter.masker
    fd = os.open(os.path.basename(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    try:
        size = os.fstat(fd).st_size
        if masker.finds([os.fsencode(name)]):
            reporter.withheld(shown, _SECRET)
            return 0
        if masking is not None and size <= MASKED_LIMIT:
            return _send_masked(shown, b"".join(_chunks(fd, reporter, size)), reporter, masking)
        if masker.finds(_chunks(fd, reporter)):
            reporter.withheld(shown, _SECRET)
            return 0
        reporter.file(shown, size)
        os.lseek(fd, 0, os.SEEK_SET)
        for data in _chunks(fd, reporter, size):
            reporter.file_data(data)
        return size
    finally:
        os.close(fd)


def _send_masked(shown: str, data: bytes, reporter: Reporter, masking: Masking) -> int:
    try:
        anew = masking(data, reporter.masker)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        # The run wrote it and may have meant it so: it must not end the supervisor, and what is not known is not sent.
        reporter.withheld(shown, _UNSEARCHABLE)
        return 0
    if anew is None:
        reporter.withheld(shown, _SECRET)
        return 0
    if anew != data:
        reporter.say(f"what is secret in {shown} is masked")
    reporter.file(shown, len(anew))
    for start in range(0, len(anew), _CHUNK):
        reporter.file_data(anew[start : start + _CHUNK])
    return len(anew)


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


def _shown(name: str, taken: set[str], reporter: Reporter) -> str:
    """Return a file's name as text, masked and still unique."""
    text = reporter.masker.mask(os.fsencode(name)).decode(errors="replace")
    text = text if len(text) <= PATH_LIMIT else f"{text[:_PATH_SHOWN]}…"
    number, shown = 1, text
    while shown in taken:
        number += 1
        shown = f"{text} ({number})"
    taken.add(shown)
    return shown


def _chunks(fd: int, reporter: Reporter, size: int | None = None) -> Iterator[bytes]:
    """Yield a file's bytes. Who is lost gets no end of them, which would make a file look searched that is not."""
    while data := os.read(fd, _CHUNK if size is None else min(_CHUNK, size)):
        reporter.check()
        yield data
        if size is not None:
            size -= len(data)
