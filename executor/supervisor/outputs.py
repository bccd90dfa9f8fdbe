"""What a run leaves in SEALRUN_OUTPUT_DIR: searched by the masker, then sent to the worker file by file.

The tree is dead when this starts, so nothing changes underneath. A name or content in which a secret is found is
withheld and named; compressed or encrypted content cannot be searched, and the documentation says so.
"""

import os
import stat
from collections.abc import Iterator

from executor.supervisor.report import Reporter

FILES_LIMIT = 1000
PATH_LIMIT = 1024  # bytes; PostgreSQL's index takes no more than 2,700
DEPTH_LIMIT = 100  # folders, each of which is held open while what is in it is read
_PATH_SHOWN = 100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18


def collect(folder: str, limit: int, uid: int | None, reporter: Reporter) -> None:
    """Send the files below `folder`, at most `limit` bytes and 1,000 files; the rest is named as withheld.

    This process may read what the run may not, so no link is followed at any step, the folder itself included.

    Args:
        folder: the run's output folder.
        limit: bytes of all files together.
        uid: the run's user id where it has one: a file of another owner is not the run's to leave.
        reporter: where it goes.
    """
    left, files = limit, 0
    names: set[str] = set()
    try:
        top = os.open(folder, _FOLDER)
    except OSError as error:
        reporter.withheld("…", f"the output folder cannot be read: {os.strerror(error.errno or 0)}")
        return
    for name, place, closed in _walk(top, ""):
        shown = _shown(name, names, reporter)
        if (files := files + 1) > FILES_LIMIT:
            reporter.withheld("…", f"more than {FILES_LIMIT:,} files were left")
            return
        why = closed
        try:
            why = why or _unfit(name, place, uid, left, limit)
            if why is None:
                left -= _send(name, shown, place, reporter)
        except OSError as error:
            why = f"it cannot be read: {os.strerror(error.errno or 0)}"
        if why is not None:
            reporter.withheld(shown, why)


def _unfit(name: str, place: int, uid: int | None, left: int, limit: int) -> str | None:
    """Why a file is not taken, judged before it is opened; None for one that is."""
    found = os.stat(os.path.basename(name), dir_fd=place, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if uid is not None and found.st_uid != uid:
        return "it belongs to another user"
    if found.st_size > left:
        return f"the files left are larger than {limit:,} bytes together"
    return None


def _send(name: str, shown: str, place: int, reporter: Reporter) -> int:
    """Search a file, and send it if nothing was found; returns the bytes that were sent."""
    fd = os.open(os.path.basename(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    try:
        if _has_secret(fd, name, reporter):
            reporter.withheld(shown, "a secret was found in it")
            return 0
        size = os.fstat(fd).st_size
        reporter.file(shown, size)
        os.lseek(fd, 0, os.SEEK_SET)
        for data in _chunks(fd, size):
            reporter.file_data(data)
        return size
    finally:
        os.close(fd)


def _walk(place: int, prefix: str) -> Iterator[tuple[str, int, str | None]]:
    """Every entry that is no folder with its folder's descriptor, and with the reason every folder not entered."""
    try:
        with os.scandir(place) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            if len(os.fsencode(name)) > PATH_LIMIT:
                yield name, place, f"its path is longer than {PATH_LIMIT:,} bytes"
            elif name.count("/") > DEPTH_LIMIT:
                yield name, place, f"it lies deeper than {DEPTH_LIMIT} folders"
            elif not entry.is_dir(follow_symlinks=False):
                yield name, place, None
            else:
                try:
                    inner = os.open(entry.name, _FOLDER, dir_fd=place)
                except OSError as error:
                    yield name, place, f"it cannot be read: {os.strerror(error.errno or 0)}"
                else:
                    yield from _walk(inner, name)
    finally:
        os.close(place)


def _shown(name: str, taken: set[str], reporter: Reporter) -> str:
    """A file's name as text, masked; masking must not make two names one."""
    text = reporter.masker.mask(os.fsencode(name)).decode(errors="replace")
    text = text if len(text) <= PATH_LIMIT else f"{text[:_PATH_SHOWN]}…"
    number, shown = 1, text
    while shown in taken:
        number += 1
        shown = f"{text} ({number})"
    taken.add(shown)
    return shown


def _has_secret(fd: int, name: str, reporter: Reporter) -> bool:
    masker = reporter.masker
    return masker.finds([os.fsencode(name)]) or masker.finds(_chunks(fd))


def _chunks(fd: int, size: int | None = None) -> Iterator[bytes]:
    while data := os.read(fd, _CHUNK if size is None else min(_CHUNK, size)):
        yield data
        if size is not None:
            size -= len(data)
