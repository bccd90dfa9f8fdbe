"""Environments against who writes rows of the database, and against what a build leaves behind."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.errors import EnvironmentNotBuilt
from executor.python.interpreters import Interpreter
from executor.worker import installation, python_cache, python_environment
from executor.worker.installation import Order
from executor.worker.python_cache import Environments


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return Interpreter(Path(sys._base_executable), sys.version.split()[0])  # type: ignore[attr-defined]


def order(interpreter: Interpreter, **document: Any) -> Order:
    plain = {"kind": "requirements", "files": {}, "entry": "a.txt", "with": [], "hashed": False}
    return Order("r", "s", False, plain | document, interpreter, {})


def environment(place: Path, interpreter: Path) -> Path:
    """As uv makes one; returns its interpreter."""
    (place / "env/bin").mkdir(parents=True)
    (place / "env/lib").mkdir()
    (place / "env/bin/python").symlink_to(interpreter)
    (place / "env/pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
    return place / "env/bin/python"


@pytest.mark.parametrize("name", ["../../outside", "/{}/outside", "a/../../../outside", "", ".", "a//b", "a\0b"])
def test_no_file_of_a_row_is_written_beside_its_draft(tmp_path: Path, interpreter: Interpreter, name: str) -> None:
    """I3: who writes them has rights that no submitter has, and may be root."""
    draft = tmp_path / "shelf/draft"
    draft.mkdir(parents=True)
    with pytest.raises(EnvironmentNotBuilt, match="leads elsewhere"):
        installation._lay_out(order(interpreter, files={name.format(tmp_path): "x"}), draft, None)
    assert not [*tmp_path.rglob("outside")] and not [*draft.iterdir()]


@pytest.mark.parametrize("ids", [("../../etc", "e"), ("p", "../../.."), ("p", "/etc"), ("", "e"), ("p", "..")])
def test_no_id_of_a_row_leads_out_of_the_cache(tmp_path: Path, ids: tuple[str, str]) -> None:
    """I3: the folders on the way are made, and have their modes set, with the worker's rights."""
    with pytest.raises(EnvironmentNotBuilt, match="an id that is none"):
        Environments(tmp_path / "cache", *ids)


@pytest.mark.parametrize("way", ["home", "link", "folder"])
def test_what_a_build_wrote_opens_no_other_environment(tmp_path: Path, interpreter: Interpreter, way: str) -> None:
    """I3: a run at rung `landlock` is let into its own environment and the interpreter that this was built for."""
    victim = environment(tmp_path / "victim", interpreter.path)
    python = environment(tmp_path / "own", interpreter.path)
    match way:
        case "home":
            (python.parent.parent / "pyvenv.cfg").write_text(f"home = {victim.parent}\n")
        case "link":
            python.unlink()
            python.symlink_to(victim)
        case _:
            python.unlink()
            python.parent.rmdir()
            python.parent.symlink_to(victim.parent)
    opened = [part for part in python_environment._parts(python, interpreter) if not part.is_symlink()]
    assert not [part for part in opened if part.is_relative_to(tmp_path / "victim")]


def test_an_environment_consists_of_its_own_folders_and_its_interpreter(
    tmp_path: Path, interpreter: Interpreter
) -> None:
    python = environment(tmp_path, interpreter.path)
    opened = python_environment._parts(python, interpreter)
    assert tmp_path / "env" in opened
    assert {*python_environment.interpreter_paths(str(interpreter.path))[1]} <= {*opened}


@pytest.mark.skipif(os.geteuid() != 0, reason="user ids are lent where the worker is root")
def test_a_cache_of_uvs_is_open_to_its_builder_alone(tmp_path: Path) -> None:
    """What is in it belongs to the id that was lent last, and may be lent to another project's run now."""
    shelf = Environments(tmp_path / "cache", "project", "environment")
    shelf.prepare()
    with shelf.uv_cache() as cache:
        assert cache.parent.stat().st_mode & 0o777 == 0o700
        with python_cache.passable(cache):
            assert cache.parent.stat().st_mode & 0o777 == 0o711
        assert cache.parent.stat().st_mode & 0o777 == 0o700
        cache.parent.chmod(0o711)
        python_cache.sweep(tmp_path / "cache")
        assert cache.parent.stat().st_mode & 0o777 == 0o711, "somebody builds"
    python_cache.sweep(tmp_path / "cache")
    assert cache.parent.stat().st_mode & 0o777 == 0o700, "who built was killed"
