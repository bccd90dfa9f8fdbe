"""The run's own process: what it is started with, and what is said where it cannot be."""

import fcntl
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.errors import StartFailed
from executor.sandbox import confinement
from executor.supervisor import child as children
from tests.executor.run_process import BARE, Execute, heard, plain_view
from tests.processes import eventually, is_alive


def command(*argv: str) -> dict[str, Any]:
    return {"kind": "command", "argv": list(argv)}


def test_a_command_gets_its_arguments_and_all_its_environment(execute: Execute) -> None:
    """Verbatim, no shell in between, and nothing else."""
    ended = execute(
        command("sh", "-c", 'echo "$0|$1|$*"; env | sort', "a b", "$HOME;", "*"), entries={"TOKEN": "hunter2"}
    )
    lines = ended.stdout.splitlines()
    assert lines[0] == "a b|$HOME;|$HOME; *"
    assert {line for line in lines[1:] if not line.startswith(("PWD=", "SHLVL=", "_="))} == {
        *(f"{name}={value}" for name, value in BARE.items()),
        "TOKEN=hunter2",
    }


def test_a_command_inherits_three_streams_and_a_clean_slate(execute: Execute, tmp_path: Path) -> None:
    """I3: no descriptor beyond them, stdin empty, own session, default signals, plain umask, the folder asked for."""
    code = (
        "import json, os, sys\n"
        "status = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}'))\n"
        "print(json.dumps([fds, sys.stdin.read(), os.getsid(0) == os.getpid(), os.umask(0), os.getcwd(),"
        " [status[name].strip() for name in ('SigBlk', 'SigIgn')], os.environ.get('LC_CTYPE', '')]))\n"
    )
    for number in (signal.SIGQUIT, signal.SIGUSR1):
        before = signal.signal(number, signal.SIG_IGN)
        try:
            ended = execute(command("python3", "-S", "-E", "-c", code), entries={"PATH": "/usr/bin:/bin"})
        finally:
            signal.signal(number, before)
        fds, stdin, leads, umask, folder, (blocked, ignored), _ = json.loads(ended.stdout)
        assert (fds, stdin, leads, umask, folder) == ([0, 1, 2], "", True, 0o022, str(tmp_path))
        # Python itself ignores SIGPIPE (13) and SIGXFSZ (25); 32 and 33 are glibc's own, which lets nobody change them
        # and ignores them in what posix_spawn starts, as subprocess does from Python 3.13 on.
        assert (int(blocked, 16), int(ignored, 16) & ~(1 << 12 | 1 << 24 | 1 << 31 | 1 << 32)) == (0, 0)


@pytest.mark.parametrize(
    ("target", "folder", "said"),
    [
        (command("surely-not-there"), ".", "could not start surely-not-there: No such file or directory"),
        (command("./job.sh"), ".", "could not start ./job.sh: Permission denied"),
        (command("/etc"), ".", "could not start /etc: it is a folder"),
        (command("job.py"), ".", "could not start job.py: No such file or directory"),
        (command("./text"), ".", "could not start ./text: Exec format error"),
        (command("./odd"), ".", "could not start ./odd: the program that its first line names is not there"),
        (command("true"), "gone", "could not enter the folder {folder}/gone: No such file or directory"),
        (command("true"), "text", "could not enter the folder {folder}/text: Not a directory"),
        (command("tr\0ue"), ".", "ValueError"),
        (command(), ".", "IndexError"),
        ({"kind": "file", "path": "job.py", "argv": []}, ".", "could not start /no/python: No such file or directory"),
    ],
)
def test_what_cannot_be_started_is_a_sentence(
    execute: Execute, tmp_path: Path, target: dict[str, Any], folder: str, said: str
) -> None:
    """I10: which program or folder, and the kernel's word for why; never a line of the environment."""
    (tmp_path / "job.sh").write_text("#!/bin/sh\n")
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "odd").write_text("#!/bin/sh\r\n")
    (tmp_path / "odd").chmod(0o755)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartFailed) as caught:
        execute(target, python="/no/python", folder=tmp_path / folder, entries={"TOKEN": "hunter2"})
    assert said.format(folder=tmp_path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert ("sealrun run job.py" in (caught.value.hint or "")) == (target == command("job.py"))
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


def test_a_sandbox_that_cannot_be_entered_starts_nothing(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: no program without its binding."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "hunter2")

    monkeypatch.setattr(confinement, "enter", refuse)
    with pytest.raises(StartFailed, match=r"could not enter its sandbox: Operation not permitted$"):
        execute(command("true"))


def test_an_interpreter_that_reads_nothing_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: a user who has used up all room for pipes, or a Python that sleeps, does not hold the supervisor up."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    python.chmod(0o755)
    made, control = os.pipe2, fcntl.fcntl

    def small(flags: int) -> tuple[int, int]:
        ends = made(flags)
        control(ends[1], fcntl.F_SETPIPE_SZ, 4096)
        return ends

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "pipe2", small)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    waiting = children.prepare(
        target={"kind": "file", "path": "job.py", "argv": []},
        python=str(python),
        folder=str(tmp_path),
        view=plain_view(tmp_path),
        bare=BARE,
    )
    child = waiting.start({b"PATH": b"/usr/bin:/bin", b"LONG": b"x" * 100_000})
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    children.close(child)


def test_a_process_that_is_given_up_is_gone(tmp_path: Path) -> None:
    """Another one takes its place, where what an interpreter reads at its start was not known before the gate."""
    before = len(os.listdir("/proc/self/fd"))
    waiting = children.prepare(
        target={"kind": "file", "path": "job.py", "argv": []},
        python=sys.executable,
        folder=str(tmp_path),
        view=plain_view(tmp_path),
        bare=BARE,
    )
    waiting.abandon()
    assert not is_alive(waiting._child.pid)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", ["command", "file"])
def test_a_process_that_is_never_let_go_starts_nothing(tmp_path: Path, kind: str) -> None:
    """The gate stayed shut: when the supervisor's end of its channel is gone it ends, and its target never ran."""
    sign = tmp_path / "ran"
    (tmp_path / "job.py").write_text(f"open({str(sign)!r}, 'w')\n")
    target = command("touch", str(sign)) if kind == "command" else {"kind": "file", "path": "job.py", "argv": []}
    waiting = children.prepare(
        target=target, python=sys.executable, folder=str(tmp_path), view=plain_view(tmp_path), bare=BARE
    )
    pid = waiting._child.pid
    assert is_alive(pid)
    children.close(waiting._child)
    for fd in (waiting._trouble, waiting._environment, waiting._source):
        os.close(fd)
    eventually(lambda: not is_alive(pid), 10, "it waits for ever")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not sign.exists()


def test_the_environment_is_handed_over_in_memory(tmp_path: Path) -> None:
    """I1: in a memory file without a name, empty until the values are there; nothing is written to disk on the way."""
    waiting = children.prepare(
        target=command("sh", "-c", "echo $TOKEN"), python="", folder=str(tmp_path), view=plain_view(tmp_path), bare=BARE
    )
    assert os.readlink(f"/proc/self/fd/{waiting._environment}") == "/memfd:sealrun (deleted)"
    assert os.fstat(waiting._environment).st_size == 0
    ended = heard(waiting.start({b"PATH": b"/usr/bin:/bin", b"TOKEN": b"hunter2"}))
    assert ended.stdout == "hunter2\n"
    assert list(tmp_path.iterdir()) == []


def test_a_command_may_be_given_two_megabytes(execute: Execute) -> None:
    """As much as `environment` lets pass."""
    entries = {f"V{number}": "x" * 100_000 for number in range(19)}
    assert execute(command("sh", "-c", "echo ${#V18}"), entries=entries).stdout == "100000\n"
