"""A folder that sealrun makes for what a run left is no source; one that was there before is the user's."""

import os
from pathlib import Path

import pytest

from executor.source.packing import listing
from executor.source.results import make_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source root, and a folder in it that the user is in."""
    root = tmp_path / "shop"
    (root / "jobs").mkdir(parents=True)
    for name in (".sealrun.toml", "jobs/job.py"):
        (root / name).touch()
    monkeypatch.chdir(root / "jobs")
    return root


def names(root: Path) -> set[str]:
    return {entry.path for entry in listing(root, 1 << 20).entries}


@pytest.mark.parametrize("path", ["out", "../out", "out/deep", "{root}/out"])
def test_what_is_fetched_into_a_new_folder_is_not_uploaded(root: Path, path: str) -> None:
    """The folder itself is one with nothing in it; git knows no more of it than of any other."""
    folder = Path(path.format(root=root))
    make_folder(folder)
    (folder / "report.csv").touch()
    (folder / "more").mkdir()
    (folder / "more/report.csv").touch()
    make_folder(folder)
    found = names(root)
    assert not any(name.endswith((".csv", "more", ".sealrunignore")) for name in found) and "jobs/job.py" in found
    assert not (folder / ".gitignore").exists()


def test_a_folder_that_was_there_is_as_it_was(root: Path) -> None:
    """Whatever is in it is the user's to leave out; an empty one may be meant for more than this."""
    (root / "out").mkdir()
    make_folder(root / "out")
    make_folder(root)
    assert os.listdir(root / "out") == [] and names(root) == {".sealrun.toml", "jobs", "jobs/job.py", "out"}


def test_elsewhere_nothing_is_left_that_nobody_asked_for(root: Path, tmp_path: Path) -> None:
    """It is uploaded with no run of this root."""
    make_folder(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
