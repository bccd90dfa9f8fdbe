"""A process that has AWS KMS's client and a TLS context ready, for openers to be forked from.

botocore takes a third of a second and some thirty megabytes to load, so the zygote itself stays without it: what it
forks for supervisors stays small. The template is the zygote's child and has no connection, thread, credential or
environment. An opener forked from it becomes the zygote's own child before the zygote goes on, so that nothing that
happens to the template reaches an opener at work.
"""

import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable

from executor.boundary.wire import readable
from executor.sandbox import kernel
from executor.sandbox.fork import fork
from executor.supervisor.child import adopt
from secretstore.key_service import KeyAccess
from secretstore.keyring import warm_up

_PATIENCE = 20.0  # seconds for a fork, and before the first for what it needs to be loaded

Work = Callable[[socket.socket, socket.socket], int]


class Template:
    """The zygote's end of it."""

    def __init__(self, access: KeyAccess, work: Work) -> None:
        self._access = access
        self._work = work
        self._control: socket.socket | None = None
        self.pid: int | None = None

    def start(self) -> int:
        """Start it, and return its process id; it gets ready by itself."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = fork(lambda: _serve(theirs, self._access, self._work), {theirs.fileno()})
        return self.pid

    def opener(self, first: int, second: int) -> int:
        """Have an opener forked that holds these two descriptors; its process id, as a child of this process.

        Raises:
            OSError: the template is gone, does not answer, or cannot fork.
        """
        if self._control is None:
            raise OSError
        socket.send_fds(self._control, [b"fork"], [first, second])
        if not readable(self._control.fileno(), _PATIENCE):
            raise TimeoutError
        answer = self._control.recv(32)
        if not answer:
            raise ConnectionResetError
        if not int(answer):
            raise OSError
        return int(answer)

    def stop(self) -> None:
        """Let it end."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def kill(self) -> None:
        """End one that hangs; the zygote reaps it."""
        self.stop()
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _serve(control: socket.socket, access: KeyAccess, work: Work) -> int:
    kernel.harden()
    kernel.name_process("sealrun-kms")
    with contextlib.suppress(Exception):  # each opener meets the same, and says it to its run
        warm_up(access)
    gc.collect()
    gc.freeze()
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(control, 64, 2)
        except ConnectionResetError:
            return 0
        if not data:
            return 0
        _fork_opener(control, fds, work)
        for fd in fds:
            os.close(fd)


def _fork_opener(control: socket.socket, fds: list[int], work: Work) -> None:
    """Fork an opener and tell its process id, 0 where that fails."""
    try:
        # The one between is gone at once, and what it forked falls to the zygote, a subreaper.
        between = fork(lambda: _between(control, fds, work), {control.fileno(), *fds})
    except OSError:
        control.send(b"0")
        return
    if os.waitpid(between, 0)[1]:
        control.send(b"0")


def _between(control: socket.socket, fds: list[int], work: Work) -> int:
    first, second = fds
    pid = fork(lambda: work(adopt(first), adopt(second)), set(fds))
    control.send(str(pid).encode())
    return 0
