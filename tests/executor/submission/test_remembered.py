"""What a process remembers of its files, and that no change of one is missed."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.errors import ArgumentsRefused, TargetUnusable
from executor.schemas.target import Target
from executor.source import sight
from executor.submission import remembered
from executor.submission.remembered import Remembered
from executor.submission.specification import specify
from secretstore.database import Database
from tests.executor.source.test_ignoring import write
from tests.executor.submission.test_specification import Place

CODE = "def go(n):\n    return n\n"


class Again(Place):
    """A process that submits one function again and again, on a clock that the test sets."""

    def __init__(self, db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(db, folder)
        write(self.jobs, "job.py", CODE)
        write(self.jobs, "pyproject.toml", "[project]\nname = 'jobs'\nversion = '1'\n")
        self.memory = Remembered()
        self.now = time.monotonic()
        monkeypatch.setattr(remembered.time, "monotonic", lambda: self.now)
        self.asked = self.request().model_copy(update={"target": Target("function", "job.py", "go")})

    def submit(self, **asked: Any) -> Any:
        request = self.asked.model_copy(update={"values": {"n": 1}, **asked})
        return specify(self.db, self.settings(), request, self.memory).spec

    def files(self) -> object:
        """What would be used for the next one."""
        return self.memory.files(self.asked, self.settings())

    def warm(self) -> object:
        """Submit until what the files say is remembered; what is."""
        for _ in range(3):
            self.submit()
            self.now += sight.SETTLED + 0.1
        self.submit()
        assert self.files() is self.files(), "it is remembered"
        return self.files()


@pytest.fixture
def again(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Again]:
    monkeypatch.setenv("HOME", "/nonexistent")
    (tmp_path / "home").mkdir(mode=0o700)
    yield Again(sqlite_db, tmp_path, monkeypatch)


def test_what_has_not_changed_is_found_once(again: Again) -> None:
    """And only after it was the same for longer than a file system's clock ticks."""
    again.submit()
    assert again.files() is not again.files(), "not at the first look"
    again.submit()
    assert again.files() is not again.files(), "nor at one right after it: a change may have the same time"
    found = again.warm()
    again.submit(values={"n": 2})
    assert again.files() is found


def _same_size(file: Path) -> None:
    file.write_text(CODE.replace("(n)", "(m)").replace("return n", "return m"))


def _same_size_and_time(file: Path) -> None:
    before = file.stat()
    _same_size(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def _replaced(file: Path) -> None:
    before = file.stat()
    other = file.with_name("other")
    _same_size(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)


def _a_link_elsewhere(file: Path) -> None:
    other = file.parent / "other.py"
    _same_size(other)
    file.unlink()
    file.symlink_to(other)


@pytest.mark.parametrize("change", [_same_size, _same_size_and_time, _replaced, _a_link_elsewhere])
def test_a_changed_target_is_never_missed(again: Again, change: Callable[[Path], None]) -> None:
    """Not with the same size, not with its time set back, not as another file of its name."""
    again.warm()
    change(again.jobs / "job.py")
    with pytest.raises(ArgumentsRefused):
        again.submit()
    again.submit(values={"m": 1})


def test_a_target_that_went_is_missed_at_once(again: Again) -> None:
    """Whatever was known of it."""
    again.warm()
    (again.jobs / "job.py").unlink()
    with pytest.raises(TargetUnusable):
        again.submit()


def test_a_nearer_project_is_seen(again: Again) -> None:
    """A file that appears can make another folder the source root, and change what is built for the run."""
    again.warm()
    write(again.folder, "jobs/.sealrun.toml", 'dependencies = ["humanize"]\n')
    again.now += 1
    assert again.submit().requirements["with"] == ["humanize"]
    write(again.folder, "jobs/pyproject.toml", "[project]\nname = 'jobs'\nversion = '2'\n[build-system]\n")
    assert again.submit().package["version"] == "2"


def test_a_mark_above_makes_another_root(again: Again) -> None:
    """It lies in no folder that is looked through."""
    (again.jobs / "pyproject.toml").unlink()
    again.warm()
    assert again.submit().source_root == str(again.jobs)
    write(again.folder, ".sealrun.toml", "")
    assert again.submit().source_root == str(again.folder)
    again.warm()  # what has changed is remembered in its turn, below another root


def test_a_commit_and_an_edit_are_seen(again: Again) -> None:
    """Of any file, however deep; and what git alone knows of: what is staged, and what is committed."""
    write(again.jobs, "deep/er/data.csv", "1")
    git = ["git", "-C", str(again.jobs), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "1"], check=True)
    path = f"{again.asked.search_path}:{os.defpath}"
    again.asked = again.asked.model_copy(update={"search_path": path})
    again.warm()
    first = again.submit()
    assert (len(first.source_commit), first.source_dirty) == (40, False)
    write(again.jobs, "deep/er/data.csv", "2")
    assert again.submit().source_dirty is True
    again.warm()
    subprocess.run([*git, "commit", "-qam", "2"], check=True)
    third = again.submit()
    assert third.source_commit != first.source_commit and third.source_dirty is False


def test_what_is_uploaded_is_what_is_there(again: Again) -> None:
    """Content decides, not what was packed before."""
    again.submit(bundle=True)
    again.asked = again.asked.model_copy(update={"bundle": True})
    again.warm()
    first = again.submit().bundle
    assert again.submit().bundle == first
    _same_size_and_time(again.jobs / "job.py")
    assert again.submit(values={"m": 1}).bundle != first


def test_a_folder_of_too_much_is_looked_at_each_time(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is one within which there is another repository, or which lies on a network's file system."""
    monkeypatch.setattr(sight, "_MOST", 1)
    for _ in range(4):
        again.submit()
        again.now += sight.SETTLED + 0.1
    assert again.files() is not again.files()
    monkeypatch.undo()
    monkeypatch.setattr(sight, "_LOCAL", frozenset())
    assert sight.watch([again.jobs / "job.py"], again.jobs) is None
    write(again.jobs, "vendor/.git/HEAD", "ref: refs/heads/main")
    assert sight.Watch((), str(again.jobs)).look() is None


def test_what_git_reads_elsewhere_has_nothing_remembered(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's settings that name further files, and submodules."""
    git = ["git", "-C", str(again.jobs)]
    subprocess.run([*git, "init", "-q"], check=True)
    search_path = os.defpath
    assert sight.watch([], again.jobs) is not None
    from executor.source import git_state

    assert git_state.deciding(again.jobs, search_path)
    write(again.folder, "user/.gitconfig", "[core]\n\texcludesFile = ~/ignored\n")
    monkeypatch.setenv("HOME", str(again.folder / "user"))
    assert git_state.deciding(again.jobs, search_path) is None
    monkeypatch.setenv("HOME", "/nonexistent")
    write(again.jobs, ".gitmodules", "")
    assert git_state.deciding(again.jobs, search_path) is None
