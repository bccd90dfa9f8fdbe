"""The first process of a box: it makes the box, starts the run's first process in it, and collects whoever dies.

It is forked from a process that holds nothing of a run, and before anybody knows which run it will be. What the run is
to have comes later, in one message; then it enters the run's limits, gives up its rights, closes the channel and starts
the run's first process. The kernel ends all other processes of the box with it, and it ends with its supervisor.

Nothing of a run, and no fork of anything of a run, ever has what this process has until then.
"""

import contextlib
import marshal
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from executor.sandbox import confinement, filter, kernel, passing
from executor.sandbox.box import namespaces, rights, root
from executor.sandbox.fork import place_of
from executor.sandbox.limits import Entry

_DESCRIPTORS = 32
_STATUS = struct.Struct("=i")
_PASSED_ON = (signal.SIGINT, signal.SIGTERM)
_UNLIMITED = Entry()
_OPTIONAL = {"ipc": namespaces.NEWIPC, "uts": namespaces.NEWUTS}

Start = Callable[[Mapping[str, Any], Sequence[int], int], int]
"""Starts the run's first process and returns its id, with the document and the descriptors that came for it, the first
of which is for words about what fails; the last argument is a descriptor that must not reach it."""


@dataclass(frozen=True)
class Box:
    """A box as its supervisor sees it: its first process, and the channel that it listens to."""

    pid: int
    control: socket.socket
    parts: tuple[str, ...]
    """Those it is made of."""

    def go(
        self, view: confinement.View, document: Mapping[str, Any], descriptors: Sequence[int], entry: Entry = _UNLIMITED
    ) -> None:
        """Say what the box is to hold and what its run is to do; it is told once.

        Args:
            view: what the run may reach.
            document: for the work; what marshal takes.
            descriptors: a pipe for words about what fails, one for the run's wait status, then those of the work.
            entry: the run's limits.

        Raises:
            OSError: the box is gone.
        """
        memory = os.memfd_create("sealrun-box", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(memory), "wb") as file:
                file.write(marshal.dumps({"view": view.to_json(), "work": document, "entry": entry.to_json()}, 2))
            passing.send_fds(self.control, b"go", [memory, *descriptors, *entry.doors])
        finally:
            os.close(memory)
            self.control.close()

    def give_up(self) -> None:
        """End it, as there is no run for it."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def make(parts: Sequence[str], start: Start) -> Box:
    """Fork the first process of a box, which goes about making what every run has.

    Args:
        parts: what this machine grants, see `parts.granted`.
        start: starts the run's first process.

    Raises:
        OSError: the kernel, or this machine's policy, refuses the namespaces.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        uid, gid = os.geteuid(), os.getegid()
        flags = namespaces.NEWNS | namespaces.NEWPID | (namespaces.NEWUSER if uid else 0)
        for part, flag in _OPTIONAL.items():
            flags |= flag if part in parts else 0
        pid = namespaces.clone(flags)
        if pid:
            return Box(pid, ours, tuple(parts))
        try:
            _serve(theirs.detach(), partial(_skeleton, parts, (uid, gid) if uid else None), start)
        finally:
            os._exit(70)


def status_of(pipe: int) -> int | None:
    """The wait status of a run's first process, from the pipe that the box writes it to; None if it had no time to."""
    data = os.read(pipe, _STATUS.size)
    return int(_STATUS.unpack(data)[0]) if len(data) == _STATUS.size else None


def forked(work: Callable[[Mapping[str, Any], Sequence[int]], NoReturn]) -> Start:
    """A fork that does some work, for all that is more than to start a program."""

    def start(document: Mapping[str, Any], descriptors: Sequence[int], kept: int) -> int:
        if main := os.fork():
            return main
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        os.close(kept)
        work(document, descriptors)

    return start


def _serve(control: int, skeleton: Callable[[], None], start: Start) -> NoReturn:
    trouble = -1
    step = "make its box"
    problem: OSError | None = None
    try:
        os.setsid()
        kernel.signalled_at_parents_death(signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        try:
            _close_all_but(control)
            skeleton()
        except OSError as error:  # said as soon as there is somebody to say it to
            problem = error
        channel = socket.socket(fileno=control)
        said, descriptors, _, _ = socket.recv_fds(channel, 16, _DESCRIPTORS)
        if not said or len(descriptors) < 2:
            os._exit(0)  # the supervisor has ended, or has no use for a box
        memory, trouble, status, *others = descriptors
        if problem is not None:
            raise problem
        with os.fdopen(memory, "rb") as file:
            file.seek(0)
            told = marshal.load(file)
        view = confinement.View.from_json(told["view"])
        entry = Entry.from_json(told["entry"], others)
        _limit(entry, view)
        step = "enter its sandbox"
        root.complete(view)
        channel.close()
        _give_up(view, status)
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # the kernel drops what nobody handles in a first process
        step = "start its first process"
        _collect(start(told["work"], [trouble, *others[: len(others) - len(entry.doors)]], status), status)
    except OSError as error:
        where = f" {os.fsdecode(error.filename)}" if error.filename else ""
        _say(trouble, f"could not {step}:{where} {error.strerror}")
    except BaseException as error:  # noqa: BLE001  # ends in _exit; its text may quote what this process was told
        _say(trouble, f"could not {step}: {type(error).__name__}{place_of(error)}")
    os._exit(127)


def _limit(entry: Entry, view: confinement.View) -> None:
    """Enter what this run may have at most, and see no more of the groups and of the network than it may."""
    entry.enter()
    for door in entry.doors:
        os.close(door)
    if "cgroup" in view.parts:
        kernel.unshare(namespaces.NEWCGROUP)  # now, when it is in the group that is to be its root
    if view.network == "none":
        kernel.unshare(namespaces.NEWNET)
        namespaces.loopback_up()


def _skeleton(parts: Sequence[str], user: tuple[int, int] | None) -> None:
    if user is not None:
        namespaces.map_user(*user)
    root.begin(parts)
    if user is not None and "proc" in parts:
        # Of this user namespace alone. A worker that is root has none of its own: there this file is the machine's.
        namespaces.allow_no_more(f"{root.NEW}/proc")


def _give_up(view: confinement.View, status: int) -> None:
    """Everything that goes beyond an ordinary program's rights, for good."""
    kernel.own_session_keyring()
    rights.give_up(view.uid)
    kernel.harden()  # anew, as a change of user id undoes it
    kernel.forbid_new_privileges()
    kernel.signalled_at_parents_death(signal.SIGKILL)  # a change of user has cleared it
    reader = select.poll()
    reader.register(status, 0)
    if reader.poll(0):  # whoever waits for it has died before that
        os._exit(0)
    filter.scope_only()
    filter.install(filter.program("namespace", view.network))


def _collect(main: int, status: int) -> NoReturn:
    """Collect whoever dies in the box, tell how the run's first process ended, and end when nobody is left."""
    _close_all_but(status)
    for number in _PASSED_ON:
        signal.signal(number, _pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    over = os.pidfd_open(main)
    waiting = select.poll()
    for descriptor in (over, woken):
        waiting.register(descriptor, select.POLLIN)
    collected = _reaped(main, status)  # who died before anything listened for it
    while True:
        ready = dict(waiting.poll())
        if woken in ready:
            os.read(woken, 1 << 12)
        collected = _reaped(main, status) or collected
        if over in ready:
            waiting.unregister(over)
            if not collected:
                # It has ended, and whoever traces it keeps it from being collected: its end is theirs, too.
                os.kill(-1, signal.SIGKILL)


def _pass_on(number: int, _: object) -> None:
    """Tell everybody in the box what its supervisor has to say, where that does not see them."""
    for one in (number, signal.SIGCONT):
        with contextlib.suppress(OSError):
            os.kill(-1, one)


def _reaped(main: int, status: int) -> bool:
    """Collect who is dead, and tell the status of `main` if it is among them; True if it is. Ends with the last."""
    found = False
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(0)
        if pid == 0:
            return found
        if pid == main:
            found = True
            with contextlib.suppress(OSError):
                os.write(status, _STATUS.pack(ended))
            os.close(status)


def _close_all_but(kept: int) -> None:
    """Close everything this process was forked with: standard streams lead to nowhere, the rest is gone."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    kernel.close_descriptors([kept])


def _say(trouble: int, text: str) -> None:
    if trouble >= 0:
        with contextlib.suppress(OSError):
            os.write(trouble, text.encode(errors="replace")[:4096])
