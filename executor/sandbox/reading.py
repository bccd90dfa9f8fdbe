"""Reading what somebody else may have put there, in a process that has to go on whatever it is."""

import errno
import os
import stat
from pathlib import Path

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def head_of(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a regular file.

    It is looked at before it is opened, by a handle that stays on it: a pipe would keep its reader waiting, a device
    may act on being opened or have no end.

    Raises:
        OSError: it is no regular file, or cannot be read.
        ValueError: its name has a NUL.
    """
    with open(_opened(path), "rb") as file:
        return file.read(limit)


def all_of(path: Path, limit: int) -> bytes:
    """Return a regular file as a whole.

    Raises:
        OSError: as of `head_of`; or it has more than `limit` bytes.
        ValueError: its name has a NUL.
    """
    data = head_of(path, limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return data


def _opened(path: Path) -> int:
    if not hasattr(os, "O_PATH"):  # only Linux has it; elsewhere a file may be exchanged between the two
        _check(path, os.stat(path))
        return os.open(path, _OPEN)
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _check(path, os.fstat(handle))
        return os.open(f"/proc/self/fd/{handle}", _OPEN)
    finally:
        os.close(handle)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
