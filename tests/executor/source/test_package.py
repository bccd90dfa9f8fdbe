"""What a source root installs as a package, read from the files that each tool writes for a new project."""

from pathlib import Path
from typing import Any

import pytest

from executor.source.package import UNKNOWN, package_of
from tests.executor.source.test_ignoring import write

PROJECT = '[project]\nname = "etl"\nversion = "1.5"\n'
SCRIPTS = '[project.scripts]\netl = "etl.main:main"\n'
COMMANDS = {"console_scripts": {"etl": "etl.main:main"}}

UV = f'{PROJECT}{SCRIPTS}[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
POETRY = f"""{PROJECT}{SCRIPTS}
[tool.poetry]
packages = [{{include = "etl", from = "src"}}]
[build-system]
requires = ["poetry-core>=2"]
build-backend = "poetry.core.masonry.api"
"""
POETRY_1 = """
[tool.poetry]
name = "etl"
version = "1.5"
[tool.poetry.scripts]
etl = {reference = "etl.main:main", type = "console"}
[build-system]
requires = ["poetry-core"]
"""
HATCH = f"""
[build-system]
requires = ["hatchling"]
[project]
name = "etl"
dynamic = ["version"]
{SCRIPTS}
[tool.hatch.version]
path = "src/etl/__about__.py"
"""
SETUPTOOLS = f"""
[build-system]
requires = ["setuptools"]
[project]
name = "etl"
dynamic = ["version"]
{SCRIPTS}
[tool.setuptools.packages.find]
where = ["lib"]
[tool.setuptools.dynamic]
version = {{attr = "etl.__version__"}}
"""
SETUP_CFG = """
[metadata]
name = etl
version = file: VERSION
[options]
package_dir =
    = lib
[options.entry_points]
console_scripts =
    etl = etl.main:main
"""
FLIT = f"""
[build-system]
requires = ["flit_core"]
[project]
name = "etl"
dynamic = ["version", "description"]
{SCRIPTS}"""
FLIT_OLD = """
[build-system]
requires = ["flit_core"]
[tool.flit.metadata]
module = "etl"
[tool.flit.scripts]
etl = "etl.main:main"
"""
PDM = f'{PROJECT}{SCRIPTS}[tool.pdm.build]\npackage-dir = "code"\n[build-system]\nrequires = ["pdm-backend"]\n'
MATURIN = f'{PROJECT}{SCRIPTS}[tool.maturin]\npython-source = "python"\n[build-system]\nrequires = ["maturin"]\n'
MODULE = '"""Loads."""\n__version__ = "1.5"\n'


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        ({"pyproject.toml": UV, "src/etl/__init__.py": ""}, "src"),
        ({"pyproject.toml": POETRY, "src/etl/__init__.py": "", "tests/__init__.py": ""}, "src"),
        ({"pyproject.toml": POETRY_1, "etl/__init__.py": ""}, "."),
        ({"pyproject.toml": HATCH, "src/etl/__about__.py": MODULE}, "src"),
        ({"pyproject.toml": SETUPTOOLS, "lib/etl/__init__.py": MODULE}, "lib"),
        ({"setup.cfg": SETUP_CFG, "lib/etl/__init__.py": "", "VERSION": "1.5\n"}, "lib"),
        ({"pyproject.toml": FLIT, "src/etl/__init__.py": MODULE}, "src"),
        ({"pyproject.toml": FLIT_OLD, "etl.py": MODULE}, "."),
        ({"pyproject.toml": PDM, "code/etl/__init__.py": ""}, "code"),
        ({"pyproject.toml": MATURIN, "python/etl/__init__.py": "", "src/lib.rs": ""}, "python"),
    ],
    ids=["uv", "poetry", "poetry-1", "hatch", "setuptools", "setup.cfg", "flit", "flit-old", "pdm", "maturin"],
)
def test_a_new_project_of_each_tool(tmp_path: Path, files: dict[str, str], folder: str) -> None:
    """Its folder of code, its command, and its version, also where that stands in the code."""
    for name, text in files.items():
        write(tmp_path, name, text)
    assert package_of(tmp_path) == {"name": "etl", "version": "1.5", "folders": [folder], "entry_points": COMMANDS}


@pytest.mark.parametrize(
    ("said", "folders"),
    [
        ('[tool.hatch.build.targets.wheel]\npackages = ["code/etl", "plain"]', ["code", "."]),
        ('[tool.hatch.build.targets.wheel]\nsources = ["code"]', ["code"]),
        ('[tool.hatch.build.targets.wheel.sources]\n"code" = ""\n"src" = "other"', ["code"]),
        ('[tool.hatch.build]\ndev-mode-dirs = [".", "code"]', [".", "code"]),
        ('[tool.uv.build-backend]\nmodule-root = "code"', ["code"]),
        ('[tool.uv.build-backend]\nmodule-root = ""', ["."]),
        ('[tool.setuptools.package-dir]\n"" = "code"', ["code"]),
        ('[tool.setuptools.package-dir]\netl = "code/etl"\nother = "src/name"', ["code"]),
        ('[tool.poetry]\npackages = [{include = "etl"}, {include = "x", from = "code"}]', [".", "code"]),
        ("", ["src"]),
        # What leads out of the source root, or is not there, or is of another type, does not count.
        ('[tool.uv.build-backend]\nmodule-root = "../code"', ["src"]),
        ('[tool.uv.build-backend]\nmodule-root = "/usr"', ["src"]),
        ('[tool.uv.build-backend]\nmodule-root = "gone"', ["src"]),
        ("[tool]\nhatch = 3\nsetuptools = []\npdm = {build = 7}", ["src"]),
    ],
)
def test_where_a_project_says_that_its_code_is(tmp_path: Path, said: str, folders: list[str]) -> None:
    """As each tool lets it be said; without a word `src` is it."""
    for name in ("code/etl", "src/name"):
        (tmp_path / name).mkdir(parents=True)
    write(tmp_path, "pyproject.toml", f"{PROJECT}[build-system]\nrequires = []\n{said}\n")
    found = package_of(tmp_path)
    assert found is not None and found["folders"] == folders


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"job.py": ""}, None),
        ({"pyproject.toml": "[tool.ruff]\n"}, None),
        ({"pyproject.toml": "[project\n"}, None),
        ({"setup.cfg": "[flake8]\nmax-line-length = 100\n"}, None),
        ({"pyproject.toml": f"{UV}[tool.uv]\npackage = false\n"}, None),
        ({"src/job.py": ""}, None),
        # The code of an application that nobody installs is found, and nothing more.
        ({"pyproject.toml": PROJECT, "src/etl/x.py": ""}, {"name": None, "folders": ["src"], "entry_points": {}}),
        ({"pyproject.toml": PROJECT, "src/__init__.py": ""}, None),
        ({"setup.py": "raise SystemExit", "src/etl/x.py": ""}, {"name": None, "folders": ["src"]}),
        ({"setup.py": ""}, {"name": None, "version": UNKNOWN, "folders": ["."]}),
    ],
)
def test_what_is_no_package_or_half_of_one(tmp_path: Path, files: dict[str, str], expected: Any) -> None:
    """Nothing is executed to find out, and what cannot be read is not there."""
    for name, text in files.items():
        write(tmp_path, name, text)
    found = package_of(tmp_path)
    assert found is None if expected is None else found is not None and expected.items() <= found.items()


def test_a_version_that_only_a_build_knows(tmp_path: Path) -> None:
    """As one of git's tags: it is said to be unknown. A file that a link leads out of the source to is not read."""
    write(tmp_path, "outside/version.py", MODULE)
    write(tmp_path, "root/pyproject.toml", HATCH.replace("src/etl/__about__.py", "version.py"))
    (tmp_path / "root/version.py").symlink_to(tmp_path / "outside/version.py")
    found = package_of(tmp_path / "root")
    assert found is not None and found["version"] == UNKNOWN


def test_entry_points_for_plugins(tmp_path: Path) -> None:
    """Other programs find them by group."""
    write(tmp_path, "pyproject.toml", f'{PROJECT}[project.entry-points.pytest11]\netl = "etl.plugin"\n[build-system]\n')
    found = package_of(tmp_path)
    assert found is not None and found["entry_points"] == {"pytest11": {"etl": "etl.plugin"}}
