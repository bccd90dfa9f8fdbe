"""A source root's own package in a run's workspace: as if it were installed, without a build."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from executor.errors import StartFailed
from executor.sandbox.workspace import Workspace
from executor.worker.package import NONE, own_package
from tests.executor.source.test_ignoring import write
from tests.rig import job_python

MAIN = """
import sys
from importlib.metadata import entry_points, version

class App:
    @staticmethod
    def run():
        print(version("shop-etl"), sys.argv[1:])
        return 3
"""


def package(**changed: Any) -> dict[str, Any]:
    found = {
        "name": "Shop.etl",
        "version": "1.5",
        "folders": ["src"],
        "entry_points": {"console_scripts": {"etl": "etl.main:App.run"}},
    }
    return found | changed


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "source with a $HOME/src/etl").mkdir(parents=True)
    write(tmp_path, "source with a $HOME/src/etl/main.py", MAIN)
    (tmp_path / "run").mkdir()
    return Workspace(tmp_path / "run", None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source with a $HOME"


def test_its_command_is_a_program_like_any_other(place: Workspace, source: Path) -> None:
    """Found on PATH by shells and children too, with its arguments and exit code; and all of it is gone afterwards."""
    with own_package(package(), place, source, job_python()) as own:
        given = own.variables("/usr/bin:/bin")
        ended = subprocess.run(["sh", "-c", "etl a 'b c'"], env=given, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (3, "1.5 ['a', 'b c']\n", "")
        (place.path / "package/bin/left.py").touch()
    assert os.listdir(place.path / "package") == ["bin"] and os.listdir(place.path / "package/bin") == ["left.py"]
    (place.path / "package/bin/left.py").unlink()
    (place.path / "package/bin").rmdir()
    (place.path / "package").rmdir()
    with own_package(package(), place, source, job_python()):
        pass
    assert os.listdir(place.path) == []


def test_the_root_hides_nothing_of_python(place: Workspace, source: Path) -> None:
    """Code that lies in the root itself is found after the standard library, whatever else lies there."""
    write(source, "string.py", "raise SystemExit('the wrong string')")
    write(source, "flat.py", "import string, sys\ndef main(): sys.exit(string.digits)\n")
    commands = {"console_scripts": {"flat": "flat:main"}}
    with own_package(package(folders=["."], entry_points=commands), place, source, job_python()) as own:
        assert own.given({"kind": "file"})["import_from"] == [str(source)]
        ended = subprocess.run(["flat"], env=own.variables("/bin"), capture_output=True, text=True)
        assert ended.stderr == "0123456789\n"


def test_its_commands_come_before_programs_of_that_name(place: Workspace, source: Path) -> None:
    """Whatever the submitter's PATH has: `etl` in the project's folder is the project's."""
    with own_package(package(), place, source, job_python()) as own:
        named = [{"kind": "command", "argv": words} for words in (["etl", "x"], ["other"], [])]
        assert [own.has(target) for target in named] == [True, False, False]
        assert not own.has({"kind": "module", "module": "etl"}) and not NONE.has(named[0])


def test_what_is_installed_is_left_alone(place: Workspace, source: Path, tmp_path: Path) -> None:
    """A `.venv` with the project in it has its own commands and its own way to the code."""
    write(tmp_path, "env/lib/python3.12/site-packages/shop_etl-1.4.dist-info/METADATA", "")
    with own_package(package(), place, source, str(tmp_path / "env/bin/python")) as own:
        assert own == NONE
    with own_package(None, place, source, job_python()) as own:
        assert own == NONE and own.given({"kind": "file"}) == {"kind": "file"}


@pytest.mark.parametrize("folder", ["/etc", "../x", "src/../../x"])
def test_a_row_cannot_name_a_folder_elsewhere(place: Workspace, source: Path, folder: str) -> None:
    """Whoever writes a run's row has fewer rights than the worker that reads it."""
    with pytest.raises(StartFailed), own_package(package(folders=[folder]), place, source, job_python()):
        pass


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("../etl", "etl:main"),
        ("etl\n", "etl:main"),
        ("..", "etl:main"),
        ("etl", "etl"),
        ("etl", "os:a;b"),
        ("a/b", "x:y"),
    ],
)
def test_a_command_that_an_installer_would_refuse(place: Workspace, source: Path, name: str, target: str) -> None:
    """There is none of it, and nothing is written elsewhere."""
    points = {"console_scripts": {name: target}}
    with own_package(package(entry_points=points), place, source, job_python()) as own:
        assert own.commands is None and not (place.path / "package/bin").exists()
