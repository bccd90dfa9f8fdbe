"""A process with AWS KMS's client and a TLS context ready, from which openers are forked.

botocore takes a third of a second and some thirty megabytes to load, so the zygote does not load it: its supervisors
stay small. The template is the zygote's child, without connection, thread, credential or environment. An opener forked
from it becomes the zygote's child before the zygote goes on, so that the end of the template does not reach it.
"""

import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable

from executor.boundary.wire import readable
from executor.sandbox import kernel, passing
from executor.sandbox.fork import fork
from executor.supervisor.child import adopt
from secretstore.key_service import KeyAccess
from secretstore.keyring import warm_up

_PATIENCE = 20.0  # seconds for a fork, which at first includes loading

Work = Callable[[socket.socket, socket.socket], int]


class Template:
    """The zygote's end of the template."""

    def __init__(self, access: KeyAccess, work: Work) -> None:
        self._access = access
        self._work = work
        self._control: socket.socket | None = None
        self.pid: int | None = None

    def start(self) -> int:
        """Start it and return its process id; it loads on its own."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = fork(lambda: _serve(theirs, self._access, self._work), {theirs.fileno()})
        return self.pid

    def opener(self, first: int, second: int) -> int:
        """Have an opener forked with these two descriptors; return the id of this new child of ours.

        Raises:
            OSError: the template is gone, hangs, or cannot fork.
        """
        if self._control is None:
            raise OSError
        passing.send_fds(self._control, b"fork", [first, second])
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
        """Kill one that hangs; the zygote reaps it."""
        self.stop()
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _serve(control: socket.socket, access: KeyAccess, work: Work) -> int:
    kernel.harden()
    kernel.name_process("sealrun-kms")
    with contextlib.suppress(Exception):  # each opener meets the same error and reports it to its run
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
    """Fork an opener and send its process id, 0 on failure."""
    try:
        # The process between ends at once, so its child falls to the zygote, a subreaper.
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
