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
_PATH_SHOWN = 100
_CHUNK = 1 << 18


def collect(folder: str, limit: int, uid: int | None, reporter: Reporter) -> None:
    """Send the files below `folder`, at most `limit` bytes and 1,000 files; the rest is named as withheld.

    Args:
        folder: the run's output folder.
        limit: bytes of all files together.
        uid: the run's user id where it has one: a file of another owner is not the run's to leave.
        reporter: where it goes.
    """
    left, files = limit, 0
    names: set[str] = set()
    for name, closed in _walk(folder):
        path, shown = os.path.join(folder, name), _shown(name, names, reporter)
        if (files := files + 1) > FILES_LIMIT:
            reporter.withheld("…", f"more than {FILES_LIMIT:,} files were left")
            return
        if closed is not None:
            reporter.withheld(shown, closed)
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            reporter.withheld(shown, f"it cannot be read: {os.strerror(error.errno or 0)}")
            continue
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                reporter.withheld(shown, "it is no regular file")
            elif uid is not None and found.st_uid != uid:
                reporter.withheld(shown, "it belongs to another user")
            elif found.st_size > left:
                reporter.withheld(shown, f"the files left are larger than {limit:,} bytes together")
            elif _has_secret(fd, name, reporter):
                reporter.withheld(shown, "a secret was found in it")
            else:
                left -= found.st_size
                reporter.file(shown, found.st_size)
                os.lseek(fd, 0, os.SEEK_SET)
                for data in _chunks(fd, found.st_size):
                    reporter.file_data(data)
        finally:
            os.close(fd)


def _walk(folder: str) -> Iterator[tuple[str, str | None]]:
    """Every entry that is no folder, and with the reason every folder that is not entered; links are not followed.

    Not `os.walk`, which recurses before Python 3.12 and passes over what it cannot read.
    """
    places = [""]
    while places:
        place = places.pop()
        try:
            with os.scandir(os.path.join(folder, place)) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield place, f"it cannot be read: {os.strerror(error.errno or 0)}"
            continue
        inner = []
        for entry in entries:
            name = os.path.join(place, entry.name)
            if len(os.fsencode(name)) > PATH_LIMIT:
                yield name, f"its path is longer than {PATH_LIMIT:,} bytes"
            elif entry.is_dir(follow_symlinks=False):
                inner.append(name)
            else:
                yield name, None
        places += reversed(inner)


def _shown(name: str, taken: set[str], reporter: Reporter) -> str:
    """A file's name as text, masked; masking must not make two names one."""
    text = reporter.masker.mask_text(name.encode(errors="surrogateescape").decode(errors="replace"))
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
