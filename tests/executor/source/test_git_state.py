"""Which commit a source root is at: as git says, or as its files do; a look changes nothing and executes nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from executor.source import git_state as module
from executor.source.git_state import GitState, git_state
from tests.executor.source.test_ignoring import write

PATH = os.defpath

pytestmark = pytest.mark.skipif(shutil.which("git", path=PATH) is None, reason="there is no git here")


def git(folder: Path, *words: str) -> str:
    """One git command that succeeds, with nobody's configuration."""
    environ = {"PATH": PATH, "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    told = subprocess.run(["git", *who, "-C", folder, *words], env=environ, capture_output=True, text=True, check=True)
    return told.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, two folders deep."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "checkout"
    write(root, "jobs/job.py", "print(1)")
    write(root, "other/file", "x")
    write(root, ".gitignore", "*.log\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def test_a_clean_checkout_and_what_makes_it_dirty(checkout: Path) -> None:
    """Of the source root alone: what is changed, staged or new there; not what is ignored, or beside it."""
    commit = git(checkout, "rev-parse", "HEAD")
    root = checkout / "jobs"
    assert git_state(root, PATH) == GitState(commit, False)
    write(checkout, "other/file", "y")
    write(root, "x.log")
    assert git_state(root, PATH) == GitState(commit, False)
    assert git_state(checkout, PATH) == GitState(commit, True)
    write(root, "new.py")
    assert git_state(root, PATH) == GitState(commit, True)
    git(checkout, "add", "jobs/new.py")
    assert git_state(root, PATH).dirty is True
    git(checkout, "commit", "-qm", "second")
    assert git_state(root, PATH) == GitState(git(checkout, "rev-parse", "HEAD"), False)
    write(root, "job.py", "print(2)")
    assert git_state(root, PATH).dirty is True


def test_without_a_checkout_or_a_commit_nothing_is_said(tmp_path: Path, checkout: Path) -> None:
    """Nor where git refuses to look, as in a checkout of another user that it does not trust."""
    (tmp_path / "plain").mkdir()
    assert git_state(tmp_path / "plain", PATH) == GitState()
    git(tmp_path / "plain", "init", "-q")
    assert git_state(tmp_path / "plain", PATH) == GitState()
    if os.geteuid() == 0:
        for path in (checkout, checkout / ".git"):
            os.chown(path, 60600, 60600)
        assert git_state(checkout, PATH) == GitState()


def test_without_git_the_commit_is_read(tmp_path: Path, checkout: Path) -> None:
    """From a branch, packed or not, from a detached head, from a worktree; whether it is dirty nobody knows."""
    commit = git(checkout, "rev-parse", "HEAD")
    nowhere = str(tmp_path)
    assert git_state(checkout / "jobs", nowhere) == GitState(commit, None)
    git(checkout, "pack-refs", "--all")
    assert git_state(checkout, nowhere) == GitState(commit, None)
    git(checkout, "worktree", "add", "-q", "-b", "topic/one", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "second")
    assert git_state(tmp_path / "tree", nowhere) == GitState(git(tmp_path / "tree", "rev-parse", "HEAD"), None)
    git(checkout, "checkout", "-q", "--detach")
    assert git_state(checkout, nowhere) == GitState(commit, None)


@pytest.mark.parametrize(
    "head", ["", "ref: ", "ref: refs/../../secret", "ref: HEAD", "nonsense", "\xff", "ref: refs/heads"]
)
def test_a_broken_repository_is_no_error(tmp_path: Path, head: str) -> None:
    """A note is missing, and the run goes on."""
    write(tmp_path, "secret", "a" * 40)
    (tmp_path / "root/.git").mkdir(parents=True)
    (tmp_path / "root/.git/HEAD").write_text(head, encoding="latin-1")
    (tmp_path / "root/.git/packed-refs").write_text("# odd\n\n")
    assert git_state(tmp_path / "root", str(tmp_path)) == GitState()
    assert git_state(tmp_path / "root", PATH) == GitState()


def test_nothing_of_the_surroundings_leads_git_elsewhere(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its variables, as they are set in a hook, nor a file system monitor that the repository names."""
    commit = git(checkout, "rev-parse", "HEAD")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    write(tmp_path, "monitor", f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    (tmp_path / "monitor").chmod(0o755)
    git(checkout, "config", "core.fsmonitor", str(tmp_path / "monitor"))
    before = (checkout / ".git/index").stat()
    os.utime(checkout / "jobs/job.py")
    assert git_state(checkout, PATH) == GitState(commit, False)
    assert not (tmp_path / "executed").exists()
    assert (checkout / ".git/index").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("where", ["the checkout", "a submodule"])
@pytest.mark.parametrize("key", ["clean", "process"])
def test_a_checkouts_filters_are_not_executed(tmp_path: Path, checkout: Path, where: str, key: str) -> None:
    """I3: to look at somebody's repository is not to run what its configuration names."""
    place = checkout
    if where == "a submodule":
        git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(checkout), "part")
        git(checkout, "commit", "-qm", "part")
        place = checkout / "part"
    write(place, ".gitattributes", "*.py filter=ev=il\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "attributes")
    git(place, "config", f"filter.ev=il.{key}", f"touch {tmp_path}/executed; cat")
    git(place, "config", "filter.ev=il.required", "true")
    write(place, "jobs/job.py", (place / "jobs/job.py").read_text().replace("1", "2"))
    assert git_state(checkout, PATH).dirty is True
    assert not (tmp_path / "executed").exists()


def test_a_git_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission does not hang for a note."""
    write(tmp_path, "bin/git", "#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    assert git_state(checkout, f"{tmp_path}/bin:{PATH}") == GitState()
