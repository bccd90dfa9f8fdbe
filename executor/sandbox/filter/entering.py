"""The filter at rung `landlock`, and how much of it this machine can have.

What becomes of unix sockets there: `judged` by address; `refused` where the kernel does not ask, or nobody may answer;
`open` where a filter cannot be had at all.
"""

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from executor.sandbox import kernel
from executor.sandbox.filter import judge
from executor.sandbox.filter.bpf import program
from executor.sandbox.filter.installing import install, install_judged

_PATIENCE = 5  # seconds for one try, which takes some milliseconds


def enter(network: str, unix_sockets: str, channel: int | None) -> None:
    """Put the filter of rung `landlock` in force. Needs `kernel.forbid_new_privileges`; comes last.

    Args:
        network: `full` or `none`.
        unix_sockets: what `probe` returned.
        channel: to the judge, if they are judged; see `judge.start`.

    Raises:
        OSError: the kernel refused it, or the judge is gone.
    """
    if unix_sockets == "judged":
        if channel is None:
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
        judge.hand_over(channel, install_judged(program("landlock", network)))
    elif unix_sockets == "refused":
        install(program("landlock", network, unix_sockets))


def probe() -> str:
    """Find out what can be had, by trying it in forks."""
    for outcome, attempt in (("judged", _judged), ("refused", _refused)):
        if _in_fork(attempt):
            return outcome
    return "open"


def _refused() -> bool:
    kernel.forbid_new_privileges()
    enter("full", "refused", None)
    return _error_of_connecting() == errno.EACCES


def _judged() -> bool:
    """Have a connection judged that nobody answers: the judge has to take the socket and to read its address."""

    def work(channel: int, _: int) -> NoReturn:
        kernel.set_dumpable(True)  # as a run is once its program has started; the worker is not
        kernel.forbid_new_privileges()
        enter("full", "judged", channel)
        os._exit(_error_of_connecting() != errno.ENOENT)

    reading, writing = os.pipe()
    judge.start(["/"], None, writing, (), work)
    os.close(writing)
    return os.read(reading, 4) == bytes(4)


def _error_of_connecting() -> int:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            return one.connect_ex("/sealrun-nothing-here")
    except OSError as error:
        return error.errno or 0


def _in_fork(attempt: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
            signal.alarm(_PATIENCE)  # dies of it, and with it who it has started
            os._exit(not attempt())
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
