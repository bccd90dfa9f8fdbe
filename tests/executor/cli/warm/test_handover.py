"""Between the command and the warm process: who may, and that nothing is lost or done twice."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.cli.warm import place, wire
from tests.executor.cli.conftest import PATIENCE
from tests.executor.cli.warm.conftest import Reporting, Warm
from tests.processes import children, eventually, is_alive

pytestmark = pytest.mark.long

_FACTS = "import sys; from executor.cli.warm import handover; sys.stdout.buffer.write(b'\\0'.join(handover.facts()))"


def _answer(
    warm: Warm, word: bytes, circumstances: Callable[[list[bytes]], list[bytes]] = lambda found: found
) -> bytes:
    """What is said to a command that is as it has to be but for word and circumstances; it is not told to go."""
    cli = warm.cli
    told = subprocess.run(
        [sys.executable, "-c", _FACTS], env=cli.environ, cwd=cli.jobs, capture_output=True, check=True
    )
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    request = wire.Request(
        circumstances=circumstances(told.stdout.split(b"\0")),
        arguments=[b"sealrun", b"runs", b"list"],
        environment=[b"A=B"],
        path=[b"/"],
        streams=[b"utf-8", b"strict", b""] * 3,
        state=[status["Umask"].encode(), status["SigIgn"].encode()],
        limits=wire.limits(),
    )
    (path,) = warm.sockets()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, open(os.devnull) as nothing:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        folder = os.open("/", os.O_PATH)
        try:
            socket.send_fds(connection, [word], [*[nothing.fileno()] * 3, folder])
        finally:
            os.close(folder)
        with contextlib.suppress(OSError):  # it does not even wait for it
            wire.send(connection, request)
            return connection.recv(len(wire.READY))
        return b""


@pytest.mark.parametrize("word", [b"0" * place.WORD_LENGTH, pytest.param(b"0", marks=pytest.mark.long)])
def test_who_does_not_know_the_word_gets_nothing(warm: Warm, word: bytes) -> None:
    """A run of the same user may be let through to the socket by an older kernel; it cannot read the word."""
    process = warm.left()
    spare = eventually(lambda: children(process), PATIENCE, "a child waits for a command")

    assert _answer(warm, word) != wire.READY

    eventually(lambda: not any(map(is_alive, spare)), PATIENCE, "the child has ended")
    assert _answer(warm, (warm.folder / "word").read_bytes()) == wire.READY


def test_who_is_in_other_circumstances_gets_nothing(warm: Warm) -> None:
    """The socket's name is a hint; what it stands for is compared in full."""
    warm.left()
    word = (warm.folder / "word").read_bytes()

    assert _answer(warm, word, lambda found: [*found[:-1], found[-1] + b"0"]) != wire.READY
    assert _answer(warm, word) == wire.READY


@pytest.mark.parametrize(
    "circumstance", ["namespace", "no_new_privileges", pytest.param("nice", marks=pytest.mark.long)]
)
def test_a_command_that_is_confined_otherwise_starts_cold(warm: Warm, circumstance: str) -> None:
    """It would be carried out beyond its confinement."""
    before = {
        "namespace": ["unshare", "--user", "--map-root-user", "--net"],
        "no_new_privileges": ["setpriv", "--no-new-privs"],
        "nice": ["nice", "-n", "3"],
    }[circumstance]
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip(f"{before[0]} does nothing here")
    cli = warm.cli
    ended = subprocess.run(
        [*before, *cli.command("runs", "list")], env=cli.environ, cwd=cli.folder / "poisoned", capture_output=True
    )
    assert ended.stderr.startswith(b"cold"), ended.stderr


def test_a_folder_that_others_can_reach_is_not_used(warm: Warm) -> None:
    """Neither for a connection nor for a word."""
    warm.left()
    assert warm.is_used("runs", "list")
    warm.folder.chmod(0o750)
    try:
        assert not warm.is_used("runs", "list")
    finally:
        warm.folder.chmod(0o700)


class _Other:
    """Somebody else at the place of the warm process's socket."""

    def __init__(self, path: Path, answer: Callable[[socket.socket], None]) -> None:
        path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer: Callable[[socket.socket], None]) -> None:
        connection, _ = self._listener.accept()
        with connection:
            answer(connection)

    def end(self) -> None:
        self._thread.join(PATIENCE)
        self._listener.close()


def _close(connection: socket.socket) -> None:
    connection.recv(1)


def _say_something_else(connection: socket.socket) -> None:
    socket.send_fds(connection, [b"?" * len(wire.READY)], [connection.fileno()])
    connection.recv(1)


def _take_it_and_vanish(connection: socket.socket) -> None:
    _, descriptors, _, _ = socket.recv_fds(connection, place.WORD_LENGTH, 4)
    for descriptor in descriptors:
        os.close(descriptor)
    wire.receive(connection)
    wire.say_ready(connection)
    wire.expect(connection, wire.GO)


@pytest.mark.parametrize(
    "answer", [pytest.param(_close, marks=pytest.mark.long), _say_something_else, _take_it_and_vanish]
)
def test_a_command_is_neither_lost_nor_done_twice(
    reporting: Reporting, answer: Callable[[socket.socket], None]
) -> None:
    """Until the child has said that it has all of it, the command starts cold; once told to go, never."""
    reporting.start()
    (path,) = reporting.warm.sockets()
    other = _Other(path, answer)
    try:
        ended = reporting.warm.cli.raw("run", "exit", "7", cwd=reporting.warm.cli.folder / "poisoned")
    finally:
        other.end()
        reporting.warm.end()

    if answer is _take_it_and_vanish:
        assert (ended.returncode, ended.stderr) == (
            137,
            b"sealrun: the process that carried this command out was killed\n",
        )
    else:
        assert (ended.returncode, ended.stderr) == (1, b"cold\n")


@pytest.mark.long
def test_a_command_whose_warm_process_is_killed_says_so(reporting: Reporting) -> None:
    """It ends with it, as it would have if it had been killed itself."""
    process = reporting.start()
    cli = reporting.warm.cli
    command = subprocess.Popen(
        cli.command("run", "wait"), env=cli.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    child = int(command.stdout.readline())
    os.kill(process, 9)

    _, said = command.communicate(timeout=PATIENCE)
    assert (command.returncode, said) == (137, "sealrun: the process that carried this command out was killed\n")
    eventually(lambda: not is_alive(child), PATIENCE, "the child has ended")
