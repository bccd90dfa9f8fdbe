"""Folders of the machine: those that an operator opens to runs, and those that are never opened, homes above all."""

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_OF_HOMES = (Path("/home"), Path("/Users"))  # what lies here is one, though its account be listed nowhere
_NEVER = ("/run", "/proc", "/sys", "/dev")


@dataclass(frozen=True)
class OpenFolder:
    """A folder that is opened to the runs of these projects; to all runs where none is named."""

    path: Path
    projects: tuple[str, ...] = ()

    def is_for(self, project: str) -> bool:
        """Whether runs of this project have it."""
        return not self.projects or project in self.projects


def given_to(project: str, folders: Iterable[OpenFolder], closed: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders that are there now, each by its path without links.

    Looked at anew for each run: somebody else may have put a link in the place of one.
    """
    for folder in folders:
        real = Path(os.path.realpath(folder.path))
        if folder.is_for(project) and real.is_dir() and why_not(real, closed) is None:
            yield real


def why_not(folder: Path, closed: Iterable[Path]) -> str | None:
    """Return why a folder is never opened, where it is not: what it holds or lies in, however links lead there.

    Args:
        folder: the folder.
        closed: what no run may reach, such as SEALRUN_HOME.
    """
    real = Path(os.path.realpath(folder))
    for one in (*closed, *map(Path, _NEVER)):
        path = Path(os.path.realpath(one))
        if real.is_relative_to(path) or path.is_relative_to(real):
            return f"holds {path}, or lies in it"
    home = home_in(real)
    return None if home is None else f"is or holds a home folder, {home}"


def home_in(folder: Path) -> Path | None:
    """Return a home that a folder, a path without links, is or holds; None where it holds none."""
    if folder.parent in _OF_HOMES:
        return folder
    return next((home for home in _homes() if home.is_relative_to(folder)), None)


@lru_cache(maxsize=1)
def _homes() -> frozenset[Path]:
    """The homes of the accounts that are listed; once, since a directory of accounts may be large and far away."""
    named = {one.pw_dir for one in pwd.getpwall()} | {os.path.expanduser("~")}
    real = {Path(os.path.realpath(home)) for home in named}
    return frozenset(home for home in real if len(home.parts) > 1 and home.is_dir())


def size_of(path: Path) -> int:
    """Bytes on the disk."""
    size = 0
    for folder, _, files in os.walk(path):
        for name in (".", *files):
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return size
