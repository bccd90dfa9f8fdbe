"""What is to run: a file, module, function or command, and arguments that are its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.errors import RequestUnclear


@dataclass(frozen=True)
class Target:
    """What is to run. `path` is the file it names, relative to where the user is; None for modules and commands.

    `argv` are the words for it; those of a function are its first arguments by position.
    """

    kind: str
    path: str | None = None
    name: str = ""
    argv: tuple[str, ...] = ()

    def document(
        self,
        path: str | None,
        text: Mapping[str, str],
        json: Mapping[str, Any],
        positional: Sequence[Any] = (),
        sources: Mapping[str, str] = {},
        catalogs: Mapping[str, str] = {},
    ) -> dict[str, Any]:
        """The target as a run stores it; `path` is relative to the source root.

        A function's arguments: `text` and `json` by name, `argv` and then `positional`, JSON values, by position;
        parameters that are data sources and catalogs, with their names.
        """
        if self.kind == "function":
            args = [*({"text": word} for word in self.argv), *({"json": value} for value in positional)]
            named: dict[str, Any] = {"text": dict(text), "json": dict(json)}
            if sources or catalogs:
                named |= {"sources": dict(sources), "catalogs": dict(catalogs)}
            return {"kind": "function", "path": path, "function": self.name, "args": args, **named}
        if self.kind == "module":
            return {"kind": "module", "module": self.name, "argv": list(self.argv)}
        if self.kind == "file":
            return {"kind": "file", "path": path, "argv": list(self.argv)}
        return {"kind": "command", "argv": list(self.argv)}


def parse(words: list[str]) -> Target:
    """Tell which of the four kinds is meant.

    Raises:
        RequestUnclear: none is.
    """
    if not words:
        raise _unclear("TARGET is missing: path.py, -m pkg.module, path.py:function, or -- command")
    first, *rest = words
    if first == "--":
        if not rest:
            raise _unclear("after -- comes a command")
        return Target("command", argv=tuple(rest))
    if first == "-m":
        if not rest:
            raise _unclear("after -m comes a module")
        check_module(rest[0])
        return Target("module", name=rest[0], argv=tuple(rest[1:]))
    path, colon, name = first.rpartition(":")
    if colon and name.isidentifier() and not Path(first).exists():
        if any(word.partition("=")[0] in ("--arg", "--json-arg") for word in rest):
            raise _unclear("a function's arguments by name come before it; what follows it is by position")
        return Target("function", path=path, name=name, argv=tuple(rest))
    if Path(first).suffix not in ("", ".py", ".pyw"):
        raise _unclear(
            "{first} is no Python file; a command comes after --, as in: sealrun run -- sh job.sh", first=first
        )
    return Target("file", path=first, argv=tuple(rest))


def check_module(name: str) -> None:
    """Refuse a file's path where a module's name belongs.

    Raises:
        RequestUnclear: it is one.
    """
    path = Path(name)
    if "/" not in name and not (path.suffix == ".py" and path.is_file()):
        return
    parts = path.with_suffix("").parts if path.suffix == ".py" else path.parts
    named = f": -m {'.'.join(parts)}" if all(map(str.isidentifier, parts)) else ""
    raise _unclear("{name} is a path, and a module is named with dots{named}", name=name, named=named)


def _unclear(message: str, **names: str) -> RequestUnclear:
    return RequestUnclear(message, hint="see: sealrun run --help", **names)
