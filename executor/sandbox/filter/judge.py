"""The process that decides on a run's connections at rung `landlock`: one per run and above it, without secrets.

A run's filter lets the kernel ask here for each connect(2). The judge takes the very socket, reads the address once,
judges by what was taken, and connects that socket itself: nothing that the run changes meanwhile has a say. It never
lets the call go on, which the kernel would do with a descriptor and an address read anew.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from executor.sandbox import kernel, passing, tree
from executor.sandbox.filter import addresses, notices
from executor.sandbox.filter.notices import Notice
from executor.sandbox.fork import fork

_AT_ONCE = 256  # connections that wait for their other end; the rest is told to come again
_ADDRESS = 128  # bytes of the longest address
_SLOW = 0.05  # seconds after which a connection that waits gives way to signals
_SO_COOKIE = 57
_REMEMBERED = 256
_STACK = 256 << 10

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_KEEPCAPS = 8
_CAP_SYS_PTRACE = 1 << 19
_CAPABILITY_VERSION = 0x20080522


Work = Callable[[int, int], NoReturn]
"""What the run's first process does, with the descriptor for `hand_over` and the judge's process id."""


def start(folders: Sequence[str], uid: int | None, status: int, keep: Collection[int], work: Work) -> int:
    """Fork the judge of one run, and from it the run's first process; return the judge's process id.

    The run is below the judge, as many kernels let only those above a process look into it. The judge collects who
    dies there, and ends when nobody is left, or with the process that has called this.

    Args:
        folders: the run's own, in which its sockets may lie.
        uid: the user id lent to the run.
        status: a pipe that receives the wait status of the run's first process, a C `int`; for the judge to close.
        keep: descriptors for the work.
        work: what the run's first process does.
    """
    parent = os.getpid()
    return fork(lambda: _serve(folders, uid, status, work, parent), {status, *keep})


def hand_over(channel: int, listener: int) -> None:
    """Called in the run's process, which then has neither any more.

    Raises:
        OSError: the judge is gone, so that no connection could be made.
    """
    with socket.socket(fileno=channel) as judge:
        try:
            passing.send_fds(judge, b"l", [listener], socket.MSG_NOSIGNAL)
        finally:
            os.close(listener)


def _serve(folders: Sequence[str], uid: int | None, status: int, work: Work, parent: int) -> int:
    os.setsid()
    kernel.become_subreaper()
    wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    ours, theirs = socket.socketpair()
    judge = os.getpid()
    main = os.fork()
    if main == 0:
        try:
            work(theirs.detach(), judge)
        finally:
            os._exit(70)
    kernel.close_descriptors([ours.fileno(), status, wake, wake_write])
    theirs.detach()
    kernel.name_process("sealrun-judge")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _pass_on)
    if uid is not None:
        _become(uid)
    kernel.harden()  # anew, as a change of user id undoes it
    kernel.forbid_new_privileges()
    kernel.die_with_parent(signal.SIGKILL, parent)
    with ours:
        _, given, _, _ = socket.recv_fds(ours, 1, 1)
    threading.stack_size(_STACK)
    listener = given[0] if given else None
    _Judging(listener, addresses.own_folders(folders), main, status).go_on(wake)
    return 0


def _pass_on(number: int, _: object) -> None:
    """Tell everybody below what the supervisor has to say, where that does not see them."""
    for pid in list(tree.descendants()):
        tree.send(pid, number)
        tree.send(pid, signal.SIGCONT)


def _become(uid: int) -> None:
    """Take the run's user id, which its listeners see, and keep the one right that reading of it can need."""
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    for right in (_CAP_SYS_PTRACE, 0):
        if _libc.capset(header, struct.pack("=6I", right, right, 0, 0, 0, 0)) == 0:
            break


class _Judging:
    """The judge's loop, and what it knows of the connections that are on their way."""

    def __init__(self, listener: int | None, folders: Sequence[addresses.Folder], main: int, status: int) -> None:
        self._listener = listener
        self._main = main
        self._status: int | None = status
        self._folders = folders
        self._waiting: dict[int, tuple[Notice, float]] = {}
        # Sockets connected for a call that a signal has interrupted: it is made again, and then has succeeded.
        self._untold: dict[bytes, None] = {}

    def go_on(self, wake: int) -> None:
        """Answer and collect until nobody is left below."""
        poll = select.poll()
        ended = os.pidfd_open(self._main)
        for fd in (wake, ended, self._listener):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while self._collect():
            for fd, events in poll.poll(_SLOW * 1000 if self._waiting else None):
                if fd == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                elif fd == ended:
                    poll.unregister(fd)
                    if self._collect() and self._status is not None:
                        self._tell(_status_although_traced(self._main))
                elif not events & select.POLLIN:
                    poll.unregister(fd)  # the last process under the filter is gone
                elif (notice := notices.receive(fd)) is not None:
                    self._take(notice)
            self._give_way()

    def _collect(self) -> bool:
        """Collect who has died; False if nobody is left."""
        while True:
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main:
                self._tell(ended)

    def _tell(self, ended: int) -> None:
        """Tell the supervisor how the run's first process has ended, once."""
        if self._status is not None:
            with contextlib.suppress(OSError):
                os.write(self._status, struct.pack("=i", ended))
            os.close(self._status)
            self._status = None

    def _take(self, notice: Notice) -> None:
        """Take socket and address; connect here what cannot wait, and in a thread of its own what can."""
        number, address, length = notice.arguments[:3]
        taken = -1
        try:
            taken = notice.descriptor(_as_int(number))
            if not 0 <= _as_int(length) <= _ADDRESS:
                raise OSError(errno.EINVAL, "")
            given = notice.memory(address, _as_int(length))
            if not notice.still_waits():
                raise OSError(errno.EINTR, "")
            if fcntl.fcntl(taken, fcntl.F_GETFL) & os.O_NONBLOCK:
                self._connect(notice, taken, given)
            elif len(self._waiting) >= _AT_ONCE:
                raise OSError(errno.EAGAIN, "")
            else:
                self._waiting[notice.id] = (notice, time.monotonic() + _SLOW)
                mine, taken = taken, -1
                threading.Thread(target=self._connect_slowly, args=(notice, mine, given), daemon=True).start()
        except (OSError, RuntimeError) as error:
            self._waiting.pop(notice.id, None)
            notice.answer((error.errno if isinstance(error, OSError) else None) or errno.EACCES)
        finally:
            if taken >= 0:
                os.close(taken)

    def _connect_slowly(self, notice: Notice, taken: int, address: bytes) -> None:
        try:
            self._connect(notice, taken, address)
        finally:
            os.close(taken)
            self._waiting.pop(notice.id, None)

    def _connect(self, notice: Notice, taken: int, address: bytes) -> None:
        try:
            cookie, error = self._connected(notice, taken, address)
        except OSError as failed:
            cookie, error = b"", failed.errno or errno.EACCES
        if error == errno.EISCONN and cookie in self._untold:
            del self._untold[cookie]
            error = 0
        if not notice.answer(error) and error == 0:
            self._untold[cookie] = None
            if len(self._untold) > _REMEMBERED:
                del self._untold[next(iter(self._untold))]

    def _connected(self, notice: Notice, taken: int, address: bytes) -> tuple[bytes, int]:
        with contextlib.closing(socket.socket(fileno=os.dup(taken))) as same:
            cookie = same.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
            family = same.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
        if family == socket.AF_UNIX:
            return cookie, addresses.connect(taken, address, self._folders, notice.thread)
        return cookie, addresses.call_connect(taken, address)

    def _give_way(self) -> None:
        """Interrupt calls that wait for their connection and have a signal: that goes on without them, as connect's."""
        now = time.monotonic()
        for notice, since in list(self._waiting.values()):
            if now >= since and notice.has_signal():
                notice.answer(errno.EINTR)


def _status_although_traced(pid: int) -> int:
    """The wait status of a dead process that another one traces, and so keeps from being collected."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[49])  # exit_code, field 52 in proc(5)


def _as_int(argument: int) -> int:
    """An argument as the kernel takes it for an `int`."""
    return ctypes.c_int(argument & 0xFFFFFFFF).value
