"""Commands through a warm process: as if each had been started anew."""

import json
import os
import resource
import signal
import subprocess
from collections.abc import Sequence

import pytest

from tests.executor.cli.conftest import PATIENCE
from tests.executor.cli.warm.conftest import Reporting, Warm
from tests.processes import _stat, eventually, is_alive


def test_a_cold_command_leaves_a_warm_process_and_the_next_one_goes_through_it(warm: Warm) -> None:
    """`run` and `runs` do, and nothing else does: what seals a value, or asks for one, starts cold."""
    assert warm.is_used("runs", "list")
    assert warm.is_used("run", "-p", "shop", "--help")
    for words in (("secret", "list"), ("variable", "list"), ("project", "list"), ("--version",), ("runs",)):
        assert warm.is_used(*words) is (words == ("runs",)), words
    for environ in (
        {"SEALRUN_WARM_SECONDS": "0"},
        {"KOMBU_LOG_DEBUG": "1"},
        {"PYTHONOPTIMIZE": "1"},
        {"LD_BIND_NOW": "1"},
    ):
        assert not warm.is_used("runs", "list", environ=environ), environ


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "list", "--json"),
        pytest.param(("runs", "show", "nope"), marks=pytest.mark.long),
        pytest.param(("runs", "--help"), marks=pytest.mark.long),
        ("run",),
        ("run", "--json", "-p", "shop", "missing.py"),
        pytest.param(("run", "-p", "nowhere", "--", "true"), marks=pytest.mark.long),
        pytest.param(("runs", "list", "--limit", "no"), marks=pytest.mark.long),
    ],
)
def test_each_command_says_the_same_bytes(warm: Warm, words: Sequence[str]) -> None:
    """Exit code, stdout and stderr are those of a cold command."""
    through = warm.cli.raw(*words)
    cold = warm.cli.raw(*words, environ={"SEALRUN_WARM_SECONDS": "0"})

    assert (through.returncode, through.stdout, through.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert warm.is_used("runs", "list")


def test_a_command_finds_what_it_would_find_in_a_process_of_its_own(reporting: Reporting) -> None:
    """Environment, words, folder, umask, signals, limits, time zone, streams: and no descriptor more."""

    def prepare() -> None:
        os.umask(0o037)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    for environ in (
        {},
        {"TZ": "Asia/Kolkata", "ODD\udcff": "\udcfe", "EMPTY": "", "PYTHONUNBUFFERED": "1", "COLUMNS": "77"},
    ):
        options = {"environ": environ, "preexec_fn": prepare, "input": "from\nstdin"}
        cold, through = (
            json.loads(one("run", "see", "a b", **options).stdout) for one in (reporting.cold, reporting.through)
        )
        assert through == cold


def test_a_command_ends_as_it_would_in_a_process_of_its_own(reporting: Reporting) -> None:
    """Exit codes, signals, and what Python makes of an exception."""
    for words in (
        ("exit", "0"),
        ("exit", "7"),
        ("exit", "256"),
        ("raise",),
        ("die", "15"),
        ("die", "2"),
        ("die", "9"),
        ("die", "6"),
    ):
        cold, through = reporting.cold("run", *words), reporting.through("run", *words)
        assert (through.returncode, through.stderr[-40:]) == (cold.returncode, cold.stderr[-40:]), words


def _waiting(reporting: Reporting) -> "tuple[subprocess.Popen[str], int]":
    cli = reporting.warm.cli
    # Not a session of its own, as the kernel stops nobody there by Ctrl-Z.
    command = subprocess.Popen(
        cli.command("run", "wait"), cwd=cli.jobs, env=cli.environ, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert command.stdout is not None
    return command, int(command.stdout.readline())


def test_signals_reach_the_command_and_stop_it(reporting: Reporting) -> None:
    """Those that it handles, Ctrl-Z and fg; and each that ends it ends the process that was typed."""
    command, child = _waiting(reporting)
    assert child != command.pid

    command.send_signal(signal.SIGUSR1)
    command.send_signal(signal.SIGTSTP)
    eventually(lambda: _state(child) == _state(command.pid) == "T", PATIENCE, "both have stopped")
    command.send_signal(signal.SIGCONT)
    eventually(lambda: "T" not in (_state(child), _state(command.pid)), PATIENCE, "both go on")
    command.send_signal(signal.SIGWINCH)
    assert command.stdout is not None
    assert command.stdout.readline().split() == [str(int(signal.SIGUSR1)), str(int(signal.SIGWINCH))]
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=PATIENCE)
    assert command.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
        pytest.param(signal.SIGQUIT, marks=pytest.mark.long),
        signal.SIGKILL,
    ],
)
def test_a_command_does_not_outlive_who_typed_it(reporting: Reporting, number: int) -> None:
    """Whatever ends the one ends the other."""
    command, child = _waiting(reporting)

    command.send_signal(number)
    command.communicate(timeout=PATIENCE)

    assert command.returncode == -number
    eventually(lambda: not is_alive(child), PATIENCE, "the child has ended")


def test_a_question_is_asked_on_the_terminal_of_the_command(reporting: Reporting) -> None:
    """It reads what is typed there; Ctrl-C there ends it by SIGINT."""
    terminal = reporting.warm.cli.terminal("run", "ask")
    terminal.until("well?")
    terminal.type("quite\n")
    terminal.until("quite True")
    assert terminal.ended() == 0

    terminal = reporting.warm.cli.terminal("run", "ask")
    terminal.until("well?")
    terminal.type("\x03")
    assert terminal.ended() == -signal.SIGINT


def test_the_warm_process_has_no_terminal_and_no_stream_of_a_command(warm: Warm) -> None:
    """A pipeline ends when its command ends."""
    process = warm.left()
    links = {number: os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")}

    assert links["0"] == os.devnull
    assert {link.split(":")[0] for link in links.values()} <= {
        os.devnull, "socket", "anon_inode",
        str(warm.folder), str(warm.folder / "log"), *map(str, warm.folder.glob("*.lock"))
    }  # fmt: skip


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""
