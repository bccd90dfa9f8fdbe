"""Jobs as they are, with nothing set for us: each tool writes where it does by itself, and the run brings it back."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from executor.sandbox import probing
from tests.executor.cli.conftest import CHECKOUT, Cli, made
from tests.rig import Rig, as_ordinary, file, ordinary_account
from tests.system.everyday import JOBS, SCRIPT, Job, install, install_by_pipx, lay_out
from tests.system.test_notebooks import NETWORK

WITHOUT = CHECKOUT / "tests" / "no_namespaces.py"
WORKERS = {
    "root": (None, ""),
    "user": (ordinary_account(), ""),
    "user, no namespaces": (ordinary_account(), str(WITHOUT)),
}
"""The account of a worker and of who submits to it, and what takes namespaces away from it."""


def test_a_script_that_writes_beside_itself(shop: Rig) -> None:
    """A relative path, a log and a database, in the place of the script: what everybody writes first."""
    ended = shop.run(file(shop.job(SCRIPT, "daily/report.py")))
    assert (ended.how, ended.stdout) == (("succeeded", None, 0), "1,12.5 of 1\n"), ended.stderr
    assert sorted(os.listdir(shop.jobs / "daily")) == ["report.py"]


@pytest.fixture(scope="module")
def tools() -> Iterator[list[Path]]:
    """Programs as an operator installs them, in a folder of /opt."""
    if not os.access("/opt", os.W_OK):
        pytest.skip("only root installs to /opt")
    folder = Path(tempfile.mkdtemp(prefix="sealrun-everyday-", dir="/opt"))
    folder.chmod(0o755)
    try:
        yield install(folder, Path(sys.executable).with_name("uv"))
    finally:
        shutil.rmtree(folder)


class Someone:
    """Somebody with a home and tools, whose commands start a worker of their own."""

    def __init__(self, cli: Cli, tools: Sequence[Path], account: int | None, launcher: str) -> None:
        self._cli, self._account = cli, account
        rung = "landlock" if launcher else probing.probe().rung
        self.expected = rung, "overlay" if rung == "namespace" else "copy"
        self._pipx = tools[0] / "pipx"
        cli.environ["PATH"] = ":".join([f"{cli.folder}/user/.local/bin", *map(str, tools), os.defpath])
        self._python = [sys.executable] if account is None else as_ordinary(cli.folder, account)
        self._python += [launcher] if launcher else []
        self._own()
        self.typed("project", "create", "shop")
        for name in NETWORK:
            if name in os.environ:
                self.typed("variable", "set", name, os.environ[name], "-p", "shop", "--yes")

    def project(self, name: str, job: Job) -> Path:
        """Their project's folder, anew."""
        folder = self._cli.jobs / name
        folder.mkdir()
        lay_out(job, folder)
        if name == "pipx":
            install_by_pipx("black", self._cli.folder / "user", self._pipx)
        self._own()
        return folder

    def typed(self, *words: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._python, "-m", "executor.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder or self._cli.jobs,
            env={**self._cli.environ, "SEALRUN_PROJECT": "shop"},
            text=True,
            timeout=400,
        )

    def _own(self) -> None:
        if self._account is not None:
            for path in (self._cli.folder, *self._cli.folder.rglob("*")):
                os.chown(path, self._account, self._account, follow_symlinks=False)


@pytest.fixture(scope="module", params=WORKERS)
def someone(request: pytest.FixtureRequest, tools: list[Path]) -> Iterator[Someone]:
    account, launcher = WORKERS[request.param]
    with made(**{name: os.environ[name] for name in NETWORK if name in os.environ}) as cli:
        try:
            yield Someone(cli, tools, account, launcher)
        finally:
            os.chown(cli.home, os.geteuid(), -1)  # we use our own home alone, to end the worker that lives there


@pytest.mark.ecosystem
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_run_as_it_is(someone: Someone, tmp_path: Path, name: str) -> None:
    """It ends well, its folder stays as it was, and what it wrote there is among the files of the run."""
    job = JOBS[name]
    folder = someone.project(name, job)
    before = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    kept = folder.parent / f"{name}-kept"

    ended = someone.typed("run", "--output", str(kept), *job.typed, folder=folder)

    assert ended.returncode == 0, ended.stdout[-6000:]
    assert job.seen in ended.stdout
    refused = re.search(r"permission denied|read-only file|EACCES|EROFS|could not|CacheWarning", ended.stdout, re.I)
    assert not refused, ended.stdout[-6000:]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == before
    shown = json.loads(someone.typed("runs", "show", "@last", "--json", folder=folder).stdout)
    assert (shown["receipt"]["rung"], shown["receipt"]["controls"]["working_folder"]) == someone.expected
    there = {str(path.relative_to(kept)) for path in kept.rglob("*")}
    assert there >= set(job.written), (sorted(there)[:50], ended.stdout[-3000:])
