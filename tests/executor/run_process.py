"""A run's process without a worker around it: started as a supervisor starts it, and heard to its end."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox.confinement import View
from executor.supervisor import child as children
from executor.supervisor.child import Child

BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "SEALRUN_RUN_ID": "r1"}


@dataclass(frozen=True)
class Ended:
    """What came out of a run's process."""

    status: int
    stdout: str
    stderr: str
    result: Any

    @property
    def code(self) -> int:
        """Its exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self.status)


Execute = Callable[..., Ended]


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Runs a target in a process of its own, at rung `process`, and returns what it said."""

    def run(
        target: Mapping[str, Any],
        python: str | Path = sys.executable,
        entries: Mapping[str, str] | None = None,
        folder: Path = tmp_path,
        view: View | None = None,
    ) -> Ended:
        waiting = children.prepare(
            target=target, python=str(python), folder=str(folder), view=view or plain_view(tmp_path), bare=BARE
        )
        given = {**BARE, **(entries or {})}
        return heard(waiting.start({name.encode(): value.encode() for name, value in given.items()}))

    return run


def plain_view(folder: Path) -> View:
    """No confinement beyond what every rung has."""
    return View(rung="process", readable=(), writable=(str(folder),), forbidden=())


def heard(child: Child) -> Ended:
    """Read all pipes to their ends, then collect the process."""
    texts: dict[int, bytes] = {}

    def read(fd: int) -> None:
        parts = []
        while data := os.read(fd, 1 << 16):
            parts.append(data)
        texts[fd] = b"".join(parts)

    readers = [threading.Thread(target=read, args=[fd]) for fd in (child.stdout, child.stderr, child.result)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive(), "the run's process does not close its pipes"
    status = os.waitpid(child.pid, 0)[1]
    children.close(child)
    return Ended(
        status,
        texts[child.stdout].decode(errors="replace"),
        texts[child.stderr].decode(errors="replace"),
        _parsed(texts[child.result]),
    )


def _parsed(result: bytes) -> Any:
    """The document; the text of one that breaks off; None where nothing came."""
    try:
        return json.loads(result) if result else None
    except ValueError:
        return result.decode()


@functools.cache
def interpreters() -> dict[str, str]:
    """Every Python from 3.9 on this machine, one of each minor version, by version; nothing is installed for it."""
    places = [Path(folder) for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"] if folder]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += sorted(root.glob("versions/*/bin"))
    found: dict[str, str] = {}
    for place in places:
        for path in [Path(sys.executable), *sorted(place.glob("python3*"))]:
            if not re.fullmatch(r"python3(\.\d+)?", path.name) and path != Path(sys.executable):
                continue
            if not os.access(path, os.X_OK) or path.read_bytes()[:2] == b"#!":
                continue
            asked = subprocess.run(
                [path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True
            )
            version = asked.stdout.strip()
            if asked.returncode == 0 and tuple(map(int, version.split("."))) >= (3, 9):
                found.setdefault(version, str(path))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `any_python` runs under each interpreter there is."""
    if "any_python" in metafunc.fixturenames:
        known = interpreters()
        metafunc.parametrize("any_python", known.values(), ids=known.keys())


@pytest.fixture
def root() -> None:
    """For tests that need root's rights: to lend user ids, and to mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a program, or a skip."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"no {name} here")
        return path

    return find


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """A folder whose content may be nested beyond what Python, and so pytest, can remove."""
    folder = Path(tempfile.mkdtemp(prefix="sealrun-test-", dir="/var/tmp"))
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def dig(place: Path, depth: int) -> None:
    """Folders in folders, from a process that may go where its paths do not reach."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(place)
            for number in range(depth):
                os.mkdir("d")
                if number % 100 == 0:
                    os.close(os.open("file", os.O_CREAT | os.O_WRONLY))
                os.chdir("d")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
