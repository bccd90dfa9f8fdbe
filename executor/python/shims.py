"""Ask a version manager what its shim leads to, without letting the folder of a run's code have it executed.

A manager such as pyenv or asdf reads a file in the current folder, and some can be led from there to a program of that
folder. So it is asked in a folder where there is none, and told the version, where the file has a plain one.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from executor.sandbox.asking import is_program
from executor.sandbox.reading import head_of

# Of pyenv, rbenv and nodenv; then of asdf, whose lines name the tool.
_FILES = {".python-version": "PYENV_VERSION", ".ruby-version": "RBENV_VERSION", ".node-version": "NODENV_VERSION"}
_TOOLS = {"python": "ASDF_PYTHON_VERSION", "ruby": "ASDF_RUBY_VERSION", "nodejs": "ASDF_NODEJS_VERSION"}
_TOOLS_FILE = ".tool-versions"
_OF_A_FOLDER = ("PYENV_DIR", "RBENV_DIR", "NODENV_DIR")
_VERSION = re.compile(r"[A-Za-z0-9][\w.+-]*(/envs/[A-Za-z0-9][\w.+-]*)?")  # no path, which might lead anywhere
_SIZE = 4096
_PATIENCE = 30.0  # seconds


def ask(command: Sequence[str], folder: Path | None) -> Path | None:
    """The program that a shim's manager prints, for the version that is meant in a folder; None if it finds none."""
    environ = {name: value for name, value in os.environ.items() if name not in _OF_A_FOLDER}
    if folder is not None:
        environ = {**dict(_versions(folder)), **environ}  # what the user has set comes first, as for the managers
    try:
        asked = subprocess.run(
            command, cwd="/", env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE,
            check=False,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    program = Path(asked.stdout.strip() or "/nonexistent")
    return program if asked.returncode == 0 and is_program(program) else None


def _versions(folder: Path) -> Iterator[tuple[str, str]]:
    """The variables that say what the nearest files from a folder up do; the farthest first."""
    for place in reversed((folder, *folder.parents)):
        for file, variable in _FILES.items():
            words = [line.partition("#")[0].split() for line in _lines(place / file)]
            if named := _plain([word for line in words for word in line]):
                yield variable, ":".join(named)
        for line in _lines(place / _TOOLS_FILE):
            tool, *rest = line.partition("#")[0].split() or [""]
            if tool in _TOOLS and (named := _plain(rest)):
                yield _TOOLS[tool], " ".join(named)


def _plain(words: Sequence[str]) -> list[str]:
    """These words where all of them are versions; else none."""
    return list(words) if all(map(_VERSION.fullmatch, words)) else []


def _lines(file: Path) -> list[str]:
    try:
        return head_of(file, _SIZE).decode().splitlines()
    except (OSError, ValueError):
        return []
