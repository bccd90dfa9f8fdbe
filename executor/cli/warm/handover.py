"""Hand a command over to a warm process, and stand for it where it was typed: its signals, its end.

Whatever is not as expected before GO is no error: the command is started cold.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Collection

from executor.cli.warm import circumstances, place, wire

TYPE_CHECKING = False  # as typing's, which would have to be imported, and `re` with it
if TYPE_CHECKING:
    from typing import NoReturn

_PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGCONT, signal.SIGWINCH,
)  # fmt: skip
_KILLED = 128 + signal.SIGKILL


def facts() -> list[bytes] | None:
    """The circumstances of this command; None where no warm process can have the same."""
    found = circumstances.of_interpreter()
    try:
        return found and [*found, *circumstances.of_process()]
    except OSError:
        return None


def hand_over(home: str, found: list[bytes]) -> None:
    """Have this command carried out by a warm process, and end as it does; return where there is none for it."""
    if _in_background():
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_PASSED_ON, signal.SIGTSTP))  # until there is who gets them
    try:
        taken = _taken(home, found, before)
        if taken is not None:
            _stand_for(*taken, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_background() -> bool:
    """Whether the terminal is another job's: reading it has to stop this process, and stops no child elsewhere."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        return False  # it is no terminal, or not the one that this process is controlled from


def _taken(home: str, found: list[bytes], held: Collection[int]) -> tuple[socket.socket, int] | None:
    """The connection to who has taken the command, and a descriptor of that process."""
    with contextlib.ExitStack() as opened:
        try:
            folder = opened.enter_context(place.opened(home))
            connection = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.settimeout(wire.PATIENCE)
            connection.connect(place.address(folder, circumstances.name_of(found)))
            if not wire.is_ours(connection, os.geteuid(), os.getegid()):
                return None
            here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, here)
            for number in range(3):
                os.fstat(number)  # a stream that is closed cannot be handed over
            socket.send_fds(connection, [place.word(folder)], [0, 1, 2, here])
            wire.send(connection, _request(found, held))
            child = wire.hear_ready(connection)
            connection.sendall(wire.GO)
        except (OSError, ValueError, KeyError, place.Closed, wire.Unclear):
            return None
        connection.settimeout(None)
        return connection.dup(), child


def _request(found: list[bytes], held: Collection[int]) -> wire.Request:
    known = circumstances.status()
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return wire.Request(
        circumstances=found,
        arguments=[*map(os.fsencode, sys.argv)],
        environment=[b"%s=%s" % pair for pair in os.environb.items()],
        path=[*map(os.fsencode, sys.path)],
        streams=[
            str(word).encode()
            for one in streams
            for word in (one.encoding, one.errors, "unbuffered" * getattr(one, "write_through", False))
        ],
        state=[known[b"Umask"], known[b"SigIgn"], *(b"%d" % number for number in held)],
        limits=wire.limits(),
    )


def _stand_for(connection: socket.socket, child: int, held: Collection[int]) -> "NoReturn":
    """Pass on what is sent to this process, and end as the child ends."""

    def pass_on(number: int, _: object = None) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, number)

    def stop(*_: object) -> None:
        pass_on(signal.SIGSTOP)  # it has no terminal, and the kernel does not stop such a one by SIGTSTP
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, stop)
        pass_on(signal.SIGCONT)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    ended = wire.hear_end(connection)
    if ended is None:
        os.write(2, b"sealrun: the process that carried this command out was killed\n")
        os._exit(_KILLED)
    if os.WIFSIGNALED(ended):
        _die_of(os.WTERMSIG(ended))
    os._exit(os.waitstatus_to_exitcode(ended))


def _die_of(number: int) -> "NoReturn":
    """End by the same signal, so that a shell sees what it would have seen."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left what core there is to be
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)
