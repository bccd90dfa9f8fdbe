"""What a worker opens of a run before its gate: its source and its interpreter, whatever the run's row says of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from executor.errors import ProgramRefused, SourceIsHome
from executor.models import Run
from executor.python.interpreters import Interpreter, Interpreters
from executor.sandbox import folders as open_folders
from executor.sandbox.confinement import Host
from executor.sandbox.workspace import Workspace
from executor.settings import read_settings
from executor.worker.equipment import Equipment
from executor.worker.lease import LeaseKeeper
from executor.worker.preparation import RunsCode, prepare, source_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody else than the worker's user."""
    folder = tmp_path / "accounts/bob"
    folder.mkdir(parents=True)
    monkeypatch.setattr(open_folders, "_homes", lambda: frozenset({folder}))
    return folder


def source_at(folder: Path) -> Path:
    run = SimpleNamespace(bundle=None, source_root=str(folder))
    with source_of(cast(Equipment, None), cast(Run, run), cast(LeaseKeeper, None)) as it:
        return it.folder


def test_i3_a_home_of_another_account_is_no_source(home: Path) -> None:
    """Its row was written by whoever may submit, and the worker may be root; what lies beneath is fine."""
    (home / "jobs").mkdir()
    for folder in (home, home.parent, Path("/")):
        with pytest.raises(SourceIsHome, match="a run must not read a whole home folder"):
            source_at(folder)
    assert source_at(home / "jobs") == home / "jobs"


# An interpreter, which a run's row or a file of its source names ----------------------------------


def environment(prefix: Path, base: Path | None = None) -> Path:
    """A virtual environment, or an installation; its interpreter."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "pyvenv.cfg").write_text("" if base is None else f"home = {base.parent}\n")
    python = prefix / "bin/python3"
    python.write_text("\x7fELF")
    python.chmod(0o755)
    return python


def opened(
    tmp_path: Path,
    python: Path,
    *,
    readable: tuple[Path, ...] = (),
    offered: tuple[Path, ...] = (),
    alone: bool = False,
    parts: tuple[Path, ...] | None = None,
) -> set[str]:
    """What a worker opens for a run of this interpreter, whose source is `jobs`."""
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "sealrun").mkdir(exist_ok=True)
    environ = {
        "SEALRUN_HOME": str(tmp_path / "sealrun"),
        "SEALRUN_CACHE": str(tmp_path / "cache"),
        **({"SEALRUN_READABLE": ":".join(map(str, readable))} if readable else {}),
    }
    pythons = Interpreters(tuple(Interpreter(path, "3.12.1") for path in offered))
    nothing = cast(Any, None)
    worker = Equipment(
        read_settings(environ), nothing, nothing, Host(1, mounts=False), nothing, nothing, pythons, only_its_user=alone
    )
    target = {"kind": "file", "path": "job.py", "argv": []}
    run = Run(id="r", project="shop", environment="dev", target=target, limits={}, output_limit="drop", kept_bytes=1)
    source = RunsCode(tmp_path / "jobs")
    job = prepare(worker, run, Workspace(tmp_path / "place", None), source, str(python), parts)
    return set(job["view"]["readable"]) | set(job["view"]["cached"])


def test_i3_an_interpreter_of_somebodys_opens_nothing(tmp_path: Path) -> None:
    """A worker that is root could read it all; whoever has it opened says so to the worker's operator."""
    app = environment(tmp_path / "app")
    with pytest.raises(ProgramRefused, match=f"{tmp_path}/app is closed to runs") as refused:
        opened(tmp_path, app)
    assert "SEALRUN_READABLE" in refused.value.hint
    assert str(tmp_path / "app") in opened(tmp_path, app, readable=(tmp_path / "app",))
    assert str(tmp_path / "app") in opened(tmp_path, app, alone=True), "the submitter can read it anyway"


def test_i3_a_sources_environment_opens_nothing_outside_it(tmp_path: Path) -> None:
    """Neither by the line of its pyvenv.cfg nor by a link; by itself it is as before."""
    app = environment(tmp_path / "app")
    told = environment(tmp_path / "jobs/.venv", app)
    linked = tmp_path / "jobs/linked/bin/python3"
    linked.parent.mkdir(parents=True)
    linked.symlink_to(app)
    for python in (told, linked):
        with pytest.raises(ProgramRefused, match=f"{tmp_path}/app is closed to runs"):
            opened(tmp_path, python)
    own = environment(tmp_path / "jobs/own", tmp_path / "jobs/.venv/bin/python3")
    assert str(tmp_path / "jobs/own") in opened(tmp_path, own)


def test_i3_sealruns_own_folders_are_no_interpreters(tmp_path: Path) -> None:
    """As another project's environment in the cache; what the worker itself has built for the run is its own."""
    of_another, built = environment(tmp_path / "cache/other"), environment(tmp_path / "cache/built")
    with pytest.raises(ProgramRefused):
        opened(tmp_path, of_another)
    prefix = built.parent.parent
    assert str(prefix) in opened(tmp_path, built, parts=(prefix,))


def test_a_python_that_the_worker_offers_is_open_with_what_is_made_from_it(tmp_path: Path) -> None:
    """As uv's and pyenv's, in the home of the worker's user."""
    base = environment(tmp_path / "accounts/bob/pythons/3.12")
    made = environment(tmp_path / "jobs/.venv", base)
    prefix = str(base.parent.parent)
    assert prefix in opened(tmp_path, base, offered=(base,))
    assert {prefix, str(tmp_path / "jobs/.venv")} <= opened(tmp_path, made, offered=(base,))
    assert opened(tmp_path, Path("/usr/bin/python3"))
