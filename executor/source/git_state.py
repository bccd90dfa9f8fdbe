"""Find a source root's commit and whether it has changes: from git, or from its files."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox import asking
from executor.sandbox.reading import all_of, head_of

_PATIENCE = 3.0  # seconds; a submission does not wait longer for this
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_LINE = 4096  # bytes
_SETTINGS_LIMIT = 1 << 20  # bytes
_PACKED_LIMIT = 64 << 20
_REFERENCES = 5  # that lead to one another, as in git
# A repository's configuration is not ours: what of it would start a program is turned off where it can be, so that git
# need not fail for it. That it starts none is not up to these, but to the kernel. Threads count as processes there.
_SETTINGS = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false", "core.preloadIndex=false",
    "index.threads=1", "protocol.allow=never", "safe.bareRepository=explicit",
)  # fmt: skip
_STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=dirty", "-z")


@dataclass(frozen=True)
class GitState:
    """A commit, and whether the source root differs from it, including untracked files; None if unknown."""

    commit: str | None = None
    dirty: bool | None = None


def git_state(root: Path, search_path: str) -> GitState:
    """Return a source root's state; empty if it is not in a checkout, or nothing there can be made sense of.

    git may execute nothing: neither what the checkout's configuration names nor, for a file that a filter would have to
    be asked about, the filter of the user's own. `dirty` is unknown then, and where there is no git, or no means to
    confine it, or where it refuses or is too slow; the commit is read from the files. Another commit of a submodule
    counts as a change; what is changed within one does not, since its own configuration would have to be trusted.
    """
    repository = next((place / ".git" for place in (root, *root.parents) if os.path.lexists(place / ".git")), None)
    if repository is None:
        return GitState()
    git = asking.found_on(search_path, "git", outside=repository.parent)
    told = _asked(git, root) if git is not None else None
    return told or GitState(_read(repository))


def deciding(root: Path, search_path: str) -> list[Path] | None:
    """The files that decide on a source root's state beside those in it; None where more may have a say.

    As submodules have, repositories within this one, and a user's settings that name further files.
    """
    repository = next((place / ".git" for place in (root, *root.parents) if os.path.lexists(place / ".git")), None)
    if repository is None:
        return []
    git = asking.found_on(search_path, "git", outside=repository.parent)
    if git is None or os.path.lexists(repository.parent / ".gitmodules"):
        return None
    try:
        place, common = _places(repository)
        head = _line(place / "HEAD")
    except (OSError, ValueError, RuntimeError):
        return None
    home = Path(os.environ.get("HOME", "/nonexistent"))
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    settings = [
        Path("/etc/gitconfig"),
        home / ".gitconfig",
        own / "config",
        common / "config",
        place / "config.worktree",
    ]
    if any(_names_files(file) for file in settings):
        return None
    if head.startswith("ref: ") and any(_leads_on(folder / head.removeprefix("ref: ")) for folder in (place, common)):
        return None
    names = [head.removeprefix("ref: ")] if head.startswith("ref: refs/") and ".." not in head else []
    found = [git, repository, place, *settings, own / "ignore", own / "attributes"]
    found += [folder / name for folder in (place, common) for name in ("HEAD", "index", "packed-refs", *names)]
    return [*found, *(common / "info" / name for name in ("exclude", "attributes", "sparse-checkout"))]


def _leads_on(reference: Path) -> bool:
    """Whether a branch is another one by another name, which is not watched."""
    try:
        return _line(reference).startswith("ref: ")
    except (OSError, ValueError, RuntimeError):
        return False


def _names_files(settings: Path) -> bool:
    """Whether a file of git's settings names files, or conditions, that are not watched."""
    try:
        text = all_of(settings, _SETTINGS_LIMIT).lower()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return any(word in text for word in (b"include", b"excludesfile", b"attributesfile", b"worktree", b"reftable"))


def _asked(git: Path, root: Path) -> GitState | None:
    # HOME holds what git trusts (safe.directory). No GIT_* variables: within a hook they point elsewhere.
    own = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
    environ = {"PATH": "/nonexistent", "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **own}
    environ |= {"GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1"}
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    said = asking.ask(git, [*settings, "-C", str(root), *_STATUS, "--", "."], environ, _PATIENCE)
    if said is None or (said.whole and said.status != 0):
        return None
    lines = said.out.split(b"\0")
    heads = [line.removeprefix(b"# branch.oid ") for line in lines if line.startswith(b"# branch.oid ")]
    if not heads or not _COMMIT.fullmatch(head := heads[0].decode(errors="replace")):
        return None  # "(initial)": there is no commit yet
    # What it complains of, such as a filter that it could not start, it did not look at.
    dirty = any(line and not line.startswith(b"# ") for line in lines)
    return GitState(head, None if said.err else dirty)


def _read(repository: Path) -> str | None:
    """Read the commit from the files."""
    try:
        place, common = _places(repository)
        return _resolved(place, common, _line(place / "HEAD"))
    except (OSError, ValueError, RuntimeError):  # the last is a loop of links
        return None


def _places(repository: Path) -> tuple[Path, Path]:
    """Where a checkout's own state is, and where what it shares with others of its repository is."""
    place = repository
    if os.path.isfile(place):  # a worktree or a submodule: the repository is elsewhere
        place = (repository.parent / _line(place).removeprefix("gitdir: ")).resolve()
    shared = place / "commondir"
    return place, (place / _line(shared)).resolve() if os.path.isfile(shared) else place


def _resolved(place: Path, common: Path, head: str) -> str | None:
    for _ in range(_REFERENCES):
        name = head.removeprefix("ref: ")
        if name == head:
            return head if _COMMIT.fullmatch(head) else None
        if not name.startswith("refs/") or ".." in name:
            return None
        loose = next((folder / name for folder in (place, common) if os.path.isfile(folder / name)), None)
        if loose is None:
            return _packed(common / "packed-refs", name)
        head = _line(loose)
    return None


def _packed(file: Path, name: str) -> str | None:
    lines = all_of(file, _PACKED_LIMIT).decode().splitlines() if os.path.isfile(file) else []
    found = next((line.split()[0] for line in lines if line.split()[1:] == [name]), "")
    return found if _COMMIT.fullmatch(found) else None


def _line(file: Path) -> str:
    return head_of(file, _LINE).decode().strip()
