"""What a source root installs as a package where somebody installs it: read from its files, without building it.

That is the folders that its code is imported from, its commands and other entry points, its name and its version, as
uv, poetry, hatch, setuptools, flit, pdm and maturin have them.
"""

import configparser
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from executor.sandbox.reading import head_of

ROOT = "."
COMMANDS = "console_scripts"
UNKNOWN = "0+unknown"
"""The version where only a build could say it, as from a tag of git."""

_VERSION = re.compile(r"""(?m)^(?:__)?version(?:__)?\s*(?::\s*\w+\s*)?=\s*["']([^"'\n]+)["']""", re.IGNORECASE)
_SHORT = re.compile(r"[\w.+!-]{1,100}")  # of a name or version
_TEXT_LIMIT = 1 << 20


def package_of(root: Path) -> dict[str, Any] | None:
    """What a source root's pyproject.toml, setup.cfg and setup.py say of its package; None if it is none.

    `folders` are relative to the root, `entry_points` by group; `name` is None where no file says it. What cannot be
    read counts as not there: whoever installs the package is told.
    """
    table, legacy = _toml(root / "pyproject.toml"), _setup_cfg(root / "setup.cfg")
    builds = _builds(root, table, legacy)
    folders = _folders(root, table, legacy, builds)
    if not folders:
        return None
    name = _word(
        _at(table, "project", "name")
        or _at(table, "tool", "poetry", "name")
        or _at(table, "tool", "flit", "metadata", "dist-name")
        or _at(table, "tool", "flit", "metadata", "module")
        or _at(legacy, "metadata", "name")
    )
    return {
        "name": name if builds else None,
        "version": _version(root, table, legacy, folders, name),
        "folders": folders,
        "entry_points": _entry_points(table, legacy) if builds else {},
    }


def _builds(root: Path, table: Mapping[str, Any], legacy: Mapping[str, Any]) -> bool:
    """Tell whether somebody who installs what the source root needs installs the root itself, too."""
    said = _at(table, "tool", "uv", "package"), _at(table, "tool", "poetry", "package-mode")
    if False in said:
        return False
    marks = "build-system" in table, _at(table, "project", "scripts"), _at(table, "tool", "poetry", "name"), legacy
    return any((*said, *marks)) or (root / "setup.py").is_file()


def _folders(root: Path, table: Mapping[str, Any], legacy: Mapping[str, Any], builds: bool) -> list[str]:
    """The folders that the code is imported from: those that are named, else `src`, else the root."""
    found = []
    for named in _named_folders(table, legacy):
        folder = os.path.normpath(named)
        if not (os.path.isabs(folder) or folder.startswith("..") or "\0" in folder) and (root / folder).is_dir():
            found.append(folder)
    if not found and (root / "src").is_dir() and not (root / "src/__init__.py").exists():
        marked = builds or (root / "pyproject.toml").is_file()
        found = ["src"] if marked else []
    return list(dict.fromkeys(found)) or ([ROOT] if builds else [])


def _named_folders(table: Mapping[str, Any], legacy: Mapping[str, Any]) -> Iterator[str]:
    for package in _list(_at(table, "tool", "poetry", "packages")):
        yield _at(package, "from") or ROOT
    yield from _texts(_at(table, "tool", "uv", "build-backend", "module-root"))
    yield from _texts(_at(table, "tool", "pdm", "build", "package-dir"))
    yield from _texts(_at(table, "tool", "maturin", "python-source"))
    for of_hatch in (_at(table, "tool", "hatch", "build"), _at(table, "tool", "hatch", "build", "targets", "wheel")):
        sources = _at(of_hatch, "sources")
        # As a table it also gives folders other names, which only a build can do.
        yield from _texts(
            [name for name, other in sources.items() if not other] if isinstance(sources, dict) else sources
        )
        yield from _texts(_at(of_hatch, "dev-mode-dirs"))
        for path in _texts(_at(of_hatch, "packages")):
            yield os.path.dirname(path) or ROOT
    yield from _texts(_at(table, "tool", "setuptools", "packages", "find", "where"))
    yield from _texts(_at(legacy, "options.packages.find", "where"))
    written = dict(line.partition("=")[::2] for line in _lines(_at(legacy, "options", "package_dir")))
    for mapped in (_at(table, "tool", "setuptools", "package-dir"), written):
        for package, folder in _table(mapped).items():
            yield from _texts(_above(str(package).strip(), folder))


def _above(package: str, folder: Any) -> str | None:
    """The folder that a package of setuptools' `package-dir` is imported from; None where it has another name."""
    parts = Path(folder.strip()).parts if isinstance(folder, str) else ()
    names = tuple(package.split(".")) if package else ()
    if not names:
        return str(Path(*parts)) if parts else ROOT
    return str(Path(*parts[: -len(names)])) if parts[-len(names) :] == names else None


def _entry_points(table: Mapping[str, Any], legacy: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Commands and other entry points, by group and name."""
    groups: dict[str, dict[str, str]] = {}
    tables = (
        (_at(table, "project"), "entry-points"),
        (_at(table, "tool", "poetry"), "plugins"),
        (_at(table, "tool", "flit"), "entrypoints"),
    )
    for tool, others in tables:
        for group, points in {COMMANDS: _at(tool, "scripts"), **_table(_at(tool, others))}.items():
            for name, point in _table(points).items():
                # Poetry's `{reference = "etl.main:main", type = "console"}`.
                target = _at(point, "reference") if isinstance(point, dict) else point
                if isinstance(target, str):
                    groups.setdefault(group, {}).setdefault(name, target.strip())
    for group, text in _table(_at(legacy, "options.entry_points")).items():
        for line in _lines(text):
            name, _, target = line.partition("=")
            groups.setdefault(group, {}).setdefault(name.strip(), target.strip())
    return groups


def _version(
    root: Path, table: Mapping[str, Any], legacy: Mapping[str, Any], folders: list[str], name: str | None
) -> str:
    """The version that a file states, or the one that a line of code sets."""
    project, poetry = _at(table, "project", "version"), _at(table, "tool", "poetry", "version")
    stated = _word(project or poetry or _at(legacy, "metadata", "version"))
    if stated is not None:
        return stated
    for place in _version_files(table, legacy, folders, name):
        text = _text(root, place)
        found = _VERSION.search(text)
        if version := found[1] if found else _word(text.strip()):
            return version
    return UNKNOWN


def _version_files(
    table: Mapping[str, Any], legacy: Mapping[str, Any], folders: list[str], name: str | None
) -> Iterator[str]:
    """Where the version stands if it is called dynamic."""
    yield from _texts(_at(table, "tool", "hatch", "version", "path"))
    yield from _texts(_at(table, "tool", "pdm", "version", "path"))
    modules = []
    for one in (
        _at(table, "tool", "setuptools", "dynamic", "version"),
        _read_by(_at(legacy, "metadata", "version")),
    ):
        yield from _texts(_at(one, "file"))
        modules += [attribute.rpartition(".")[0] for attribute in _texts(_at(one, "attr"))]
    flit = _at(table, "tool", "flit", "module", "name") or _at(table, "tool", "flit", "metadata", "module")
    modules += _texts(flit or (name or "").replace("-", "_"))
    for module in filter(None, modules):
        for end in (".py", "/__init__.py"):
            yield from (f"{folder}/{module.replace('.', '/')}{end}" for folder in folders)


def _read_by(stated: Any) -> dict[str, str]:
    """A version of setup.cfg that stands elsewhere: `attr: etl.__version__`, `file: VERSION`."""
    how, colon, where = stated.partition(":") if isinstance(stated, str) else ("", "", "")
    return {how.strip(): where.strip()} if colon else {}


def _setup_cfg(path: Path) -> dict[str, dict[str, str]]:
    """The sections of a setup.cfg that describes a package; many hold the settings of other tools alone."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path.parent, path.name))
    except (configparser.Error, ValueError):
        return {}
    sections = {name: dict(parser[name]) for name in parser.sections()}
    return sections if "metadata" in sections or "options" in sections else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path.parent, path.name))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _text(root: Path, name: str) -> str:
    """A file of the source root, as far as it can be read; empty otherwise."""
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            return ""
        return head_of(path, _TEXT_LIMIT).decode(errors="replace")
    except (OSError, ValueError, RuntimeError):
        return ""


def _at(table: Any, *keys: str) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    """A text, or those of a list."""
    return [one for one in ([value] if isinstance(value, str) else _list(value)) if isinstance(one, str)]


def _lines(text: Any) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()] if isinstance(text, str) else []


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _SHORT.fullmatch(value) else None
