"""A command's program outside the run's own PATH, or an interpreter: what it lives from, whether a run may reach it.

A run's row names it, and a row proves nothing. So what it lives from is opened where this worker's operator opened it,
or where only this worker's own user can have submitted the run: then a run reads what its submitter can read anyway.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.errors import ProgramRefused
from executor.python.layout import belongs_to_more, program_paths, search_path_of, shebang
from executor.sandbox.asking import is_program
from executor.sandbox.confinement import SYSTEM_FOLDERS
from executor.settings import Settings

_PYTHONS = ("python", "python3")


@dataclass(frozen=True)
class Reach:
    """What this worker opens to runs beside their own source: `everything` that its user can read, or `folders`."""

    folders: tuple[Path, ...]
    everything: bool
    forbidden: tuple[Path, ...]

    def opens(self, part: Path) -> bool:
        """Whether a file or folder, a path without links, may be opened to a run."""
        if any(part.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
            return True
        closed = [Path(os.path.realpath(path)) for path in self.forbidden]
        if any(part.is_relative_to(path) or path.is_relative_to(part) for path in closed):
            return False
        if part.is_dir() and belongs_to_more(part):
            return False
        return self.everything or any(part.is_relative_to(os.path.realpath(folder)) for folder in self.folders)


@dataclass(frozen=True)
class Program:
    """What is executed, what has to be readable for it, and the folders that come before the system's on PATH."""

    path: str | None = None
    parts: tuple[Path, ...] = ()
    folders: tuple[str, ...] = ()


def program_of(argv: Sequence[str], told: Iterable[str], python: str | None, reach: Reach) -> Program:
    """Find a command's program.

    Args:
        argv: the command.
        told: where the submitter has it, and what its first line looks up; see `executor.submission.programs`.
        python: the run's interpreter, whose environment comes first.
        reach: what may be opened.

    Raises:
        ProgramRefused: it may not be reached.
    """
    name = argv[0]
    if python is not None and name in _PYTHONS and not is_program(Path(python).with_name(name)):
        return Program(python)  # by its path: from that it knows its environment
    if python is not None and "/" not in name and is_program(Path(python).with_name(name)) and not _on_path(python):
        return Program()
    here = [path for path in map(Path, told) if path.is_absolute() and is_program(path)]
    parts: dict[Path, None] = {}
    folders: dict[str, None] = {}
    for path in here:
        _check_packages(name, path)
        found, before = program_paths(path)
        for part in found:
            if not part.is_symlink() and not reach.opens(part):
                raise ProgramRefused(name=name, path=path, part=part)
        parts |= dict.fromkeys(found)
        folders |= dict.fromkeys(before or [str(path.parent)] * _is_systems(path))
    return Program(str(here[0]) if here else None, tuple(parts), tuple(folders))


def check_interpreter(python: str, parts: Iterable[Path], own: Sequence[Path], reach: Reach) -> None:
    """Refuse an interpreter that lives from what is closed to runs: a row or a pyvenv.cfg of the source may name any.

    Args:
        python: its path.
        parts: what it lives from; the links among it open nothing.
        own: what the run has anyway, paths without links: its source, and the Pythons that this worker offers.
        reach: what else may be opened.

    Raises:
        ProgramRefused: it may not be reached.
    """
    for part in parts:
        if part.is_symlink() or any(part.is_relative_to(one) for one in own):
            continue
        if not reach.opens(part):
            raise ProgramRefused(name="the run's Python", path=python, part=part)


def only_its_user_submits(settings: Settings) -> bool:
    """Whether nobody but the user of this process can put a run into the database: it is a file of theirs alone."""
    if not settings.store.database_is_default:
        return False
    home = os.stat(settings.store.home)
    return home.st_uid == os.geteuid() and not home.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_systems(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in SYSTEM_FOLDERS)


def _on_path(program: str) -> bool:
    return os.path.dirname(program) in search_path_of(None).split(os.pathsep)


def _check_packages(name: str, path: Path) -> None:
    """Refuse what `pip install --user` made: a script whose packages lie in the home itself."""
    real = Path(os.path.realpath(path))
    words = shebang(real)
    prefix = real.parent.parent
    if (
        words
        and Path(words[0]).name.startswith("python")
        and belongs_to_more(prefix)
        and any(prefix.glob("lib/python3*/site-packages"))
        and not _is_systems(real)
    ):
        raise ProgramRefused(
            "{name} is {path}, whose packages lie in {prefix}, and a home folder is closed to runs",
            name=name,
            path=path,
            prefix=prefix,
            hint="have it installed for the run (--with PACKAGE), or into an environment of its own (pipx, uv tool)",
        )
