"""Folders of this machine that others have a hand in: whatever they put there, a worker and `doctor` go on."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from executor.sandbox import folders
from executor.sandbox.folders import OpenFolder, given_to, size_of, why_not
from executor.sandbox.limits import removal
from executor.sandbox.removal import remove

MANY = 1200
"""Links, or folders in each other: more than Python goes into by calling itself."""


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path that leads to a folder through many links, which the kernel does not follow."""
    folder = tmp_path_factory.mktemp("maze")
    (folder / "end").mkdir()
    before = "end"
    for number in range(MANY):
        (folder / f"l{number}").symlink_to(before)
        before = f"l{number}"
    return folder / before


@pytest.fixture(scope="module")
def deep() -> Iterator[str]:
    """A folder with many in each other, and a file in the last."""
    top = f"/tmp/d{os.getpid()}"
    os.mkdir(top)
    handle = os.open(top, os.O_RDONLY)
    for _ in range(MANY):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    with open(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=handle), "wb") as file:
        file.write(b"x" * 100_000)
    os.close(handle)
    yield top
    remove(Path(top))


def test_a_maze_of_links_is_given_to_nobody(maze: Path, tmp_path: Path) -> None:
    """Neither at a worker's start nor for a run is it followed; what is closed by such a path closes nothing else."""
    assert "behind more links than" in str(why_not(maze, [tmp_path / "closed"]))
    assert list(given_to("shop", [OpenFolder(maze), OpenFolder(tmp_path)], [maze])) == [tmp_path]


def test_a_home_behind_a_maze_is_none(maze: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of accounts is the machine's; what lies on the way to a home may be anybody's."""
    monkeypatch.setattr(folders.pwd, "getpwall", lambda: [SimpleNamespace(pw_dir=str(maze))])
    folders._homes.cache_clear()
    try:
        assert folders.home_in(maze.parent / "end") is None
    finally:
        folders._homes.cache_clear()


def test_a_deep_folder_is_measured(deep: str) -> None:
    """As a run can leave one in its place, and `doctor` looks."""
    assert size_of(Path(deep)) >= 100_000


def test_groups_that_lie_deep_are_found(deep: str) -> None:
    """A run that may make groups in its own, at rung `process`, does not keep the next worker from clearing them."""
    assert len(removal._folders(deep)) == MANY + 1
