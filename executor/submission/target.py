"""Which of the kinds of targets is meant."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from executor.errors import RequestUnclear
from executor.python.layout import shebang
from executor.sandbox.asking import is_program
from executor.sandbox.reading import head_of
from executor.schemas.target import Target
from executor.submission import meant

_PYTHONS = re.compile(r"python|pypy|\buv run\b")  # in a script's first line


def parse(words: list[str]) -> Target:
    """Parse the words of a command line into one of the kinds.

    Raises:
        RequestUnclear: they name none.
    """
    if not words:
        raise _unclear("TARGET is missing: path.py, -m pkg.module, path.py:function, path.ipynb, or -- command")
    first, *rest = words
    if first == "--":
        if not rest:
            raise _unclear("a command must follow --")
        return Target("command", argv=tuple(rest))
    if first == "-m":
        if not rest:
            raise _unclear("a module must follow -m")
        check_module(rest[0], rest[1:])
        return Target("module", name=rest[0], argv=tuple(rest[1:]))
    path, colon, name = first.rpartition(":")
    if colon and name.isidentifier() and not Path(first).exists():
        if any(word.partition("=")[0] in ("--arg", "--json-arg") for word in rest):
            raise _unclear("put --arg and --json-arg before the function; arguments after it are by position")
        return Target("function", path=path, name=name, argv=tuple(rest))
    if Path(first).suffix == ".ipynb":
        if rest:
            raise _unclear(
                "a notebook takes no words; its parameters stand before it: --arg NAME=TEXT {path}", path=first
            )
        return Target("notebook", path=first)
    if _is_program(first):
        return Target("command", path=first, argv=tuple(rest))
    _check_file(first, rest)
    return Target("file", path=first, argv=tuple(rest))


def _is_program(path: str) -> bool:
    """Tell whether a file is a program by itself, and not one of Python's.

    Raises:
        RequestUnclear: it is, and may not be executed.
    """
    if Path(path).suffix in (".py", ".pyw") or not os.path.isfile(path):
        return False
    words = shebang(Path(path))
    with contextlib.suppress(OSError):
        if not words and head_of(Path(path), 4) != b"\x7fELF":
            return False
    if _PYTHONS.search(" ".join(words)):
        return False
    if not is_program(Path(path)):
        runner = " ".join(words[1:] if words and Path(words[0]).name == "env" else words)
        by = f", or name what runs it: sealrun run -- {runner} {path}" if runner else ""
        raise RequestUnclear("{path} may not be executed", path=path, hint=f"chmod +x {path}{by}")
    return True


def check_module(name: str, argv: Sequence[str] = ()) -> None:
    """Refuse a path, or a function, instead of a module's name.

    Raises:
        RequestUnclear: it is one.
    """
    path = Path(name)
    module, _, function = name.partition(":")
    if function:
        file = module if module.endswith(".py") else f"{module.replace('.', '/')}.py"
        mend = meant.command([f"{file}:{function}", *argv])
        raise _unclear("{name} is a function; name its file, without -m", hint=mend, name=name)
    if "/" not in name and not (path.suffix == ".py" and path.is_file()):
        return
    dotted = meant.dotted(name)
    mend = meant.command(["-m", dotted, *argv] if dotted else [name, *argv])
    raise _unclear("{name} is a path; name the module with dots, or leave out -m", hint=mend, name=name)


def _check_file(first: str, rest: list[str]) -> None:
    """Refuse what cannot be a Python file; one that is missing is told by who looks for it."""
    if first in ("-", "-c"):  # as `python` takes it
        raise _unclear("a target is no code: write it to a file, or run: sealrun run -- python3 -c CODE")
    file, colon, name = first.rpartition(":")
    if colon and file.endswith((".py", ".pyw")) and not Path(first).exists():
        raise _unclear("{name!r} is no function at the top of {file}", file=file, name=name)
    started = meant.program(first)
    is_python = Path(first).suffix in (".py", ".pyw") or (not Path(first).suffix and not started)
    if not is_python and (started or Path(first).is_file()):
        line = meant.command([*(started or ("--", "PROGRAM", first)), *rest])
        raise _unclear("{first} is not a Python file; to run a command, put -- before it", hint=line, first=first)


def _unclear(message: str, hint: str = "see: sealrun run --help", **names: str) -> RequestUnclear:
    return RequestUnclear(message, hint=hint, **names)
