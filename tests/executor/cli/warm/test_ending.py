"""A warm process holds nothing, and is gone when nobody needs it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from executor.cli.warm.installed import Installed
from tests.executor.cli.conftest import CHECKOUT, PATIENCE, made
from tests.executor.cli.warm.conftest import Reporting, Warm
from tests.leaks.evidence import Search, memory
from tests.processes import eventually, is_alive

pytestmark = pytest.mark.long

CANARY = "canary-4ab1c0ffee5d"


def test_its_memory_has_nothing_of_any_command(warm: Warm) -> None:
    """I1: neither of the one that left it behind nor of those that it carried out: variables, words, settings."""
    warm.end()
    told = {"SOME_TOKEN": CANARY, "SEALRUN_ACTOR": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY}
    words = ("run", "-p", "shop", "--env", f"A={CANARY}", "missing.py", CANARY)
    warm.cli(*words, environ=told, stdin=CANARY, code=125)
    process = warm.left()
    assert warm.is_used(*words, environ=told)
    warm.cli("runs", "list", "--json", environ=told, code=0)

    assert warm.processes() == [process]
    look = Search({("it", "plain"): CANARY.encode(), ("it", "wide"): CANARY.encode("utf-32-le")})
    # It is what a search finds in a process that has it.
    assert look.within("here", memory(os.getpid(), ("[heap]", "")))
    assert not look.within("the warm process", memory(process))
    assert set(Path(f"/proc/{process}/environ").read_bytes().split(b"\0")) == {b"LANG=C.UTF-8", b""}
    assert len(os.listdir(f"/proc/{process}/task")) == 1


def test_it_ends_when_nobody_has_come_for_a_while() -> None:
    """SEALRUN_WARM_SECONDS after the last command, and with it go socket and lock."""
    with made(SEALRUN_WARM_SECONDS="1") as cli:
        warm = Warm(cli)
        cli.environ["SEALRUN_WARM_SECONDS"] = "1"
        cli.ok("runs", "list")
        process = warm.left()
        eventually(lambda: not is_alive(process), PATIENCE, "it ends")
        assert not warm.sockets() and not warm.log()


@pytest.mark.long
def test_it_ends_when_its_home_is_gone(warm: Warm) -> None:
    """Whoever removes its socket ends it."""
    warm.cli.ok("runs", "list")
    process = warm.left()

    shutil.rmtree(warm.folder)

    eventually(lambda: not is_alive(process), PATIENCE, "it ends")
    assert not warm.is_used("runs", "list")
    warm.cli.ok("runs", "list")
    warm.left()


def test_other_code_is_not_carried_out_by_what_has_imported_this(tmp_path: Path) -> None:
    """A module that was changed, exchanged or removed, or whose change is too recent to be told."""
    file = tmp_path / "warm_changed_module.py"
    file.write_text("")
    module = type(sys)("warm_changed_module")
    module.__file__ = str(file)
    sys.modules["warm_changed_module"] = module
    try:
        assert not Installed(time.time() - 60).unchanged(), "it is written while it is read, for all that is known"
        os.utime(file, (1, 1))
        found = Installed(time.time())
        assert found.unchanged()
        file.write_text("changed")
        assert not found.unchanged()
        os.utime(file, (1, 1))
        assert not found.unchanged(), "by its size"
        file.unlink()
        assert not found.unchanged()
    finally:
        del sys.modules["warm_changed_module"]


def test_a_warm_process_of_other_code_makes_room(reporting: Reporting) -> None:
    """The command that finds out starts cold, and the next one leaves a new process behind."""
    process = reporting.warm.left()
    command = subprocess.Popen(
        reporting.warm.cli.command("run", "wait"), env=reporting.warm.cli.environ, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None and command.stdout.readline()
    module = reporting.folder / "imported.py"
    module.touch()

    assert not reporting.warm.is_used("run", "exit", "0")

    assert not reporting.warm.sockets() and is_alive(process), "it waits for the command that it carries out"
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=PATIENCE)
    assert command.returncode == -signal.SIGTERM
    eventually(lambda: not is_alive(process), PATIENCE, "it ends")
    reporting.start()


def test_a_home_has_four_at_most(warm: Warm) -> None:
    """Each login and container has its own; the one that was used least recently goes."""
    from executor.cli.warm import leaving

    warm.left()
    (ours,) = warm.sockets()
    for number in range(4):
        (warm.folder / f"other{number}").touch()
        os.utime(warm.folder / f"other{number}", (number, number))
    folder = os.open(warm.folder, os.O_RDONLY)
    try:
        leaving._end_others(folder)
    finally:
        os.close(folder)
    left = {path.name for path in warm.folder.iterdir() if path.suffix != ".lock"}
    for path in warm.folder.glob("other*"):
        path.unlink()

    assert left == {ours.name, "other2", "other3", "word", "log"}


@pytest.mark.parametrize("module", ["executor.cli.warm.handover", "executor.cli.warm.entry"])
def test_what_is_typed_starts_from_the_standard_library_alone(module: str) -> None:
    """Imports are what a warm process saves."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    told = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    roots = {name.partition(".")[0] for name in told.stdout.split()}
    assert roots - sys.stdlib_module_names - {"executor", "secretstore"} == set()
    assert not roots & {"re", "hashlib", "pathlib", "subprocess", "json", "dataclasses"}


def test_what_libraries_read_when_they_are_imported_makes_a_command_start_cold() -> None:
    """A warm process has imported them before it knows a command's environment."""
    code = """
import os, sys
read = set()
environment = type(os.environ)
get, has = environment.__getitem__, environment.__contains__
environment.__getitem__ = lambda self, name: (read.add(name), get(self, name))[1]
environment.__contains__ = lambda self, name: (read.add(name), has(self, name))[1]
from executor.cli.warm import circumstances, template
template._import_all()
print(*sorted(name for name in read if circumstances.odd_variable({name: "1"}) is None))
print(len(read), file=sys.stderr)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(CHECKOUT)}
    )
    # What they make of these, where a package of the user is and how Celery's own banner looks, no command shows.
    assert set(told.stdout.split()) <= {"HOME", "TERM", "ITERM_PROFILE"}
    assert int(told.stderr) > 10
