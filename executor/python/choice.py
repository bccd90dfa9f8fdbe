"""Which interpreter a run is started with: one of the submitter's, never sealrun's own."""

import os
import sys
from pathlib import Path

from executor.errors import PythonUnavailable
from executor.python import shims
from executor.sandbox.asking import is_program, lies_in
from executor.sandbox.reading import head_of


def choose_interpreter(root: Path | None, wanted: str | None, search_path: str) -> str:
    """The run's interpreter: `wanted`, else the source root's `.venv`, else `python3` on the submitter's PATH.

    Never sealrun's own: its packages are no part of a run. A script that stands in the place of an interpreter, as the
    shims of version managers do, is asked what it leads to; one of the source root's own, or of the current folder's,
    is not executed to find out, and is no interpreter.

    Raises:
        PythonUnavailable: there is none, or `wanted` is not one.
    """
    if wanted is not None:
        path = Path(os.path.expanduser(wanted))
        if os.path.exists(path / "bin/python"):
            path = path / "bin/python"
        if not is_program(path):
            raise PythonUnavailable(why=f"{wanted} is not an executable file")
        return str(path.absolute())
    if root is not None and (own := own_environment(root)) is not None:
        return str(own)
    for entry in search_path.split(os.pathsep):
        candidate = Path(entry).absolute() / "python3"
        if entry and is_program(candidate):
            found = candidate if is_binary(candidate) else _behind(candidate, root) if os.path.isabs(entry) else None
            if found is not None and not _is_ours(found):
                return str(found)
    raise PythonUnavailable(why="there is no .venv in the source root, and PATH has no python3 but sealrun's own")


def deciding(root: Path, wanted: str | None, search_path: str) -> list[Path] | None:
    """The files that decide which interpreter that is; None where a shim has a say: its manager reads what it likes."""
    if wanted is not None:
        return None
    own = root / ".venv/bin/python"
    found = [own, own.resolve()]
    if own_environment(root) is not None:
        return found
    for entry in search_path.split(os.pathsep):
        candidate = Path(entry).absolute() / "python3"
        if not entry:
            continue
        found += [candidate, candidate.resolve()]
        if is_program(candidate):
            if not is_binary(candidate):
                return None
            if not _is_ours(candidate):
                break
    return found


def own_environment(root: Path) -> Path | None:
    """The interpreter of the source root's `.venv`, where it has one that is not sealrun's."""
    own = root / ".venv/bin/python"
    return own if os.path.exists(own) and not _is_ours(own) else None


def _is_ours(candidate: Path) -> bool:
    if sys.prefix == sys.base_prefix:  # sealrun is installed beside the system's packages
        return candidate.resolve() == Path(sys.executable).resolve()
    return candidate.parent.resolve() == (Path(sys.prefix) / "bin").resolve()


def is_binary(path: Path) -> bool:
    """Whether a program is no script."""
    try:
        return head_of(path, 2) != b"#!"
    except OSError:
        return True  # it may be executed without being readable; a script could not be


def _behind(shim: Path, root: Path | None) -> Path | None:
    """The interpreter behind a shim such as pyenv's; it is the submitter's own program, on the submitter's own PATH."""
    if root is not None and lies_in(shim, root):
        return None
    found = shims.ask([str(shim), "-I", "-c", "import sys; print(sys.executable)"], root)
    return found if found is not None and is_binary(found) else None
