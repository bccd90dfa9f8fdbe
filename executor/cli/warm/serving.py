"""A warm process at its work: a socket, and a child for each command that comes by it."""

import contextlib
import os
import select
import signal
import socket
import time
from typing import NamedTuple, NoReturn

from executor.cli.warm import circumstances, place, wire
from executor.cli.warm.command import NOT_BEGUN, carry_out
from executor.cli.warm.installed import Installed
from executor.sandbox.kernel import die_with_parent

_LOOK = 2.0  # seconds between two looks whether it should end
_QUIET = 0.1  # seconds without anything to do before the next child is forked ahead
_AT_ONCE = 32
"""Commands at a time: more of them start cold."""


class _Child(NamedTuple):
    """A child, and the connection to where its command was typed; while it waits for one, to the child itself."""

    process: int
    descriptor: int
    connection: socket.socket


class Template:
    """A socket, and the commands that came by it and are not over."""

    def __init__(self, folder: int, facts: list[bytes], lock: int, installed: Installed) -> None:
        """Listen; `lock` is let go of when others may take this one's place."""
        self._folder, self._facts, self._lock, self._installed = folder, facts, lock, installed
        self._name = circumstances.name_of(facts)
        self._commands: dict[int, _Child] = {}
        self._spare: _Child | None = None
        self._poll = select.poll()
        os.umask(0o077)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=folder)  # of one that was killed
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(place.address(folder, self._name))
        os.chmod(self._name, 0o600, dir_fd=folder)
        self._listener.listen(_AT_ONCE)
        self._poll.register(self._listener, select.POLLIN)
        self._own = self._socket_file()

    def serve(self, seconds: float) -> None:
        """Take commands until none has come for so many seconds, or this one is not wanted any more."""
        listening, since = True, time.monotonic()
        while listening or self._commands:
            pause = min(_LOOK, seconds) if self._spare or not listening else _QUIET
            events = self._poll.poll(pause * 1000)
            # The listener comes first: no number of a descriptor is used again before its events are over.
            for descriptor, _ in events:
                if descriptor == self._listener.fileno():
                    listening = self._installed.unchanged() and self._take()
                elif descriptor in self._commands:
                    self._look_at(self._commands[descriptor], descriptor)
                since = time.monotonic()
            idle = not self._commands and time.monotonic() - since >= seconds
            listening = listening and not idle and self._socket_file() == self._own
            if not listening and self._lock >= 0:
                self._retire()
            elif listening and not events and self._spare is None:
                self._spare = self._fork()

    def _take(self) -> bool:
        """Give the next command to a child."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return True  # it has gone again
        with connection:
            if len(self._commands) >= 2 * _AT_ONCE or not wire.is_ours(connection, os.geteuid(), os.getegid()):
                return True
            child, self._spare = self._spare or self._fork(), None
            with child.connection as channel, contextlib.suppress(OSError):  # one that is dead is told of below
                socket.send_fds(channel, [b"!"], [connection.fileno()])
            command = child._replace(connection=connection.dup())
        self._commands[command.descriptor] = self._commands[command.connection.fileno()] = command
        self._poll.register(command.descriptor, select.POLLIN)
        self._poll.register(command.connection, select.POLLRDHUP)
        with contextlib.suppress(OSError):
            os.utime(self._name, dir_fd=self._folder)  # the one that was used last stays longest
        return True

    def _fork(self) -> _Child:
        """A child that waits for a command: there ahead of time, as a fork takes longer than all else before GO."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            ours.close()
            self._wait_for_command(theirs, parent)
        theirs.close()
        return _Child(process, os.pidfd_open(process), ours)

    def _wait_for_command(self, channel: socket.socket, parent: int) -> NoReturn:
        try:
            die_with_parent(signal.SIGKILL, parent)
            self._listener.close()
            os.close(self._lock)
            for other in {*self._commands.values()}:
                other.connection.close()
                os.close(other.descriptor)
            with channel:
                _, (number,), _, _ = socket.recv_fds(channel, 1, 1)
            connection = socket.socket(fileno=number)
            os.set_inheritable(number, False)
            carry_out(connection, self._folder, self._facts)
        finally:
            os._exit(NOT_BEGUN)

    def _look_at(self, command: _Child, descriptor: int) -> None:
        if descriptor != command.descriptor:  # whoever typed it has gone
            signal.pidfd_send_signal(command.descriptor, signal.SIGKILL)
            self._poll.unregister(descriptor)
            return
        _, status = os.waitpid(command.process, 0)
        wire.tell_end(command.connection, status)
        for one in (command.descriptor, command.connection.fileno()):
            with contextlib.suppress(KeyError):
                self._poll.unregister(one)
            del self._commands[one]
        os.close(command.descriptor)
        command.connection.close()

    def _retire(self) -> None:
        """Let another one take this one's place. What waits at the socket finds it closed, and starts cold."""
        if self._socket_file() == self._own:
            os.unlink(self._name, dir_fd=self._folder)
        self._poll.unregister(self._listener)
        self._listener.close()
        os.close(self._lock)
        self._lock = -1
        if self._spare is not None:
            self._spare.connection.close()  # by which it ends
            os.waitpid(self._spare.process, 0)
            os.close(self._spare.descriptor)
            self._spare = None

    def _socket_file(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return None
        return found.st_dev, found.st_ino
