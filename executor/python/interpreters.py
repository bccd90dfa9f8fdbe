"""The Pythons of this machine that a worker offers: found once when it starts, never downloaded."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uv

from executor.errors import PythonUnavailable
from executor.python.choice import choose_interpreter, is_binary
from executor.python.layout import interpreter_paths
from executor.python.requirements import allows
from executor.sandbox import confinement
from executor.sandbox.host import Host
from executor.settings import Settings
from secretstore.errors import SealrunError

logger = logging.getLogger(__name__)

_SYSTEM = ("/usr/local/bin", "/usr/bin")
_LIST = ("python", "list", "--only-installed", "--no-python-downloads", "--offline", "--no-config")
_PATIENCE = 60.0  # seconds; uv asks every interpreter once, later it takes 20 ms


@dataclass(frozen=True)
class Interpreter:
    """One interpreter. `version` is complete, as in `3.12.4`."""

    path: Path
    version: str

    @property
    def minor(self) -> str:
        """Its version as in `3.12`."""
        return self.version.rpartition(".")[0]

    @property
    def order(self) -> tuple[int, ...]:
        """Its version as numbers, to compare."""
        return tuple(map(int, self.version.split(".")))


@dataclass(frozen=True)
class Interpreters:
    """The interpreters found, the default one first."""

    found: tuple[Interpreter, ...] = ()

    @property
    def offered(self) -> tuple[str, ...]:
        """Every version, both as `3.12` and as `3.12.4`, so that a claim can match either."""
        newest_first = sorted(self.found, key=lambda one: one.order, reverse=True)
        return tuple(dict.fromkeys(word for one in newest_first for word in (one.minor, one.version)))

    def choose(self, version: str | None, requirements: dict[str, Any] | None) -> Interpreter:
        """Choose an interpreter: the default one if it fits, else the newest that fits.

        Raises:
            PythonUnavailable: there is none, none has this version, or `requires-python` allows none.
        """
        if not self.found:
            raise PythonUnavailable(why="this worker found none other than sealrun's own")
        of_version = [one for one in self.found if version in (None, one.minor, one.version)]
        here = ", ".join(one.version for one in self.found)
        if not of_version:
            raise PythonUnavailable(
                "this worker has no Python {version}; it has {found}",
                version=version,
                found=here,
                hint="choose another with --python X.Y, or install it on the worker and restart that",
            )
        allowed = [one for one in of_version if allows(requirements, one.version)]
        if not allowed:
            raise PythonUnavailable(
                "this worker has no Python that requires-python {wanted} allows; it has {found}",
                wanted=(requirements or {}).get("requires_python"),
                found=here,
                hint="install one on the worker and restart that, or ask for a version of another worker: --python X.Y",
            )
        if of_version[0] in allowed:
            return of_version[0]
        return max(allowed, key=lambda one: one.order)


def offered(settings: Settings, host: Host, search_path: str) -> Interpreters:
    """Find those that a worker on this machine offers, which has this search path."""
    return find(search_path, confinement.users_home(), _usable(settings, host))


def find(search_path: str, home: Path, usable: Callable[[Path], bool]) -> Interpreters:
    """Ask uv for interpreters on a search path, in the system's folders, and among those that uv manages.

    Args:
        search_path: the worker's PATH. Its `python3`, unless it is sealrun's own, becomes the default.
        home: the home folder of the worker's user.
        usable: tells whether a run may use an interpreter.
    """
    first: Path | None = None
    with contextlib.suppress(PythonUnavailable):
        first = Path(choose_interpreter(None, None, search_path))
    folders = [first.parent] if first else []
    folders += [Path(entry) for entry in search_path.split(os.pathsep) if os.path.isabs(entry)]
    folders += [*map(Path, _SYSTEM), Path(sys.base_prefix) / "bin"]
    listed = _listed([folder for folder in dict.fromkeys(folders) if _is_searched(folder)], home)
    found: dict[Path, Interpreter] = {}
    for one in sorted(listed, key=lambda one: one.path != first):
        real = one.path.resolve()
        if real not in found and is_binary(one.path) and usable(one.path):
            found[real] = one
    return Interpreters(tuple(found.values()))


def _usable(settings: Settings, host: Host) -> Callable[[Path], bool]:
    """Whether a run may be started with an interpreter, which may lie where only this worker's user gets to."""

    uid = settings.run_uids.start if os.geteuid() == 0 else None

    def usable(path: Path) -> bool:
        try:
            parts = interpreter_paths(str(path))[1]
            anywhere = Path("/")
            confinement.view(host, source=anywhere, interpreter=parts, writable=[anywhere], uid=uid, forbidden=())
        except (SealrunError, OSError):
            return False
        return True

    return usable


def _is_searched(folder: Path) -> bool:
    """Exclude sealrun's own folder, and folders of shims such as pyenv's, which uv would have to start."""
    if sys.prefix != sys.base_prefix and folder.resolve() == (Path(sys.prefix) / "bin").resolve():
        return False
    return is_binary(folder / "python3")


def _listed(folders: list[Path], home: Path) -> list[Interpreter]:
    # uv caches what it knows of an interpreter until the file changes.
    cache = [] if os.access(home, os.W_OK) else ["--no-cache"]
    search_path = os.pathsep.join(map(str, folders))
    try:
        listed = subprocess.run(
            [uv.find_uv_bin(), *_LIST, *cache, "--output-format", "json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_PATIENCE, check=True,
            env={"PATH": search_path, "HOME": str(home)}, cwd="/",
        )  # fmt: skip
        found = json.loads(listed.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("uv could not list the Pythons of this machine: %s", type(error).__name__)
        return []
    return [
        Interpreter(Path(one["path"]), one["version"])
        for one in found
        if (one["implementation"], one["variant"]) == ("cpython", "default")
        and re.fullmatch(r"3\.[0-9]+\.[0-9]+", one["version"])
    ]
