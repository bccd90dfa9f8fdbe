"""I3, from the submitter's side: a folder that somebody else filled has nothing executed outside of a run's sandbox.

Each payload leaves a mark where no run may write. What a run itself executes of the folder is its own business.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.cli.conftest import Cli, made
from tests.executor.source.test_git_state import git, plant
from tests.executor.source.test_ignoring import write

pytestmark = pytest.mark.skipif(shutil.which("git", path=os.defpath) is None, reason="there is no git here")

USUAL = (("run", "-p", "shop", "job.py"), ("secret", "explain", "-p", "shop", "job.py:main"), ("doctor",))
OTHERS = (
    ("run", "-p", "shop", "--", "true"),
    ("run", "-p", "shop", "--bundle", "job.py"),
    ("run", "-p", "shop", "--", "tool", "x"),
    ("secret", "set", "NEW", "-p", "shop"),
    ("variable", "list", "-p", "shop"),
    ("runs", "list"),
    ("project", "list"),
    ("init", "shop"),
    ("--version",),
)


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """A home with a project; each command is a process of its own, as a folder's files may concern Python itself."""
    with made() as one:
        one.ok("project", "create", "shop")
        yield one


@pytest.fixture
def forking() -> Iterator[Cli]:
    """The same, whose commands are forks: there is nothing of Python's in the folder."""
    with made() as one:
        one.forks = True
        one.ok("project", "create", "shop")
        yield one


@pytest.fixture
def evil(cli: Cli) -> Iterator[str]:
    """A program that leaves a mark; it takes the place of many."""
    marks = cli.folder / "marks"
    marks.mkdir()
    write(cli.folder, "evil", f'#!/bin/sh\nls -l /proc/$PPID/exe > {marks}/"$(basename "$0")-$$"\nexit 0\n')
    (cli.folder / "evil").chmod(0o755)
    yield str(cli.folder / "evil")
    shutil.rmtree(marks)


@pytest.fixture
def checkout(cli: Cli, evil: str) -> Iterator[Path]:
    """A stranger's repository with all that could have something executed when somebody looks at it."""
    root = cli.folder / "checkout"
    write(root, "job.py", "def main():\n    pass\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(root, "branch", "-M", "main")
    code = f"import os; os.system({evil!r})\n"
    for module in (
        "sitecustomize",
        "usercustomize",
        "executor",
        "secretstore",
        "typer",
        "tomllib",
        "celeryconfig",
        "re",
    ):
        write(root, f"{module}.py", code)
    for script in (
        ".venv/bin/python", ".venv/bin/python3", "bin/python3", "python3", "git", "tool", "uv", "valkey-server",
        "redis-server", "sh", "env",
    ):  # fmt: skip
        write(root, script, f'#!/bin/sh\n{evil}\nexec "{evil}"\n')
        (root / script).chmod(0o755)
    write(root, ".venv/lib/python3.11/site-packages/evil.pth", f"import os; os.system({evil!r})\n")
    write(root, ".venv/pyvenv.cfg", f"home = {root}/bin\nversion = 3.11.2\n")
    write(root, "setup.py", code)
    write(root, "conftest.py", code)
    write(root, "pip.conf", "[global]\nindex-url = http://evil.invalid\n")
    write(root, "uv.toml", 'index-url = "http://evil.invalid"\n')
    write(root, ".python-version", "../../checkout/.venv\n")
    write(root, ".tool-versions", "python path:./.venv\n")
    write(root, ".envrc", evil)
    write(root, ".env", "LD_PRELOAD=./evil.so\n")
    write(
        root,
        "pyproject.toml",
        '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
        '[project]\nname = "evil"\ndynamic = ["version", "dependencies"]\n'
        '[tool.setuptools.dynamic]\nversion = {attr = "setup.version"}\n',
    )
    for how in ("a filter", "monitors, hooks and viewers"):
        plant(root, how, evil)
    write(root, "job.py", "def main():\n    return 1\n")
    for path in (root, *root.rglob("*")):
        path.chmod(path.stat().st_mode | 0o044 | (0o111 if path.is_dir() else 0))
    shutil.rmtree(cli.folder / "marks")
    (cli.folder / "marks").mkdir()
    yield root
    cli.end_workers()
    shutil.rmtree(root)


@pytest.mark.long
@pytest.mark.parametrize("commands", [USUAL, OTHERS], ids=["usual", "others"])
def test_i3_no_command_executes_what_a_strangers_folder_holds(
    cli: Cli, checkout: Path, commands: tuple[tuple[str, ...], ...]
) -> None:
    """I3: neither git's configuration, nor a Python, a module or a script of the folder, whatever PATH says."""
    environ = {"PATH": f".::bin:.venv/bin:{cli.environ['PATH']}", "PYTHONPATH": cli.environ["PYTHONPATH"]}
    command = ["-P", "-m", "executor.cli"]
    for words in commands:
        ended = subprocess.run(
            [cli.command()[0], *command, *words],
            cwd=checkout, env={**cli.environ, **environ}, input=b"hunter2-a-value", capture_output=True, timeout=60,
        )  # fmt: skip
        assert b"a fault of sealrun" not in ended.stderr, (words, ended.stderr)
        assert os.listdir(cli.folder / "marks") == [], (words, ended.stderr)


EXPLAIN = ("secret", "explain", "-p", "shop", "--bundle", "job.py")
ODD = (
    ".git", ".gitignore", ".sealrunignore", ".sealrun.toml", "pyproject.toml", "uv.lock", "requirements.txt",
    "setup.cfg", "setup.py", ".python-version", ".venv/pyvenv.cfg", ".venv/bin/python", "other.py",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "kind", ["pipe", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("endless", "loop", "deep", "folder"))]
)
def test_i7_no_file_of_a_strangers_folder_keeps_a_submitter_waiting(forking: Cli, kind: str) -> None:
    """I7: a pipe, a device, a link to itself or endless brackets where a file is looked for: a sentence, or nothing."""
    for name in ODD:
        root = forking.folder / f"odd-{name.replace('/', '-')}"
        path = root / name
        write(root, "job.py", "")
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "deep":
            write(root, name, f"a = {'[' * 200_000}")
        else:
            path.symlink_to("/dev/zero" if kind == "endless" else path.name)
        words = ("run", "-p", "shop", "job") if name == "other.py" else EXPLAIN
        ended = forking(*words, cwd=root)
        assert "a fault of sealrun" not in ended.stderr, (name, ended.stderr)
        assert ended.returncode in (0, 1, 2, 125), (name, ended.stderr)
