"""A source root's own package, as if the run's Python had it installed: where it is imported from, commands, metadata.

Nothing is built, and nothing of it is executed here: the source's folders stand on the run's path for modules, and
beside them a folder of files that are written from what the submitter has read in pyproject.toml.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.errors import StartFailed
from executor.sandbox.workspace import Workspace
from executor.source.package import COMMANDS, ROOT

_REFERENCE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*)\s*:\s*(?P<what>[^\W\d]\w*(\.[^\W\d]\w*)*)\s*(\[.*\])?")
_COMMAND = re.compile(r"[\w.-]+")
_SHORT = re.compile(r"[\w.+!-]+")
# For a shell and for Python alike, so that neither a long nor an odd path of the interpreter matters.
_SCRIPT = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

sys.path += {folders}
from {module} import {first}

sys.exit({what}())
"""


@dataclass(frozen=True)
class OwnPackage:
    """What a run finds of it; empty where its source root is no package, or its Python has that installed.

    `folders` are those that its code is imported from; `python_path` is for the run's PYTHONPATH, `commands` the folder
    that comes first on its PATH, `readable` what of all this lies outside of the source.
    """

    folders: tuple[str, ...] = ()
    python_path: tuple[str, ...] = ()
    commands: str | None = None
    readable: tuple[Path, ...] = field(default=())

    def has(self, target: Mapping[str, Any]) -> bool:
        """Tell whether a target is one of its commands, which come before what else on the machine has that name."""
        names = os.listdir(self.commands) if self.commands else ()
        return target["kind"] == "command" and any(word in names for word in target["argv"][:1])

    def given(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """A target of the run that knows where the package is imported from."""
        return {**target, "import_from": list(self.folders)} if self.folders else dict(target)

    def variables(self, search_path: str) -> dict[str, str]:
        """What it adds to the run's environment."""
        found = {"PATH": f"{self.commands}:{search_path}"} if self.commands else {}
        # Python has no way to write a colon in this variable.
        if paths := [path for path in self.python_path if os.pathsep not in path]:
            found["PYTHONPATH"] = os.pathsep.join(paths)
        return found


NONE = OwnPackage()


@contextlib.contextmanager
def own_package(
    package: Mapping[str, Any] | None, place: Workspace, source: Path, python: str | None
) -> Iterator[OwnPackage]:
    """Lay out the package of a run's source in its workspace, and remove it from there.

    Args:
        package: as the run's row has it, see `source.package`.
        place: the run's private place; what is written there the run can only read.
        source: the folder of its code.
        python: its interpreter; None for a command that has none.

    Raises:
        StartFailed: the row names a folder outside of the source.
    """
    if package is None or python is None or _is_installed(package["name"], Path(python)):
        yield NONE
        return
    inside = [_inside(folder) for folder in package["folders"]]
    folders = tuple(str(source / folder) for folder in inside)
    files = {f"bin/{name}": text for name, text in _commands(package, python, folders)}
    files |= _metadata(package)
    own = place.path / "package"
    # Before the standard library: the root would hide a module of that with any file of the same name.
    python_path = [str(source / folder) for folder in inside if folder != ROOT]
    with contextlib.ExitStack() as ending:
        if files:
            ending.callback(_remove, own, list(files))
            _write(own, files)
            python_path.append(str(own))
        commands = str(own / "bin") if (own / "bin").is_dir() else None
        yield OwnPackage(folders, tuple(python_path), commands, (own,) if files else ())


def _inside(folder: str) -> str:
    """The row was written by a submitter, and a worker has rights that no submitter has."""
    if os.path.isabs(folder) or ".." in folder.split("/") or "\0" in folder:
        raise StartFailed("the source root has no folder {folder} within it", folder=folder)
    return folder


def _is_installed(name: str | None, python: Path) -> bool:
    """Tell whether an interpreter has a distribution of this name, as the project's `.venv` usually has."""
    if name is None:
        return False
    wanted = _normal(name)
    for packages in python.parent.parent.glob("lib*/python3*/*-packages"):
        with contextlib.suppress(OSError), os.scandir(packages) as listing:
            for entry in listing:
                stem, dot, kind = entry.name.rpartition(".")
                if dot and kind in ("dist-info", "egg-info", "egg-link") and _normal(stem.partition("-")[0]) == wanted:
                    return True
    return False


def _commands(package: Mapping[str, Any], python: str, folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, target in package["entry_points"].get(COMMANDS, {}).items():
        found = _REFERENCE.fullmatch(target)
        if found is None or not _COMMAND.fullmatch(name) or name in (".", ".."):
            continue  # an installer refuses it
        what = found["what"]
        shown = re.sub(r'(["$`\\])', r"\\\1", python)
        text = _SCRIPT.format(
            python=shown, folders=list(folders), module=found["module"], first=what.partition(".")[0], what=what
        )
        yield name, text


def _metadata(package: Mapping[str, Any]) -> dict[str, str]:
    """The files that `importlib.metadata` reads: name, version, entry points."""
    name, version = package["name"], package["version"]
    if name is None or not (_SHORT.fullmatch(name) and _SHORT.fullmatch(version)):
        return {}
    lines = []
    for group, points in package["entry_points"].items():
        lines += [f"[{group}]", *(f"{point} = {target}" for point, target in points.items()), ""]
    folder = f"{_normal(name)}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/entry_points.txt": "\n".join(lines),
    }


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "_", name).lower()


def _write(own: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = own / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if path.parent.name == "bin" else 0o644)


def _remove(own: Path, files: list[str]) -> None:
    """Remove what was written; what else is found there is left to whoever clears the workspace."""
    for name in files:
        with contextlib.suppress(OSError):
            (own / name).unlink()
    for folder in (*{(own / name).parent for name in files}, own):
        with contextlib.suppress(OSError):
            folder.rmdir()
