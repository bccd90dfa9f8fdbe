"""A home of its own for each module, and the real command line to use it with."""

import contextlib
import importlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from executor.cli.main import main
from executor.database import open_database
from executor.runs import workers
from executor.settings import read_settings
from tests.processes import eventually, is_alive
from tests.rig import job_python
from tests.serving import serving

CHECKOUT = Path(__file__).resolve().parents[3]
PATIENCE = 40.0
"""Seconds a test waits for what takes a fraction of one; only a failure takes so long."""

BYTECODE = str(Path(tempfile.gettempdir(), f"sealrun-tests-bytecode-{os.geteuid()}"))
"""Compiled once for all the commands that the tests start, and not into the tree."""

_MODULES = {
    "secret": (
        "cli.secret",
        "cli.typed.arguments",
        "operations.importing",
        "explain.preview",
        "submission.specification",
    ),
    "variable": ("cli.variable",),
    "project": ("cli.project",),
    "source": ("cli.source",),
    "catalog": ("cli.catalog",),
    "run": ("cli.run", "submission.specification"),
    "runs": ("cli.runs",),
    "user": ("cli.user",),
    "member": ("cli.member",),
    "token": ("cli.token",),
    "role": ("cli.role",),
    "audit": ("cli.audit",),
}
"""What a command imports when it is called."""

Ended = subprocess.CompletedProcess[str]


class Terminal:
    """`sealrun` on a terminal, as a person has it."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup hand on that it is ignored
            os.chdir(folder)
            os.execve(command[0], list(command), {**environ, "TERM": "xterm-256color", "COLUMNS": "120"})
        self.shown = ""

    def until(self, word: str) -> None:
        """Read until a word stands on the screen."""
        self._read(lambda: word in self.shown, f"{word!r} is shown")

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def ended(self) -> int:
        """Read until the program ends; its exit code, negative for a signal."""
        self._read(lambda: False, "the program ends")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def hang_up(self) -> int:
        """Close the terminal; how the program ended of that."""
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, enough: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < until, f"not in time: {what}; the screen has:\n{self.shown}"
            if select.select([self._fd], [], [], 0.05)[0]:
                try:
                    data = os.read(self._fd, 65536)
                except OSError:  # the other end is closed
                    data = b""
                if not data:
                    return
                self.shown += data.decode(errors="replace")


class Cli:
    """`sealrun` with a home, a folder of jobs and an environment of its own."""

    forks = False
    """Whether a command is a fork of this process, which has imported all of it, and not a new interpreter."""

    def __init__(self, folder: Path, environ: Mapping[str, str] = {}) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.home = folder / "home"
        self.jobs = folder / "jobs"
        self.jobs.mkdir()
        (folder / "user").mkdir(mode=0o700)
        self.environ = {
            # No sealrun of the machine's, and a Python that is not the one of the tests.
            "PATH": f"{Path(job_python()).parent}:{os.defpath}",
            "HOME": str(folder / "user"),
            "LANG": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,  # packages come from a test's own index, and not from this machine's
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONPYCACHEPREFIX": BYTECODE,
            "SEALRUN_HOME": str(self.home),
            "SEALRUN_WORKSPACES": str(folder / "runs"),
            "SEALRUN_CACHE": str(folder / "cache"),
            "SEALRUN_TERM_GRACE_SECONDS": "1",
            "SEALRUN_WARM_SECONDS": "0",  # tests of the warm process have one of their own
            **environ,
        }

    def __call__(
        self,
        *words: str,
        stdin: str | bytes = b"",
        environ: Mapping[str, str] = {},
        cwd: Path | None = None,
        code: int | None = None,
    ) -> Ended:
        """Run one command, with no terminal anywhere; `code` is what it must end with."""
        ended = self.raw(*words, stdin=stdin, environ=environ, cwd=cwd)
        told = subprocess.CompletedProcess(
            ended.args, ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
        )
        assert code is None or told.returncode == code, f"{words} ended with {told.returncode}:\n{told.stderr}"
        return told

    def raw(
        self, *words: str, stdin: str | bytes = b"", environ: Mapping[str, str] = {}, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """The same, its streams as bytes."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        folder, known = cwd or self.jobs, {**self.environ, **environ}
        if self.forks and not any(name.startswith("PYTHON") for name in environ):
            return forked(words, given, folder, known)
        return subprocess.run(
            self.command(*words), input=given, capture_output=True, cwd=folder, env=known, timeout=PATIENCE
        )

    def ok(self, *words: str, **options: Any) -> str:
        """Run a command that succeeds, and return what it answered."""
        return self(*words, code=0, **options).stdout

    def json(self, *words: str, **options: Any) -> Any:
        """Run a command that succeeds, and return its JSON."""
        return json.loads(self.ok(*words, **options))

    def start(self, *words: str, environ: Mapping[str, str] = {}) -> "subprocess.Popen[str]":
        """Start a command in a session of its own and go on."""
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.jobs,
            env={**self.environ, **environ},
            start_new_session=True,
            text=True,
        )

    def terminal(self, *words: str, environ: Mapping[str, str] = {}) -> Terminal:
        """Start a command on a terminal."""
        return Terminal(self.command(*words), self.jobs, {**self.environ, **environ})

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "executor.cli", *words]

    def job(self, name: str, code: str) -> str:
        """Write a file into the folder of jobs, and return its name."""
        path = self.jobs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        path.chmod(0o644)
        return name

    def workers(self) -> list[int]:
        """The process ids of the workers that live on this machine."""
        if not (self.home / "sealrun.db").exists() and "SEALRUN_DATABASE_URL" not in self.environ:
            return []
        db = open_database(read_settings(self.environ))
        try:
            listed = workers.list_workers(db, alive_only=True)
            # Of this machine's own name alone: another one's process 1 is not this one's, which must not be ended.
            ours = [found.pid for found in listed if found.name.endswith(f"@{socket.gethostname()}")]
            return [pid for pid in ours if is_alive(pid)]
        finally:
            db.close()

    def end_workers(self) -> None:
        """End them politely."""
        for pid in self.workers():
            os.kill(pid, signal.SIGTERM)
            eventually(lambda pid=pid: not is_alive(pid), 20, f"worker {pid} ends")


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """An empty home, shared by the tests of a module; a worker that they started is ended after them.

    Its commands are forks: of the half a second that one takes, most are imports.
    """
    with made() as one:
        one.forks = True
        yield one


@pytest.fixture
def new_cli() -> Iterator[Cli]:
    """An empty home for one test; its commands are forks too."""
    with made() as one:
        one.forks = True
        yield one


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Cli:
    """The module's home with a project `shop`, a key file, and two secrets."""
    cli.ok("project", "create", "shop", "-e", "staging")
    beside = getattr(cli, "behind", cli)
    beside.ok("secret", "set", "API_KEY", "-p", "shop", stdin="hunter2-prod-key")
    beside.ok("secret", "set", "DATABASE_URL", "-p", "shop", stdin="postgres://app:s3cr3t-pass@db/shop")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    if isinstance(cli, FromElsewhere):  # over a network nothing is sealed to a key pair that nobody has compared
        for pair in cli.json("key", "list", "--json"):
            cli.ok("key", "trust", pair["fingerprint"], "-e", pair["environment"])
    return cli


def forked(
    words: Sequence[str], stdin: bytes, folder: Path, environ: Mapping[str, str], merged: bool = False
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a process of its own, as `subprocess.run` would, without starting Python again.

    `merged`: stdout has both streams, as they came.
    """
    for module in _MODULES.get(words[0], ()) if words else ():
        importlib.import_module(f"executor.{module}")  # once, and not in every fork
    with contextlib.ExitStack() as files:
        given, out, said = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            _become(words, folder, environ, [file.fileno() for file in (given, out, out if merged else said)])
        eventually(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), PATIENCE, str(words))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for file in (out, said):
            file.seek(0)
        return subprocess.CompletedProcess(list(words), code, out.read(), said.read())


def _become(words: Sequence[str], folder: Path, environ: Mapping[str, str], streams: list[int]) -> NoReturn:
    """In the fork: take on what a new process would have, run, and leave nothing to pytest."""
    code = 99
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["sealrun", *words]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class FromElsewhere(Cli):
    """`sealrun` on a machine that has a server's URL and a token, and neither the database nor its home."""

    def __init__(self, behind: Cli, url: str, token: str) -> None:
        self.behind = behind
        self.folder, self.home, self.jobs, self.forks = behind.folder, behind.home, behind.jobs, True
        of_behind = ("SEALRUN_HOME", "SEALRUN_WORKSPACES", "SEALRUN_CACHE", "SEALRUN_TERM_GRACE_SECONDS")
        self.environ = {name: value for name, value in behind.environ.items() if name not in of_behind}
        self.environ |= {
            "SEALRUN_HOME": str(behind.folder / "elsewhere"),
            "SEALRUN_SERVER": url,
            "SEALRUN_TOKEN": token,
        }

    def workers(self) -> list[int]:
        return self.behind.workers()


def only_beside_the_database(cli: Cli) -> None:
    """Skip what is otherwise for who has nothing but a server: it is said in the test why."""
    if isinstance(cli, FromElsewhere):
        pytest.skip("of the direct door")


DOORS = ("direct", pytest.param("server", marks=pytest.mark.long))
"""Who uses commands that go through either: with the database, or with a server's URL alone."""


@contextlib.contextmanager
def made_for(door: str) -> Iterator[Cli]:
    """An empty home, and commands that go through a door to it."""
    with made() as behind:
        behind.forks = True
        if door == "direct":
            yield behind
            return
        with serving(behind.environ, behind.folder) as (url, token):
            yield FromElsewhere(behind, url, token)


class made:
    """A home in a folder that user ids lent by a root worker can reach; short, for the broker's socket."""

    def __init__(self, **environ: str) -> None:
        self._environ = environ

    def __enter__(self) -> Cli:
        self._folder = Path(tempfile.mkdtemp(prefix="sealrun-c-", dir="/tmp"))
        self._cli = Cli(self._folder, self._environ)
        return self._cli

    def __exit__(self, *_: object) -> None:
        try:
            self._cli.end_workers()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
