"""What is to run: a file, module, function, notebook or command, and arguments that are its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """What is to run. `path` is the file it names, relative to where the user is; None for modules and commands.

    `argv` are the words for it; those of a function are its first arguments by position. A command with a `path` is a
    program in the source root.
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
        typed: str | None = None,
        programs: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The target as a run stores it; `path` is relative to the source root.

        `typed` is how the path was typed, where that is no other file as seen from the source root. `programs` is where
        a command's program is on the submitter's machine; see `executor.submission.programs`.

        A function's arguments: `text` and `json` by name, which a notebook's parameters have, too; `argv` and then
        `positional`, JSON values, by position; parameters that are data sources and catalogs, with their names.
        """
        if self.kind == "function":
            args = [*({"text": word} for word in self.argv), *({"json": value} for value in positional)]
            named: dict[str, Any] = {"text": dict(text), "json": dict(json)}
            if sources or catalogs:
                named |= {"sources": dict(sources), "catalogs": dict(catalogs)}
            return {"kind": "function", "path": path, "function": self.name, "args": args, **named}
        if self.kind == "notebook":
            return {"kind": "notebook", "path": path, "text": dict(text), "json": dict(json)}
        if self.kind == "module":
            return {"kind": "module", "module": self.name, "argv": list(self.argv)}
        if self.kind == "file":
            shown = {"typed": typed} if typed not in (None, path) else {}
            return {"kind": "file", "path": path, "argv": list(self.argv), **shown}
        own = [] if path is None else [typed if typed is not None and "/" in typed else f"./{path}"]
        found = {"programs": list(programs)} if programs else {}
        return {"kind": "command", "argv": [*own, *self.argv], **found}
