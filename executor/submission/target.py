"""Which of the kinds of targets is meant."""

import contextlib
import os
import re
from pathlib import Path

from executor.errors import RequestUnclear
from executor.python.layout import is_program, shebang
from executor.schemas.target import Target

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
        check_module(rest[0])
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
    if Path(first).suffix not in ("", ".py", ".pyw"):
        raise _unclear(
            "{first} is not a Python file; to run a command, put -- before it: sealrun run -- sh job.sh", first=first
        )
    return Target("file", path=first, argv=tuple(rest))


def _is_program(path: str) -> bool:
    """Tell whether a file is a program by itself, and not one of Python's.

    Raises:
        RequestUnclear: it is, and may not be executed.
    """
    if Path(path).suffix in (".py", ".pyw") or not os.path.isfile(path):
        return False
    words = shebang(Path(path))
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if not words and file.read(4) != b"\x7fELF":
            return False
    if _PYTHONS.search(" ".join(words)):
        return False
    if not is_program(Path(path)):
        runner = " ".join(words[1:] if words and Path(words[0]).name == "env" else words)
        by = f", or name what runs it: sealrun run -- {runner} {path}" if runner else ""
        raise RequestUnclear("{path} may not be executed", path=path, hint=f"chmod +x {path}{by}")
    return True


def check_module(name: str) -> None:
    """Refuse a path instead of a module's name.

    Raises:
        RequestUnclear: it is a path.
    """
    path = Path(name)
    if "/" not in name and not (path.suffix == ".py" and path.is_file()):
        return
    parts = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    named = f": -m {'.'.join(parts)}" if all(map(str.isidentifier, parts)) else ""
    raise _unclear("{name} is a path; name the module with dots{named}", name=name, named=named)


def _unclear(message: str, **names: str) -> RequestUnclear:
    return RequestUnclear(message, hint="see: sealrun run --help", **names)
