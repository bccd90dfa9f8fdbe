"""Folders of the machine: those that an operator opens to runs, and those that are never opened, homes above all."""

import contextlib
import os
import pwd
import stat
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


def real(path: Path | str) -> Path | None:
    """A path without links; None for a maze of them, which Python would lose itself in and the kernel does not follow.

    Whoever owns a folder on the way may have laid them.
    """
    try:
        return Path(os.path.realpath(path))
    except (RecursionError, ValueError):
        return None


def given_to(project: str, folders: Iterable[OpenFolder], closed: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders that are there now, each by its path without links.

    Looked at anew for each run: somebody else may have put a link in the place of one.
    """
    for folder in folders:
        place = real(folder.path)
        if place is not None and folder.is_for(project) and place.is_dir() and why_not(place, closed) is None:
            yield place


def why_not(folder: Path, closed: Iterable[Path]) -> str | None:
    """Return why a folder is never opened, where it is not: what it holds or lies in, however links lead there.

    Args:
        folder: the folder.
        closed: what no run may reach, such as SEALRUN_HOME.
    """
    if (place := real(folder)) is None:
        return "lies behind more links than are followed"
    for path in filter(None, map(real, (*closed, *map(Path, _NEVER)))):
        if place.is_relative_to(path) or path.is_relative_to(place):
            return f"holds {path}, or lies in it"
    home = home_in(place)
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
    return frozenset(home for home in map(real, named) if home and len(home.parts) > 1 and home.is_dir())


def size_of(path: Path) -> int:
    """Bytes on the disk, however deep they lie."""
    size, left = 0, [os.fspath(path)]
    with contextlib.suppress(OSError):
        size += os.lstat(path).st_blocks * 512
    while left:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    size += found.st_blocks * 512
                    left += [entry.path] * stat.S_ISDIR(found.st_mode)
    return size
