"""Where a run's code is, and what the project file there says."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.errors import FileInvalid, SourceIsHome, TargetUnusable
from executor.sandbox.confinement import users_home
from executor.sandbox.folders import home_in
from executor.sandbox.reading import all_of
from secretstore.pins import Pin

PROJECT_FILE = ".sealrun.toml"
_MARKS = (PROJECT_FILE, "pyproject.toml")
_SIZE_LIMIT = 1 << 20  # bytes


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
        SourceIsHome: the root would be or contain a home, this user's or another's.
    """
    folder = folder.resolve()
    root = _marked(folder) or folder
    if path is not None:
        if "\0" in path or not os.path.isfile(target := (folder / path).resolve()):
            if "\0" not in path and os.path.isdir(folder / path):
                hint = f"name a file in it; paths are relative to the source root {root}"
                raise TargetUnusable("{path} is a folder", path=path, hint=hint)
            raise TargetUnusable(path=path, root=root)
        if not target.is_relative_to(root):
            root = _marked(target.parent) or target.parent
    if home_in(root) is not None or any(home.is_relative_to(root) for home in _homes()):
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
        return tomllib.loads(all_of(path, _SIZE_LIMIT).decode())
    except OSError as error:
        raise FileInvalid(path=path, why=(error.strerror or "it cannot be read").lower()) from None
    except ValueError as error:
        raise FileInvalid(path=path, why=str(error)) from None
    except RecursionError:
        raise FileInvalid(path=path, why="it is nested too deeply") from None


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
