"""Where a run's code is, and what the project file there says."""

import hashlib
import json
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
from secretstore.pin import Pin

PROJECT_FILE = ".sealrun.toml"
MARKS = (PROJECT_FILE, "pyproject.toml")
"""Files of which the nearest marks the source root."""
_SIZE_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True)
class ProjectFile:
    """The contents of `.sealrun.toml`, or of `[tool.sealrun]` in a pyproject.toml."""

    project: str | None = None
    environment: str | None = None
    server: str | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict, repr=False)
    """The key pairs of the project's environments: these, or successors of these."""
    dependencies: tuple[str, ...] | None = None
    """The requirements of a run's Python environment, instead of those in the folder's other files."""
    path: Path | None = field(default=None, compare=False, repr=False)
    """The file."""
    digest: str = field(default="", compare=False, repr=False)
    """Of what it says to sealrun, however it is written."""


def source_root(folder: Path, path: str | None) -> Path:
    """Return the nearest folder from `folder` up with a `.sealrun.toml` or `pyproject.toml`, else `folder`.

    One of another user's does not count, see `strangers`. For a target outside of it, the search starts at the target's
    folder.

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
    """Read the nearest project file from `folder` up, but for those of other users; empty if there is none.

    Raises:
        FileInvalid: it is not TOML, or a field has the wrong type.
    """
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        own, general = place / PROJECT_FILE, place / "pyproject.toml"
        # os.path, here and below: in a folder that we may not search, it says False and raises nothing.
        if os.path.isfile(own) and not _is_strangers(own, folder):
            return _parsed(own, _toml(own))
        if os.path.isfile(general) and not _is_strangers(general, folder):
            tools = _toml(general).get("tool", {})
            table = tools.get("sealrun") if isinstance(tools, dict) else tools
            if table is not None:
                return _parsed(general, table)
    return ProjectFile()


def strangers(folder: Path) -> Path | None:
    """The nearest `.sealrun.toml` that is passed over: that of a user who is neither us, nor root, nor the folder's.

    As in /tmp, where everybody can put one above everybody's folders.
    """
    folder = folder.resolve()
    found = (place / PROJECT_FILE for place in (folder, *folder.parents))
    return next((file for file in found if os.path.isfile(file) and _is_strangers(file, folder)), None)


def _marked(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        if any(os.path.isfile(place / mark) and not _is_strangers(place / mark, folder) for mark in MARKS):
            return place
    return None


def _is_strangers(file: Path, folder: Path) -> bool:
    try:
        return os.stat(file).st_uid not in (0, os.geteuid(), os.stat(folder).st_uid)
    except OSError:
        return False


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
        elif key not in ("project", "environment", "server"):
            known = "project, environment, server, dependencies or pins"
            raise FileInvalid(path=path, why=f"unknown key {key!r}; use {known}")
        elif not isinstance(value, str):
            raise FileInvalid(path=path, why=f"{key} is not text")
        else:
            fields[key] = value
    if "pins" in fields and "project" not in fields:
        raise FileInvalid(path=path, why='pins need a project: add project = "…"')
    said = json.dumps(table, sort_keys=True, default=str)
    return ProjectFile(**fields, path=path, digest=hashlib.sha256(said.encode()).hexdigest())


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
