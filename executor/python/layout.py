"""Where an interpreter lives: the files and folders that a run must reach to start it, found without executing it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from executor.errors import PythonUnavailable
from executor.python.remembering import Remembered
from executor.sandbox.asking import is_program
from executor.sandbox.folders import home_in
from executor.sandbox.reading import head_of

_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_ENVIRONMENT_MARK = "pyvenv.cfg"
# What tells that a folder is an environment or an installation: of venv, of conda, of Python itself.
_MARKS = (_ENVIRONMENT_MARK, "conda-meta/history", "lib*/python3*/os.py")
_OTHER_MARKS = ("lib/node_modules", "lib/ruby/gems", "lib/modules", "lib/rustlib", "pkg/tool")
_LINE = 256  # bytes of a script's first line that the kernel reads
_MARK_LIMIT = 64 << 10  # bytes of a pyvenv.cfg, which has a few lines
# The parts that are opened where a prefix as a whole is more than an interpreter's: somebody's home (`~/bin/python3`).
_PREFIX_PARTS = ("bin", "lib", "lib64", "include", _ENVIRONMENT_MARK)
_SHARED_BY_MANY = (".local", ".config", ".cache")  # of a home
_SYSTEMS_OWN = {
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "root",
    "run", "sbin", "srv", "sys", "tmp", "usr", "var",
}  # fmt: skip


def interpreter_paths(python: str | None) -> tuple[Path, list[Path]]:
    """The interpreter and the folders it lives from, found without executing anything.

    A virtual environment leads to the installation it was made from; every link on the way is followed and kept. The
    links themselves are among the paths: they open nothing, and are missed where the folder they stand in is hidden.
    Every run asks, so it is looked for anew only where something on the way has changed.

    Raises:
        PythonUnavailable: it is gone.
    """
    if python is None:
        return Path(), []
    path, parts = _remembered(python)
    return path, list(parts)


def _found(python: str) -> tuple[Path, tuple[Path, ...]]:
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
    return path, tuple(part for part in parts if not part.is_relative_to("/usr"))


def _decisive(python: str) -> Iterator[Path]:
    """What `_found` looks at: the links on the way, the folders that a program stands in, and their marks."""
    for installed in filter(None, (Path(python), _home_of(Path(python)))):
        yield installed
        yield from _passed(installed)
        for hop in _links(installed):
            prefix = hop.parent.parent
            yield from (hop, hop.parent, prefix, *(prefix / name for name in _PREFIX_PARTS))
            for mark in _MARKS:
                yield from (prefix.glob(mark) if "*" in mark else [prefix / mark, (prefix / mark).parent])
            yield from prefix.glob("lib*/python3*")


_remembered = Remembered(_found, _decisive)


def search_path_of(python: Path | None, folders: Sequence[str] = ()) -> str:
    """A run's PATH: the interpreter's folder, where it has one, and these, before the system's."""
    own = [] if python is None else [str(python.parent)]
    system = _SYSTEM_PATH.split(":")
    return ":".join(dict.fromkeys([*(one for one in (*own, *folders) if one not in system), *system]))


def shebang(path: Path) -> list[str]:
    """The words of a script's first line after `#!`; none for what is no script, or cannot be read."""
    try:
        line = head_of(path, _LINE)
    except (OSError, ValueError):
        return []
    return os.fsdecode(line[2:].split(b"\n")[0]).split() if line.startswith(b"#!") else []


def program_paths(path: Path) -> tuple[list[Path], list[str]]:
    """What a program lives from, found without executing it; and the folders in which its neighbours are looked for.

    As of an interpreter: all of an environment that it is a program of, however many links lead there, with the
    interpreter of its first line and what that was made from; the program alone where it is in no environment.
    """
    parts: dict[Path, None] = {}
    folders: list[str] = []
    hops = list(_links(path))
    for number, hop in enumerate(hops):
        prefix = hop.parent.parent
        if hop.parent.name == "bin" and is_environment(prefix) and not belongs_to_more(prefix):
            parts[prefix] = None
            folders += [str(hop.parent)] if number == 0 else []
        elif hop is hops[-1] and is_program(hop) and not any(hop.is_relative_to(part) for part in parts):
            # A package of npm's needs those that it was installed with, which lie beside it.
            parts[next((above for above in hop.parents if above.name == "node_modules"), hop)] = None
    parts |= dict.fromkeys(_passed(path))
    interpreter = [str(path)] if path.name.startswith("python") else shebang(hops[-1])
    if interpreter and is_program(Path(interpreter[0])):
        parts |= dict.fromkeys(interpreter_paths(interpreter[0])[1])
    return [part for part in parts if not part.is_relative_to("/usr")], folders


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

    The folder is the project's to choose, so no more is opened than an interpreter's own: all of a prefix only where an
    environment or an installation is, whose packages keep data beside their code (`share`, `etc`); and where that is a
    home, too, the parts that are an interpreter's, none of them a link out of it.
    """
    if hop.parent.name != "bin":
        if is_program(hop) and not hop.is_symlink():
            yield hop
        return
    prefix = hop.parent.parent
    is_one = is_installation(prefix)
    if is_one and not belongs_to_more(prefix):
        yield prefix
        return
    for name in _PREFIX_PARTS if is_one else ("bin",):
        part = Path(os.path.realpath(prefix / name))
        if part.is_relative_to(prefix) and part.exists():
            yield part
            if part != prefix / name:
                yield prefix / name  # `lib64`, a link to `lib`


def is_installation(prefix: Path) -> bool:
    """Whether a folder is an environment or an installation of Python."""
    return any(found.is_file() for mark in _MARKS for found in prefix.glob(mark))


def is_environment(prefix: Path) -> bool:
    """The same, or one of another language, as nvm, rbenv and the like lay them: it is nothing but that."""
    return is_installation(prefix) or any((prefix / mark).exists() for mark in _OTHER_MARKS)


def belongs_to_more(prefix: Path) -> bool:
    """Whether a folder is more than a prefix: a folder of the system, a home, what is above one or shared in it."""
    if prefix in (Path("/"), Path("/usr/local")) or (len(prefix.parts) == 2 and prefix.name in _SYSTEMS_OWN):
        return True
    return home_in(prefix) is not None or (prefix.name in _SHARED_BY_MANY and home_in(prefix.parent) is not None)


def _home_of(python: Path) -> Path | None:
    """The interpreter that an environment was made from, as its pyvenv.cfg says; one of copies has no link to it."""
    try:
        lines = head_of(python.parent.parent / _ENVIRONMENT_MARK, _MARK_LIMIT).decode().splitlines()
    except (OSError, ValueError):
        return None
    said = dict(line.partition("=")[::2] for line in lines)
    homes = [Path(value.strip()) for key, value in said.items() if key.strip().lower() == "home"]
    return next((home / name for home in homes for name in (python.name, "python3") if (home / name).exists()), None)
