"""Folders of the machine that a worker's operator opens to runs: which, to whom, and what is never one."""

import os
import pwd
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    for home in {one.pw_dir for one in pwd.getpwall()} | {os.path.expanduser("~")}:
        place = Path(os.path.realpath(home))
        if len(place.parts) > 1 and place.is_dir() and place.is_relative_to(real):
            return f"is or holds a home folder, {place}"
    return None
