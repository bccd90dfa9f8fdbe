"""Where an interpreter lives: the files and folders that a run must reach to start it, found without executing it."""

import os
from collections.abc import Iterator
from pathlib import Path

from executor.errors import PythonUnavailable

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# The parts of a prefix an interpreter lives from. A prefix as a whole may be somebody's home (`~/bin/python3`).
_ENVIRONMENT_MARK = "pyvenv.cfg"
_PREFIX_PARTS = ("bin", "lib", "lib64", "include", _ENVIRONMENT_MARK)


def interpreter_paths(python: str | None) -> tuple[Path, list[Path]]:
    """The interpreter and the folders it lives from, found without executing anything.

    A virtual environment leads to the installation it was made from; every link on the way is followed and kept. The
    links themselves are among the paths: they open nothing, and are missed where the folder they stand in is hidden.

    Raises:
        PythonUnavailable: it is gone.
    """
    if python is None:
        return Path(), []
    path = Path(python)
    if not os.path.exists(path):
        raise PythonUnavailable(why=f"{python} does not exist")
    # A link that makes no environment is passed through, and needs its own folder alone: `~/.local/bin/python3` is no
    # reason to open `~/.local/share`.
    parts: dict[Path, None] = {}
    for installed in (path, _home_of(path)):
        if installed is not None:
            for hop in _links(installed):
                parts |= dict.fromkeys(_parts(hop))
            parts |= dict.fromkeys(_passed(installed))
    return path, [part for part in parts if not part.is_relative_to("/usr")]


def search_path_of(python: Path | None) -> str:
    """A run's PATH: the interpreter's folder, where it has one, before the system's."""
    if python is None or str(python.parent) in _SYSTEM_PATH.split(":"):
        return _SYSTEM_PATH
    return f"{python.parent}:{_SYSTEM_PATH}"


def is_program(path: Path) -> bool:
    """Whether it is a file that may be executed."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _links(path: Path) -> Iterator[Path]:
    """The path, and each place a chain of links leads to, as the kernel goes: a folder's own links before `..`."""
    for _ in range(40):
        path = Path(os.path.realpath(path.parent)) / path.name
        yield path
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()


def _passed(path: Path) -> Iterator[Path]:
    """Every link on the way to where a path leads, linked folders included, each by a path without links above it."""
    here, left, links = Path("/"), list(reversed(path.parts[1:])), 0
    while left and links < 40:
        name = left.pop()
        if name == "..":
            here = here.parent
        elif (link := here / name).is_symlink():
            yield link
            links += 1
            target = link.readlink()
            here = Path("/") if target.is_absolute() else here
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        else:
            here = link


def _parts(hop: Path) -> Iterator[Path]:
    """What an interpreter at `hop`, a path without links but perhaps its last, lives from.

    The folder is the project's to choose, so no more is opened than an interpreter's own: whole parts of a prefix only
    where an environment or an installation is, and no part that is a link out of it.
    """
    if hop.parent.name != "bin":
        if is_program(hop) and not hop.is_symlink():
            yield hop
        return
    prefix = hop.parent.parent
    is_one = (prefix / _ENVIRONMENT_MARK).is_file() or any(prefix.glob("lib*/python3*/os.py"))
    for name in _PREFIX_PARTS if is_one else ("bin",):
        part = Path(os.path.realpath(prefix / name))
        if part.is_relative_to(prefix) and part.exists():
            yield part
            if part != prefix / name:
                yield prefix / name  # `lib64`, a link to `lib`


def _home_of(python: Path) -> Path | None:
    """The interpreter that an environment was made from, as its pyvenv.cfg says; one of copies has no link to it."""
    try:
        lines = (python.parent.parent / _ENVIRONMENT_MARK).read_text().splitlines()
    except (OSError, ValueError):
        return None
    said = dict(line.partition("=")[::2] for line in lines)
    homes = [Path(value.strip()) for key, value in said.items() if key.strip().lower() == "home"]
    return next((home / name for home in homes for name in (python.name, "python3") if (home / name).exists()), None)
