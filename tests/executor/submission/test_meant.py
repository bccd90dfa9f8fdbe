"""Targets of another kind are told the very command that works."""

from pathlib import Path

import pytest

from executor.errors import RequestUnclear, TargetUnusable
from executor.submission.files import _located
from executor.submission.target import parse

FILES = {
    "f.py": "def load(a='1'): return a\n",
    "etl/__init__.py": "",
    "etl/main.py": "def go(): ...\n",
    "pkg/__init__.py": "",
    "pkg/__main__.py": "",
    "app/__main__.py": "",
    "one/it.py": "",
    "many/a.py": "",
    "many/main.py": "",
    "lost/a.py": "",
    "lost/b.py": "",
    "src/shop/__init__.py": "",
    "src/shop/report.py": "def main(): ...\n",
    "d.sh": "echo hi\n",
    "x.js": "",
    "plain": "#!/usr/bin/env bash\n",
    "words.txt": "",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bit of everything."""
    root = tmp_path_factory.mktemp("project").resolve()
    for name, text in {"pyproject.toml": "", **FILES}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def told(words: list[str]) -> str:
    """All that is said of these words as a target."""
    with pytest.raises((RequestUnclear, TargetUnusable)) as refused:
        _located(Path.cwd(), parse(words))
    return f"{refused.value.message}\n{refused.value.hint}"


@pytest.mark.parametrize(
    ("typed", "works"),
    [
        ("etl", "etl/main.py"),
        ("pkg --x 1", "-m pkg --x 1"),
        ("app", "app/__main__.py"),
        ("one 2", "one/it.py 2"),
        ("many", "many/main.py"),
        ("etl.main a", "-m etl.main a"),
        ("shop.report", "-m shop.report"),
        ("etl/main a", "etl/main.py a"),
        ("f", "f.py"),
        ("etl.main:go", "etl/main.py:go"),
        ("shop.report:main 3", "src/shop/report.py:main 3"),
        ("f:load", "f.py:load"),
        ("f.py::load", "f.py:load"),
        ("load 1", "f.py:load 1"),
        (":load", "f.py:load"),
        ("ff.py", "f.py"),
        ("python f.py 1", "f.py 1"),
        ("python3 -m etl.main", "-m etl.main"),
        ("python3 -c code", "-- python3 -c code"),
        ("sort f.py", "-- sort f.py"),
        ("d.sh 1", "-- sh d.sh 1"),
        ("x.js", "-- node x.js"),
        ("plain", "-- bash plain"),
        ("-m etl/main.py a", "-m etl.main a"),
        ("-m ../etl/main.py", "../etl/main.py"),
        ("-m etl.main:go", "etl/main.py:go"),
    ],
)
def test_a_target_of_the_wrong_kind_is_told_what_works(
    project: Path, monkeypatch: pytest.MonkeyPatch, typed: str, works: str
) -> None:
    """Word for word, as it would be typed here."""
    monkeypatch.chdir(project)
    assert f"sealrun run {works}" in told(typed.split()).replace("did you mean: ", "").splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("lost", "lost is a folder\nname a file in it"),
        ("nothing", "there is no file nothing\n"),
        ("nothing.py:load", "there is no file nothing.py\n"),
        (
            "words.txt",
            "words.txt is not a Python file; to run a command, put -- before it\nsealrun run -- PROGRAM words.txt",
        ),
        ("f.py:Load.run", "'Load.run' is no function at the top of f.py\n"),
        ("f.py:", "'' is no function at the top of f.py\n"),
        ("-", "a target is no code: write it to a file, or run: sealrun run -- python3 -c CODE"),
        ("-c code", "a target is no code"),
    ],
)
def test_where_nothing_is_sure_to_be_meant_nothing_is_proposed(
    project: Path, monkeypatch: pytest.MonkeyPatch, typed: str, said: str
) -> None:
    """The sentence alone says what is wrong."""
    monkeypatch.chdir(project)
    assert told(typed.split()).startswith(said)


def test_a_module_below_another_folder_has_its_name_from_the_source_root(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `-m` begins; a file has its path from here."""
    monkeypatch.chdir(project / "etl")
    assert told(["etl.main"]).endswith("did you mean: sealrun run -m etl.main")
    assert told(["main"]).endswith("did you mean: sealrun run main.py")
    assert told(["../pkg"]).endswith("did you mean: sealrun run -m pkg")
