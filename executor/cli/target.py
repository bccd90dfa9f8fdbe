"""What follows the options of `sealrun run`: a file, module, function or command, and arguments that are its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from executor.cli.errors import Misuse

TAIL = "sealrun.target"


class RunCommand(TyperCommand):
    """Parses its options up to TARGET, and leaves the rest to the target, verbatim."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split at TARGET; options like `--json` after it are not ours."""
        end = self._options_end(args)
        ctx.meta[TAIL] = args[end:]
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show TARGET in the usage line."""
        return [*super().collect_usage_pieces(ctx), "TARGET [ARGS]..."]

    def _options_end(self, args: list[str]) -> int:
        flags = {
            spelling: getattr(parameter, "is_flag", False)
            for parameter in self.params
            for spelling in (*parameter.opts, *parameter.secondary_opts)
        }
        place = 0
        while place < len(args):
            word = args[place]
            if word in ("--", "-m", "-") or not word.startswith("-"):
                break
            takes_next = not flags.get(word, True) and "=" not in word
            place += 2 if takes_next else 1
        return min(place, len(args))


@dataclass(frozen=True)
class Target:
    """What is to run. `path` is the file it names, relative to where the user is; None for modules and commands."""

    kind: str
    path: str | None = None
    name: str = ""
    argv: tuple[str, ...] = ()

    def document(self, path: str | None, text: dict[str, str], json: dict[str, Any]) -> dict[str, Any]:
        """The target as a run stores it; `path` is relative to the source root."""
        if self.kind == "function":
            return {"kind": "function", "path": path, "function": self.name, "text": text, "json": json}
        if self.kind == "module":
            return {"kind": "module", "module": self.name, "argv": list(self.argv)}
        if self.kind == "file":
            return {"kind": "file", "path": path, "argv": list(self.argv)}
        return {"kind": "command", "argv": list(self.argv)}


def parse(words: list[str]) -> Target:
    """Tell which of the four kinds is meant.

    Raises:
        Misuse: none is.
    """
    if not words:
        raise _misuse("TARGET is missing: path.py, -m pkg.module, path.py:function, or -- command")
    first, *rest = words
    if first == "--":
        if not rest:
            raise _misuse("after -- comes a command")
        return Target("command", argv=tuple(rest))
    if first == "-m":
        if not rest:
            raise _misuse("after -m comes a module")
        return Target("module", name=rest[0], argv=tuple(rest[1:]))
    path, colon, name = first.rpartition(":")
    if colon and name.isidentifier() and not Path(first).exists():
        if rest:
            raise _misuse("a function's arguments come before it: --arg NAME=TEXT or --json-arg NAME=JSON")
        return Target("function", path=path, name=name)
    if Path(first).suffix not in ("", ".py", ".pyw"):
        raise _misuse(f"{first} is no Python file; a command comes after --, as in: sealrun run -- sh job.sh")
    return Target("file", path=first, argv=tuple(rest))


def _misuse(what: str) -> Misuse:
    return Misuse(what=what, command="run")
