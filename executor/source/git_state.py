"""Find a source root's commit and whether it has changes: from git, or from its files."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 3.0  # seconds; a submission does not wait longer for this
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# Keeps a repository's configuration from running programs when we only look.
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false")
_FILTER_OFF = {"clean": "", "process": "", "required": "false"}


@dataclass(frozen=True)
class GitState:
    """A commit, and whether the source root differs from it, including untracked files; None if unknown."""

    commit: str | None = None
    dirty: bool | None = None


def git_state(root: Path, search_path: str) -> GitState:
    """Return a source root's state; empty if it is not in a checkout, or git refuses or is too slow.

    Without git on `search_path` only the commit is found. Another commit of a submodule
    counts, too; what is changed within one does not, since its own configuration would have to be trusted.
    """
    repository = next((place / ".git" for place in (root, *root.parents) if os.path.lexists(place / ".git")), None)
    if repository is None:
        return GitState()
    git = shutil.which("git", path=search_path)
    return _read(repository) if git is None else _asked(git, root, search_path)


def _asked(git: str, root: Path, search_path: str) -> GitState:
    """Ask git, which must not execute what a checkout brings: hooks, filters of its own configuration, submodules'."""
    # HOME holds what git trusts (safe.directory). No GIT_* variables: within a hook they point elsewhere.
    own = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
    environ = {"PATH": search_path, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **own}
    told = "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty", "-z"
    here = [git, *_QUIET, "-C", str(root)]
    try:
        settings = _run([*here, "config", "--includes", "--show-scope", "-z", "--get-regexp", r"^filter\."], environ)
        said = _run([*here, "status", *told, "--", "."], environ | _without_filters(settings.stdout))
    except (OSError, subprocess.TimeoutExpired):
        return GitState()
    lines = said.stdout.split(b"\0")
    heads = [line.removeprefix(b"# branch.oid ").decode() for line in lines if line.startswith(b"# branch.oid ")]
    if said.returncode != 0 or not heads or not _COMMIT.fullmatch(heads[0]):
        return GitState()  # "(initial)": there is no commit yet
    return GitState(heads[0], any(line and not line.startswith(b"# ") for line in lines))


def _run(command: list[str], environ: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environ, timeout=_PATIENCE, check=False
    )


def _without_filters(settings: bytes) -> dict[str, str]:
    """Turn off the filters of a checkout's own configuration; those of the user's and of the system are theirs.

    `settings` is a scope, then name and value, each ended by NUL, as `git config` prints them.
    """
    words = settings.split(b"\0")
    names = {
        name.partition(b"\n")[0].rpartition(b".")[0]
        for scope, name in zip(words[::2], words[1::2], strict=False)
        if scope not in (b"system", b"global")
    }
    off = [(f"{os.fsdecode(name)}.{key}", value) for name in sorted(names) for key, value in _FILTER_OFF.items()]
    environ = {"GIT_CONFIG_COUNT": str(len(off))}
    for number, (key, value) in enumerate(off):
        environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environ


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
