"""Find a run's source root and interpreter at submission, and the paths that the worker opens for them."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.errors import FileInvalid, PythonUnavailable, SourceIsHome, TargetUnusable
from executor.sandbox.confinement import users_home
from secretstore.pins import Pin

PROJECT_FILE = ".sealrun.toml"
_MARKS = (PROJECT_FILE, "pyproject.toml")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# The parts of a prefix that an interpreter needs. A whole prefix may be somebody's home (`~/bin/python3`).
_ENVIRONMENT_MARK = "pyvenv.cfg"
_PREFIX_PARTS = ("bin", "lib", "lib64", "include", _ENVIRONMENT_MARK)


@dataclass(frozen=True)
class ProjectFile:
    """The contents of `.sealrun.toml`, or of `[tool.sealrun]` in a pyproject.toml."""

    project: str | None = None
    environment: str | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict, repr=False)
    """The key pairs of the project's environments: these, or successors of these."""
    dependencies: tuple[str, ...] | None = None
    """The requirements of a run's Python environment, instead of those in the folder's other files."""


def source_root(folder: Path, path: str | None) -> Path:
    """Return the nearest folder from `folder` up with a `.sealrun.toml` or `pyproject.toml`, else `folder`.

    For a target outside of it, the search starts at the target's folder.

    Raises:
        TargetUnusable: `path` is not a file.
        SourceIsHome: the root would be or contain a user's home.
    """
    folder = folder.resolve()
    root = _marked(folder) or folder
    if path is not None:
        if "\0" in path or not os.path.isfile(target := (folder / path).resolve()):
            raise TargetUnusable(path=path, root=root)
        if not target.is_relative_to(root):
            root = _marked(target.parent) or target.parent
    if any(home.is_relative_to(root) for home in _homes()):
        raise SourceIsHome(root=root)
    return root


def relative_target(root: Path, folder: Path, path: str) -> str:
    """Return a target's path relative to the source root.

    Raises:
        TargetUnusable: it is outside of the root.
    """
    target = (folder / path).resolve()
    if not target.is_relative_to(root):
        raise TargetUnusable(
            "{path} is outside the source root {root}",
            path=path,
            root=root,
            hint="start the run from the folder of its code",
        )
    return str(target.relative_to(root))


def project_file(folder: Path) -> ProjectFile:
    """Read the nearest project file from `folder` up; empty if there is none.

    Raises:
        FileInvalid: it is not TOML, or a field has the wrong type.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        own, general = place / PROJECT_FILE, place / "pyproject.toml"
        # os.path, here and below: in a folder that we may not search, it says False and raises nothing.
        if os.path.isfile(own):
            return _parsed(own, _toml(own))
        if os.path.isfile(general):
            tools = _toml(general).get("tool", {})
            table = tools.get("sealrun") if isinstance(tools, dict) else tools
            if table is not None:
                return _parsed(general, table)
    return ProjectFile()


def choose_interpreter(root: Path | None, wanted: str | None, search_path: str) -> str:
    """Return the run's interpreter: `wanted`, else the source root's `.venv`, else `python3` on the submitter's PATH.

    Never sealrun's own: its packages do not belong to a run.

    Raises:
        PythonUnavailable: there is none, or `wanted` is not one.
    """
    if wanted is not None:
        path = Path(os.path.expanduser(wanted))
        if os.path.exists(path / "bin/python"):
            path = path / "bin/python"
        if not _is_program(path):
            raise PythonUnavailable(why=f"{wanted} is not an executable file")
        return str(path.absolute())
    if root is not None and (own := own_environment(root)) is not None:
        return str(own)
    for entry in search_path.split(os.pathsep):
        candidate = Path(entry).absolute() / "python3"
        if entry and _is_program(candidate):
            found = candidate if is_binary(candidate) else _behind(candidate)
            if found is not None and not _is_ours(found):
                return str(found)
    raise PythonUnavailable(why="the source root has no .venv, and PATH has no python3 other than sealrun's own")


def own_environment(root: Path) -> Path | None:
    """Return the interpreter of the source root's `.venv`, unless it is sealrun's own."""
    own = root / ".venv/bin/python"
    return own if own.exists() and not _is_ours(own) else None


def interpreter_paths(python: str | None) -> tuple[Path, list[Path]]:
    """Return the interpreter and the paths that it needs, without executing anything.

    A virtual environment leads to the installation it was made from; every link on the way is followed. The links are
    among the paths: they open nothing, but are needed if the folder that holds them is hidden.

    Raises:
        PythonUnavailable: it does not exist.
    """
    if python is None:
        return Path(), []
    path = Path(python)
    if not os.path.exists(path):
        raise PythonUnavailable(why=f"{python} does not exist")
    # A link outside of any environment needs only its own folder: `~/.local/bin/python3` must not open
    # `~/.local/share`.
    parts: dict[Path, None] = {}
    for installed in (path, _home_of(path)):
        if installed is not None:
            for hop in _links(installed):
                parts |= dict.fromkeys(_parts(hop))
            parts |= dict.fromkeys(_passed(installed))
    return path, [part for part in parts if not part.is_relative_to("/usr")]


def search_path_of(python: Path | None) -> str:
    """Return a run's PATH: the interpreter's folder, if it has one, then the system's."""
    if python is None or str(python.parent) in _SYSTEM_PATH.split(":"):
        return _SYSTEM_PATH
    return f"{python.parent}:{_SYSTEM_PATH}"


def _marked(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if any(os.path.isfile(place / mark) for mark in _MARKS):
            return place
    return None


def _homes() -> Iterator[Path]:
    yield users_home().resolve()
    if (home := os.environ.get("HOME", "")).startswith("/"):
        yield Path(home).resolve()


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileInvalid(path=path, why=str(error)) from None


def _parsed(path: Path, table: Any) -> ProjectFile:
    if not isinstance(table, dict):
        raise FileInvalid(path=path, why="tool.sealrun is not a table")
    fields: dict[str, Any] = {}
    for key, value in table.items():
        if key == "pins":
            fields[key] = _pins(path, value)
        elif key == "dependencies":
            if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
                raise FileInvalid(path=path, why="dependencies is not a list of texts")
            fields[key] = tuple(value)
        elif key not in ("project", "environment"):
            known = "project, environment, dependencies or pins"
            raise FileInvalid(path=path, why=f"unknown key {key!r}; use {known}")
        elif not isinstance(value, str):
            raise FileInvalid(path=path, why=f"{key} is not text")
        else:
            fields[key] = value
    if "pins" in fields and "project" not in fields:
        raise FileInvalid(path=path, why='pins need a project: add project = "…"')
    return ProjectFile(**fields)


def _pins(path: Path, table: Any) -> dict[str, Pin]:
    if not isinstance(table, dict):
        raise FileInvalid(path=path, why="pins is not a table")
    pins = {}
    for environment, text in table.items():
        try:
            pins[environment] = Pin.parse(text if isinstance(text, str) else "")
        except ValueError as why:
            raise FileInvalid(path=path, why=f"the pin of {environment!r} cannot be read: {why}") from None
    return pins


def _links(path: Path) -> Iterator[Path]:
    """Yield the path and every target of its chain of links, resolved as the kernel does: folders' links first."""
    for _ in range(40):
        path = Path(os.path.realpath(path.parent)) / path.name
        yield path
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()


def _passed(path: Path) -> Iterator[Path]:
    """Yield every link on a path, linked folders included, each by a path without links above it."""
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
    """Yield what an interpreter at `hop` needs; only the last part of `hop` may be a link.

    The project chooses the folder, so only what belongs to an interpreter is opened: whole parts of a prefix only if it
    is an environment or an installation, and no part that is a link out of it.
    """
    if hop.parent.name != "bin":
        if _is_program(hop) and not hop.is_symlink():
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
    """Find the interpreter that an environment was made from in its pyvenv.cfg: a copied one has no link to it."""
    try:
        lines = (python.parent.parent / _ENVIRONMENT_MARK).read_text().splitlines()
    except (OSError, ValueError):
        return None
    said = dict(line.partition("=")[::2] for line in lines)
    homes = [Path(value.strip()) for key, value in said.items() if key.strip().lower() == "home"]
    return next((home / name for home in homes for name in (python.name, "python3") if (home / name).exists()), None)


def _is_ours(candidate: Path) -> bool:
    if sys.prefix == sys.base_prefix:  # sealrun is installed among the system's packages
        return candidate.resolve() == Path(sys.executable).resolve()
    return candidate.parent.resolve() == (Path(sys.prefix) / "bin").resolve()


def _is_program(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def is_binary(path: Path) -> bool:
    """Tell whether a program is not a script."""
    try:
        with open(path, "rb") as program:
            return program.read(2) != b"#!"
    except OSError:
        return True  # a program may be executable and not readable; a script may not


def _behind(shim: Path) -> Path | None:
    """Ask a shim such as pyenv's for its interpreter; safe to run, as it is on the submitter's own PATH."""
    command = [str(shim), "-I", "-c", "import sys; print(sys.executable)"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = Path(asked.stdout.strip() or "/nonexistent")
    return found if asked.returncode == 0 and _is_program(found) and is_binary(found) else None
