"""A warm process of a home of its own, and commands that go through it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.executor.cli.conftest import PATIENCE, Cli, made
from tests.processes import arguments, children, eventually, is_alive

_REPORTING = Path(__file__).with_name("reporting.py")
_PATCHED = (
    f"import runpy; report = runpy.run_path({str(_REPORTING)!r})['report'];"
    "import {module} as entry; import executor.cli.main as cold; cold.main = report; entry.main()"
)
_TEMPLATE = "executor.cli.warm.template"
POISON = "raise SystemExit('cold')"
"""Of a module that every cold command imports."""


class Warm:
    """A home whose commands leave a warm process behind."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        cli.environ["SEALRUN_WARM_SECONDS"] = "600"
        self.folder = cli.home / "warm"
        (cli.folder / "poisoned").mkdir()
        (cli.folder / "poisoned" / "typer.py").write_text(POISON)

    def left(self) -> int:
        """Its process id, once one that this home's commands left behind listens."""
        eventually(
            lambda: any(map(_listens, self.sockets())), PATIENCE, lambda: f"a warm process listens: {self.log()}"
        )
        (found,) = self.processes()
        return found

    def sockets(self) -> list[Path]:
        return [path for path in self.folder.glob("*") if path.is_socket()] if self.folder.exists() else []

    def log(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else "none was started"

    def processes(self) -> list[int]:
        """Those of this home: each holds a lock in it, and the children of one do not."""
        numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        warm = [number for number in numbers if b"warm.template" in arguments(number) and is_alive(number)]
        own = re.compile(rf"{re.escape(str(self.folder))}/\w+\.lock")
        # A child that was forked a moment ago has not let go of it yet.
        return [
            one for one in warm if any(map(own.match, _descriptors(one))) and not any(one in children(w) for w in warm)
        ]

    def is_used(self, *words: str, environ: Mapping[str, str] = {}) -> bool:
        """Whether a command goes through the warm process: cold, it would not come further than an import."""
        ended = self.cli.raw(*words, cwd=self.cli.folder / "poisoned", environ=environ)
        return b"cold" not in ended.stderr

    def end(self) -> None:
        for process in self.processes():
            os.kill(process, signal.SIGTERM)
            eventually(lambda process=process: not is_alive(process), PATIENCE, "the warm process ends")


class Reporting:
    """The same with commands that tell what they find: see `reporting`."""

    def __init__(self, warm: Warm) -> None:
        self.warm = warm
        self.folder = warm.cli.folder / "imported"
        """Of a module that the warm process has imported."""
        self.folder.mkdir()
        (self.folder / "imported.py").write_text("")
        os.utime(self.folder / "imported.py", (1, 1))

    def start(self) -> int:
        """Start a warm process of them."""
        os.utime(self.folder / "imported.py", (1, 1))
        before = (
            "import sys; sys.path.insert(0, sys.argv.pop(1));"
            f"sys.path.append({str(self.folder)!r}); import imported; sys.path.pop();"
        )
        code = (
            "from executor.cli.warm import handover, leaving;"
            f"leaving._CODE = {before!r} + {_PATCHED.format(module=_TEMPLATE)!r};"
            f"leaving.leave({str(self.warm.cli.home)!r}, handover.facts())"
        )
        self.run_code(code)
        return self.warm.left()

    def run_code(self, code: str) -> None:
        subprocess.run(
            [sys.executable, "-c", code],
            env=self.warm.cli.environ,
            cwd=self.warm.cli.jobs,
            check=True,
            timeout=PATIENCE,
        )

    def cold(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """A command of these in a process of its own."""
        return self._run([sys.executable, "-c", _PATCHED.format(module="executor.cli.main"), *words], **options)

    def through(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """The same through the warm process."""
        return self._run(self.warm.cli.command(*words), **options)

    def _run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        environ = {**self.warm.cli.environ, **options.pop("environ", {})}
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=PATIENCE, cwd=self.warm.cli.jobs, **options
        )


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """A home with a project and a warm process, whose commands all go through it."""
    with made() as cli:
        one = Warm(cli)
        try:
            cli.forks = True
            cli.ok("project", "create", "shop")
            cli.forks = False
            cli.ok("runs", "list")
            one.left()
            yield one
        finally:
            one.end()


@pytest.fixture(scope="module")
def reporting() -> Iterator[Reporting]:
    """A home whose warm process has commands that report."""
    with made() as cli:
        one = Reporting(Warm(cli))
        cli.home.mkdir(mode=0o700)
        try:
            one.start()
            yield one
        finally:
            one.warm.end()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(path)) == 0


def _descriptors(process: int) -> list[str]:
    found = []
    try:
        for fd in os.listdir(f"/proc/{process}/fd"):
            found.append(os.readlink(f"/proc/{process}/fd/{fd}"))
    except OSError:
        pass
    return found
