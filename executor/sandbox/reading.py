"""Reading what somebody else may have put there, in a process that has to go on whatever it is."""

import os
import stat
from pathlib import Path


def head_of(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a regular file.

    It is looked at before it is opened, by a handle that stays on it: a pipe would keep its reader waiting, a device
    may act on being opened or have no end.

    Raises:
        OSError: it is no regular file, or cannot be read.
        ValueError: its name has a NUL.
    """
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no regular file")
        opened = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    with open(opened, "rb") as file:
        return file.read(limit)
