"""Sending descriptors to another process, where the kernel says that too many of this user are on their way."""

import errno
import socket
import time
from collections.abc import Sequence

PATIENCE = 10.0  # seconds; others of this user take what is theirs
_PAUSE = 0.02


def send_fds(channel: socket.socket, message: bytes, descriptors: Sequence[int], flags: int = 0) -> None:
    """Send them with a message, and try again for a while where that is what the kernel says.

    Raises:
        OSError: nobody is there, or it goes on.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.send_fds(channel, [message], descriptors, flags)
            return
        except OSError as error:
            if not too_many(error) or time.monotonic() > until:
                raise
        time.sleep(_PAUSE)


def too_many(error: OSError) -> bool:
    """Whether it was refused for that, and nobody is dead."""
    return error.errno == errno.ETOOMANYREFS
