"""Find a source root's commit and whether it has changes: from git, or from its files."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 3.0  # seconds; a submission does not wait longer for this
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# Keeps a repository's configuration from running programs when we only look.
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false")


@dataclass(frozen=True)
class GitState:
    """A commit, and whether the source root differs from it, including untracked files; None if unknown."""

    commit: str | None = None
    dirty: bool | None = None


def git_state(root: Path, search_path: str) -> GitState:
    """Return a source root's state; empty if it is not in a checkout, or git refuses or is too slow.

    Without git on `search_path` only the commit is found. Changes in submodules count, too.
    """
    repository = next((place / ".git" for place in (root, *root.parents) if os.path.lexists(place / ".git")), None)
    if repository is None:
        return GitState()
    git = shutil.which("git", path=search_path)
    return _read(repository) if git is None else _asked(git, root, search_path)


def _asked(git: str, root: Path, search_path: str) -> GitState:
    # HOME holds what git trusts (safe.directory). No GIT_* variables: within a hook they point elsewhere.
    own = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
    environ = {"PATH": search_path, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **own}
    command = [git, *_QUIET, "-C", str(root), "status", "--porcelain=v2", "--branch", "--untracked-files=normal"]
    try:
        said = subprocess.run(
            [*command, "-z", "--", "."],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environ,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return GitState()
    lines = said.stdout.split(b"\0")
    heads = [line.removeprefix(b"# branch.oid ").decode() for line in lines if line.startswith(b"# branch.oid ")]
    if said.returncode != 0 or not heads or not _COMMIT.fullmatch(heads[0]):
        return GitState()  # "(initial)": there is no commit yet
    return GitState(heads[0], any(line and not line.startswith(b"# ") for line in lines))


def _read(repository: Path) -> GitState:
    """Read the commit from the files."""
    try:
        place = repository
        if place.is_file():  # a worktree or a submodule: the repository is elsewhere
            place = (repository.parent / _line(place).removeprefix("gitdir: ")).resolve()
        head = _line(place / "HEAD")
        shared = place / "commondir"
        common = (place / _line(shared)).resolve() if shared.is_file() else place
        return GitState(_resolved(place, common, head))
    except (OSError, ValueError):
        return GitState()


def _resolved(place: Path, common: Path, head: str) -> str | None:
    name = head.removeprefix("ref: ")
    if name == head:
        return head if _COMMIT.fullmatch(head) else None
    for folder in (place, common):
        if name.startswith("refs/") and ".." not in name and (folder / name).is_file():
            return _resolved(place, common, _line(folder / name))
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.split()[1:] == [name]), None)


def _line(file: Path) -> str:
    return file.read_text()[:4096].strip()
