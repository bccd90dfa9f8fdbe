"""Which commit a source root is at: as git says, or as its files do; a look changes nothing and executes nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from executor.sandbox import asking
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
    """Where git refuses to look, as in a checkout of another user that it does not trust, the commit is read."""
    (tmp_path / "plain").mkdir()
    assert git_state(tmp_path / "plain", PATH) == GitState()
    git(tmp_path / "plain", "init", "-q")
    assert git_state(tmp_path / "plain", PATH) == GitState()
    if os.geteuid() == 0:
        commit = git(checkout, "rev-parse", "HEAD")
        for path in (checkout, checkout / ".git"):
            os.chown(path, 60600, 60600)
        assert git_state(checkout, PATH) == GitState(commit, None)


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


def lacking(checkout: Path, url: str) -> None:
    """A clone that left out what its first commit holds, and would fetch it from there."""
    for key, value in (
        ("core.repositoryformatversion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", url),
        ("remote.origin.promisor", "true"),
        ("remote.origin.partialclonefilter", "blob:none"),
    ):
        git(checkout, "config", key, value)
    tree = git(checkout, "rev-parse", "HEAD^{tree}")
    lost = checkout / ".git/objects" / tree[:2] / tree[2:]
    lost.chmod(0o644)
    lost.unlink()


def filtered(checkout: Path, *where: str) -> None:
    """A file that git would have to ask a filter about, which stands in the configuration at `where`."""
    write(checkout, ".gitattributes", "*.py filter=ev=il diff=evil merge=evil\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "attributes")
    for key in ("clean", "smudge", "process"):
        git(checkout, "config", *where, f"filter.ev=il.{key}", "evil")
    git(checkout, "config", "filter.ev=il.required", "true")


def plant(checkout: Path, how: str, evil: str) -> None:
    """One of the ways in which a repository names a program."""
    if how == "a filter":
        filtered(checkout)
        git(checkout, "config", "filter.ev=il.clean", f"{evil} filter; cat")
    elif how == "a filter in a file that is included":
        filtered(checkout, "--file", str(checkout / "more"))
        git(checkout, "config", "--file", str(checkout / "more"), "filter.ev=il.process", f"{evil} included")
        git(checkout, "config", "include.path", "../more")
    elif how == "a filter of one worktree":
        filtered(checkout)
        for key in ("clean", "smudge", "process"):
            git(checkout, "config", "--unset", f"filter.ev=il.{key}")
        git(checkout, "config", "extensions.worktreeConfig", "true")
        git(checkout, "config", "--worktree", "filter.ev=il.clean", evil)
    elif how == "a fetch of what is missing":
        lacking(checkout, str(checkout))
        git(checkout, "config", "remote.origin.uploadpack", f"{evil} uploadpack; git-upload-pack")
    elif how == "the same over ssh":
        lacking(checkout, "ssh://nowhere.invalid/x")
        git(checkout, "config", "core.sshCommand", evil)
    elif how == "the same by a helper of its own":
        lacking(checkout, f"ext::{evil} ext")
        git(checkout, "config", "protocol.ext.allow", "always")
    elif how == "monitors, hooks and viewers":
        for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "pre-auto-gc"):
            hooks = checkout / git(checkout, "rev-parse", "--git-path", "hooks")
            write(hooks, hook, f"#!/bin/sh\n{evil} hook\n")
            (hooks / hook).chmod(0o755)
        for key in (
            "core.fsmonitor", "core.pager", "pager.status", "core.editor", "core.askPass", "core.gitProxy",
            "core.alternateRefsCommand", "diff.external", "diff.evil.command", "diff.evil.textconv", "gpg.program",
            "credential.helper", "alias.status", "hook.evil.command",
        ):  # fmt: skip
            git(checkout, "config", key, evil)
        git(checkout, "config", "hook.evil.event", "post-index-change")
    elif how == "a submodule":
        git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(checkout), "part")
        git(checkout, "commit", "-qm", "part")
        for key, value in (("status.submoduleSummary", "true"), ("diff.ignoreSubmodules", "none")):
            git(checkout, "config", key, value)
        plant(checkout / "part", "a filter", evil)
        plant(checkout / "part", "monitors, hooks and viewers", evil)


@pytest.mark.parametrize("believed", [True, False], ids=["as it is", "with no setting of ours"])
@pytest.mark.parametrize(
    "how",
    [
        "a filter",
        "a filter in a file that is included",
        "a filter of one worktree",
        "a fetch of what is missing",
        "the same over ssh",
        "the same by a helper of its own",
        "monitors, hooks and viewers",
        "a submodule",
    ],
)
def test_i3_nothing_that_a_repository_names_is_executed(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, how: str, believed: bool
) -> None:
    """I3: to look at somebody's repository is not to run what it names; the kernel sees to it, whatever git does."""
    write(tmp_path, "evil", f"#!/bin/sh\necho $0 $* >> {tmp_path}/executed\n")
    (tmp_path / "evil").chmod(0o755)
    plant(checkout, how, str(tmp_path / "evil"))
    commit = git(checkout, "rev-parse", "HEAD")
    write(checkout, "jobs/job.py", "print(2)")
    (tmp_path / "executed").unlink(missing_ok=True)  # setting it up has
    if not believed:
        monkeypatch.setattr(module, "_SETTINGS", ("index.threads=1", "core.preloadIndex=false"))
    found = git_state(checkout, PATH)
    assert not (tmp_path / "executed").exists()
    assert found.commit == commit
    seen = how == "a submodule" or (how == "monitors, hooks and viewers" and believed)
    assert found.dirty is (True if seen else None)


def test_i3_without_landlock_git_is_not_asked(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3, I9: there is no weaker way of asking; the commit comes from the files."""
    filtered(checkout)
    git(checkout, "config", "filter.ev=il.clean", f"touch {tmp_path}/executed; cat")
    write(checkout, "jobs/job.py", "print(2)")
    (tmp_path / "executed").unlink(missing_ok=True)
    none = "from executor.sandbox import kernel; kernel._LANDLOCK_CREATE_RULESET = 100_000; "  # no such system call
    monkeypatch.setattr(asking, "_CODE", asking._CODE.replace("from executor", f"{none}from executor", 1))
    assert git_state(checkout, PATH) == GitState(git(checkout, "rev-parse", "HEAD"), None)
    assert asking.ask(Path("/usr/bin/git"), ["--version"], {}, 10) is None
    assert not (tmp_path / "executed").exists()


def test_a_git_that_lies_in_the_checkout_is_not_executed(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: neither where PATH has its folder, nor where it has the current one."""
    commit = git(checkout, "rev-parse", "HEAD")
    shutil.copy("/bin/true", checkout / "git")
    write(tmp_path, "link/x")
    (tmp_path / "link/git").symlink_to(checkout / "git")
    monkeypatch.chdir(checkout)
    for entry in (".", "", str(checkout), str(tmp_path / "link")):
        assert git_state(checkout, entry) == GitState(commit, None)
        assert git_state(checkout, f"{entry}:{PATH}") == GitState(commit, True)


def test_a_git_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission does not hang for a note: configuration from a pipe; nor is anything read from one without git."""
    commit = git(checkout, "rev-parse", "HEAD")
    os.mkfifo(checkout / "pipe")
    with (checkout / ".git/config").open("a") as config:
        config.write('[include]\npath = "../pipe"\n')
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    assert git_state(checkout, PATH) == GitState(commit, None)
    for name in ("HEAD", "commondir", "packed-refs", "refs/heads/main"):
        (checkout / ".git" / name).unlink(missing_ok=True)
        os.mkfifo(checkout / ".git" / name)
    assert git_state(checkout, str(tmp_path)) == GitState()


def test_references_that_lead_in_a_circle_are_no_error(tmp_path: Path) -> None:
    """Nor a `.git` that links to itself."""
    write(tmp_path, "root/.git/HEAD", "ref: refs/heads/main\n")
    write(tmp_path, "root/.git/refs/heads/main", "ref: refs/heads/main\n")
    assert git_state(tmp_path / "root", str(tmp_path)) == GitState()
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop/.git").symlink_to(".git")
    assert git_state(tmp_path / "loop", str(tmp_path)) == GitState()


def test_of_a_checkout_with_many_changes_no_more_is_heard_than_is_needed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a repository makes git say does not fill our memory."""
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setattr(asking, "SAID_LIMIT", 300)
    for number in range(50):
        write(checkout, f"new-{number}")
    assert git_state(checkout, PATH) == GitState(commit, True)
