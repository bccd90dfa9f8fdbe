"""What was meant by a target that is of another kind: the words that work in its place."""

import difflib
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from executor.sandbox.reading import head_of

_INTERPRETERS = {
    ".sh": "sh", ".bash": "bash", ".zsh": "zsh", ".js": "node", ".mjs": "node", ".cjs": "node", ".rb": "ruby",
    ".pl": "perl", ".php": "php", ".lua": "lua", ".r": "Rscript", ".R": "Rscript", ".jl": "julia", ".pyz": "python3",
}  # fmt: skip
_PYTHON = re.compile(r"python(3(\.[0-9]+)?)?")
_LIKELY = ("main.py", "run.py", "app.py")
_SEVERAL = 200  # files of a folder that are looked at
_LOOKED_AT = 1 << 20  # bytes of each


def command(words: Sequence[str]) -> str:
    """The line that runs these words."""
    return f"sealrun run {shlex.join(words)}"


def program(path: str) -> list[str] | None:
    """The words that start a file which is no Python, by what its ending tells; its first line would tell by itself."""
    if _start(Path(path), 2) == b"#!":
        return None
    interpreter = _INTERPRETERS.get(Path(path).suffix)
    return ["--", interpreter, path] if interpreter else None


def instead(here: Path, root: Path, path: str, function: str = "", argv: Sequence[str] = ()) -> str | None:
    """The line that works where a target names no file; None where nothing is sure to be meant.

    Args:
        here: where the path begins.
        root: the source root, where modules begin.
        path: what stands in the place of a file.
        function: what stands behind its colon.
        argv: the words that follow.
    """
    if function:
        file = _file(here, root, path.rstrip(":")) or (_defining(here, function) if not path else None)
        return command([f"{file}:{function}", *argv]) if file else None
    found = next(_meant(here, root, path, argv), None)
    return command(found) if found else None


def dotted(path: str) -> str | None:
    """A module's name, of its path; None where it cannot have one."""
    parts = Path(path).with_suffix("").parts if path.endswith(".py") else Path(path).parts
    return ".".join(parts) if parts and all(map(str.isidentifier, parts)) else None


def _meant(here: Path, root: Path, path: str, argv: Sequence[str]) -> Iterator[list[str]]:
    """What may be meant, the surest first."""
    if (here / path).is_dir():
        yield from ([*words, *argv] for words in _in_folder(here, root, path))
        return
    if _PYTHON.fullmatch(path) and argv:
        ours = argv[0] == "-m" or not argv[0].startswith("-")
        yield [*argv] if ours else ["--", "python3", *argv]
    if _is_module(root, path):
        yield ["-m", path, *argv]
    if (file := _file(here, root, path)) is not None:
        yield [file, *argv]
    if path.isidentifier() and (file := _defining(here, path)) is not None:
        yield [f"{file}:{path}", *argv]
    if "/" not in path and shutil.which(path):
        yield ["--", path, *argv]
    folder = (here / path).parent
    names = [entry.name for entry in _entries(folder) if entry.suffix == ".py"]
    for name in difflib.get_close_matches(Path(path).name, names, 1):
        yield [os.path.join(os.path.dirname(path), name), *argv]


def _in_folder(here: Path, root: Path, path: str) -> Iterator[list[str]]:
    folder = here / path
    if (folder / "__main__.py").is_file():
        name = dotted(os.path.relpath(folder.resolve(), root)) if (folder / "__init__.py").is_file() else None
        yield ["-m", name] if name else [os.path.join(path, "__main__.py")]
    names = [entry.name for entry in _entries(folder) if entry.suffix == ".py" and entry.name != "__init__.py"]
    for name in names if len(names) == 1 else [name for name in _LIKELY if name in names]:
        yield [os.path.join(path, name)]


def _file(here: Path, root: Path, path: str) -> str | None:
    """A file that a path without its ending names, or a module's name."""
    if not path:
        return None
    for folder in (here, root, root / "src"):
        for stem in (path, path.replace(".", "/")):
            for file in (folder / stem, folder / f"{stem}.py"):
                if file.suffix == ".py" and file.is_file():
                    return os.path.relpath(file, here)
    return None


def _is_module(root: Path, name: str) -> bool:
    """Whether `-m` finds it; a name without a dot is rather that of a file."""
    if "." not in name or not all(map(str.isidentifier, name.split("."))):
        return False
    path = name.replace(".", "/")
    return any(
        (folder / end).is_file() for folder in (root, root / "src") for end in (f"{path}.py", f"{path}/__main__.py")
    )


def _defining(here: Path, function: str) -> str | None:
    """The one file here that defines a function."""
    line = re.compile(rf"^(async\s+)?def {re.escape(function)}\s*\(".encode(), re.MULTILINE)
    found = [entry.name for entry in _entries(here) if entry.suffix == ".py" and line.search(_start(entry))]
    return found[0] if len(found) == 1 else None


def _start(path: Path, size: int = _LOOKED_AT) -> bytes:
    try:
        return head_of(path, size)
    except (OSError, ValueError):
        return b""


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry, _ in zip(os.scandir(folder), range(_SEVERAL), strict=False)]
    except (OSError, ValueError):
        return []
