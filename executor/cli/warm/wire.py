"""What goes over the socket.

    command → child    the word; then its request, with four descriptors: its streams and its folder
    child → command    READY: it has all of it, and nothing has been done
    command → child    GO: from here on the child owns the command, and it is never started cold
    template → command how the child ended, as `waitpid` has it

Until GO either side may go away, and nothing has happened.
"""

import os
import resource
import socket
import struct
from collections.abc import Iterable

READY, GO = b"ready", b"go"
PATIENCE = 2.0
"""Seconds for each answer before GO; it takes milliseconds."""

_LENGTH = struct.Struct("!I")
_STATUS = struct.Struct("!i")
_CREDENTIALS = struct.Struct("3i")
_MOST = 16 << 20  # bytes of a request: the kernel lets arguments and environment have six at most
DESCRIPTORS, GROUPS = 4, 7
_RESOURCES = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


class Unclear(Exception):
    """What came is not what is to come."""


class Request:
    """A command as it was typed, and where. All of it bytes, as the kernel has it."""

    def __init__(
        self,
        circumstances: list[bytes],
        arguments: list[bytes],
        environment: list[bytes],
        path: list[bytes],
        streams: list[bytes],
        state: list[bytes],
        limits: list[bytes],
    ) -> None:
        """Take it as it is.

        Args:
            circumstances: what `circumstances` tells of it.
            arguments: sys.argv.
            environment: NAME=value each.
            path: where Python looks for modules.
            streams: of each its encoding and error handler, and whether it is unbuffered.
            state: the umask and the signals that are ignored, as /proc/self/status has them; then those held back.
            limits: resource, soft and hard limit each.
        """
        self.circumstances, self.arguments, self.environment, self.path = circumstances, arguments, environment, path
        self.streams, self.state, self.limits = streams, state, limits

    @property
    def groups(self) -> list[list[bytes]]:
        """All of it, as `__init__` takes it."""
        return [
            self.circumstances, self.arguments, self.environment, self.path, self.streams, self.state, self.limits
        ]  # fmt: skip


def pack(groups: Iterable[list[bytes]]) -> bytes:
    """Lists in one piece."""
    parts = []
    for items in groups:
        parts.append(_LENGTH.pack(len(items)))
        for item in items:
            parts += [_LENGTH.pack(len(item)), item]
    return b"".join(parts)


def unpack(packed: bytes) -> list[list[bytes]]:
    """The lists again.

    Raises:
        Unclear: there are none.
    """
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        if at + size > len(packed):
            raise Unclear
        at += size
        return packed[at - size : at]

    def number() -> int:
        return int(_LENGTH.unpack(take(_LENGTH.size))[0])

    groups = []
    while at < len(packed):
        groups.append([take(number()) for _ in range(number())])
    return groups


def send(connection: socket.socket, request: Request) -> None:
    """Send a request, its length first.

    Raises:
        OSError: nobody takes it.
    """
    packed = pack(request.groups)
    connection.sendall(_LENGTH.pack(len(packed)) + packed)


def receive(connection: socket.socket) -> Request:
    """A request.

    Raises:
        Unclear: it is too much, too little or none.
        OSError: it did not come.
    """
    (length,) = _LENGTH.unpack(_whole(connection, _LENGTH.size))
    if length > _MOST:
        raise Unclear
    groups = unpack(_whole(connection, length))
    if len(groups) != GROUPS:
        raise Unclear
    return Request(*groups)


def limits() -> list[bytes]:
    """This process's limits: resource, soft and hard limit each."""
    return [b"%d %d %d" % (number, *resource.getrlimit(number)) for number in _RESOURCES]


def say_ready(connection: socket.socket) -> None:
    """All of it is here; with a descriptor of this process, by which it is sent signals.

    Raises:
        OSError: nobody hears it.
    """
    process = os.pidfd_open(os.getpid())
    try:
        socket.send_fds(connection, [READY], [process])
    finally:
        os.close(process)


def hear_ready(connection: socket.socket) -> int:
    """The descriptor of the process that has all of it.

    Raises:
        Unclear: something else was said, or the connection has ended.
        OSError: nothing was.
    """
    said, (process, *_), _, _ = socket.recv_fds(connection, len(READY), 1)
    if said != READY:
        raise Unclear
    return process


def expect(connection: socket.socket, word: bytes) -> None:
    """Wait for this word and no other.

    Raises:
        Unclear: it is another, or the end.
        OSError: it did not come.
    """
    if _whole(connection, len(word)) != word:
        raise Unclear


def tell_end(connection: socket.socket, status: int) -> None:
    """Say how the child ended; nobody may be there to hear it."""
    try:
        connection.sendall(_STATUS.pack(status))
    except OSError:
        return


def hear_end(connection: socket.socket) -> int | None:
    """How the child ended; None where nobody is left who could tell."""
    try:
        return int(_STATUS.unpack(_whole(connection, _STATUS.size))[0])
    except (OSError, Unclear):
        return None


def is_ours(connection: socket.socket, user: int, group: int) -> bool:
    """Whether the process at the other end belongs to this user and group."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(told)[1:] == (user, group)


def _whole(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 16))
        if not part:
            raise Unclear
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
