"""The Pythons of this machine that a worker offers: found once when it starts, never fetched from elsewhere."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from executor.errors import PythonUnavailable
from executor.requirements import allows
from executor.source import choose_interpreter, is_binary

_NAMED = re.compile(r"python3\.[0-9]+")
_SYSTEM = ("/usr/local/bin", "/usr/bin")
_MANAGED = ".local/share/uv/python/*/bin"  # where `uv python install` puts them
_ASK = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.implementation.name)"
_PATIENCE = 20.0  # seconds for an interpreter to say which it is


@dataclass(frozen=True)
class Interpreter:
    """One interpreter. `version` is in full, as in `3.12.4`; `stamp` tells whether the file is still the same."""

    path: Path
    version: str
    stamp: tuple[int, int]

    @property
    def minor(self) -> str:
        """As in `3.12`."""
        return self.version.rpartition(".")[0]

    @property
    def order(self) -> tuple[int, ...]:
        """To compare versions by."""
        return tuple(map(int, self.version.split(".")))


@dataclass(frozen=True)
class Interpreters:
    """What was found, the one that is taken where nothing is asked for first."""

    found: tuple[Interpreter, ...] = ()

    @property
    def offered(self) -> tuple[str, ...]:
        """Every version, as in `3.12` and as in `3.12.4`, so that a claim can match either."""
        newest_first = sorted(self.found, key=lambda one: one.order, reverse=True)
        return tuple(dict.fromkeys(word for one in newest_first for word in (one.minor, one.version)))

    def choose(self, version: str | None, requirements: dict[str, Any] | None) -> Interpreter:
        """The first that is of the version asked for and that `requires-python` allows; the newest of several versions.

        Raises:
            PythonUnavailable: there is none, none is of this version, or none is allowed.
        """
        if not self.found:
            raise PythonUnavailable(why="this worker has found none but sealrun's own")
        of_version = [one for one in map(_again, self.found) if version in (None, one.minor, one.version)]
        here = ", ".join(one.version for one in self.found)
        if not of_version:
            raise PythonUnavailable(
                "this worker has no Python {version}; it has {found}",
                version=version,
                found=here,
                hint="choose another with --python X.Y, or install it on the worker and start that anew",
            )
        allowed = [one for one in of_version if allows(requirements, one.version)]
        if not allowed:
            raise PythonUnavailable(
                "this worker has no Python that requires-python {wanted} allows; it has {found}",
                wanted=(requirements or {}).get("requires_python"),
                found=here,
                hint="install one on the worker and start that anew, or ask for a version that another has: "
                "--python X.Y",
            )
        if of_version[0] in allowed:
            return of_version[0]
        return max(allowed, key=lambda one: one.order)


def find(search_path: str, home: Path, usable: Callable[[Path], bool]) -> Interpreters:
    """Look on a search path, in the system's folders, and where uv keeps those it manages.

    Args:
        search_path: the worker's PATH. Its `python3`, unless that is sealrun's own, is the first.
        home: the home of the worker's user.
        usable: whether a run may be started with one, by its path.
    """
    found: dict[Path, Interpreter] = {}
    for path in _candidates(search_path, home):
        real = path.resolve()
        if real not in found and usable(path) and (asked := ask(path)) is not None:
            found[real] = asked
    return Interpreters(tuple(found.values()))


def ask(path: Path) -> Interpreter | None:
    """The interpreter at a path, by its own word; None for what is none, or no CPython."""
    try:
        return _asked(path, _stamp(path))
    except OSError:
        return None


@lru_cache
def _asked(path: Path, stamp: tuple[int, int]) -> Interpreter | None:
    try:
        asked = subprocess.run(
            [path, "-I", "-S", "-c", _ASK],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False, env={},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    version, _, implementation = asked.stdout.strip().partition(" ")
    if asked.returncode or implementation != "cpython" or not re.fullmatch(r"3\.[0-9]+\.[0-9]+", version):
        return None
    return Interpreter(path, version, stamp)


def _candidates(search_path: str, home: Path) -> Iterator[Path]:
    with contextlib.suppress(PythonUnavailable):
        yield Path(choose_interpreter(None, None, search_path))
    folders = [*(Path(entry) for entry in search_path.split(os.pathsep) if entry), *map(Path, _SYSTEM)]
    folders += [*sorted(home.glob(_MANAGED)), Path(sys.base_prefix) / "bin"]
    for folder in dict.fromkeys(folders):
        yield from _in(folder)


def _in(folder: Path) -> Iterator[Path]:
    if sys.prefix != sys.base_prefix and folder.resolve() == (Path(sys.prefix) / "bin").resolve():
        return
    try:
        names = sorted(name for name in os.listdir(folder) if _NAMED.fullmatch(name))
    except OSError:
        return
    for name in names:
        path = folder.absolute() / name
        # A shim such as pyenv's is a script: what it stands for is found where it is installed, or not at all.
        if os.path.isfile(path) and os.access(path, os.X_OK) and is_binary(path):
            yield path


def _again(known: Interpreter) -> Interpreter:
    """The same, asked anew where the file was replaced meanwhile, as by an update of the system."""
    # One that is gone is told of when it is started.
    return ask(known.path) or known


def _stamp(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size
