"""Where a command is that was looked for elsewhere: other programs have other habits."""

import os
import shlex
from collections.abc import Collection
from typing import Any

from typer import TyperException
from typer.core import TyperGroup

_OF_RUNS = {
    "runs logs": ("logs", "log", "output"),
    "runs logs -f": ("tail", "follow", "attach", "watch"),
    "runs show": ("show", "status", "inspect", "describe", "info", "receipt", "result", "wait"),
    "runs cancel": ("cancel", "stop", "kill", "abort", "terminate"),
    "runs retry": ("retry", "rerun", "restart"),
    "runs download": ("download", "fetch", "outputs", "artifacts"),
}
_OTHERS = {
    "runs list": ("ps", "ls", "list", "history", "jobs", "top"),
    "run": ("exec", "execute", "submit", "launch", "python"),
    "up": ("start", "server"),
    "secret list": ("get", "env"),
    "secret set": ("set", "put", "add"),
    "secret import": ("import",),
    "secret explain": ("explain", "plan"),
    "project create": ("create", "new"),
    "variable list": ("config", "vars"),
    "key rotate": ("rotate",),
    "audit verify": ("verify",),
    "doctor": ("check", "diagnose", "health"),
    "--help": ("help",),
    "--version": ("version",),
}
_WITH_ITS_WORDS = {*_OF_RUNS, "runs list", "run"}
"""What follows elsewhere may be a secret's value, typed in the wrong place."""

_VERBS = {
    "create": ("new", "add", "make", "init"),
    "set": ("new", "add", "create", "put", "update", "edit", "change"),
    "prune": ("clean", "clear", "gc", "expire", "purge"),
    "restore": ("undelete", "recover", "undo", "revert"),
    "delete": ("rm", "remove", "del", "unset", "destroy", "drop"),
    "show": ("get", "status", "info", "inspect", "describe", "view"),
    "logs": ("log", "output", "tail", "follow", "watch"),
    "cancel": ("stop", "kill", "abort", "terminate"),
    "retry": ("rerun", "restart"),
    "download": ("fetch", "pull", "outputs", "artifacts"),
    "history": ("versions", "log"),
    "rollback": ("undo", "revert", "restore"),
    "test": ("check", "try", "ping"),
    "verify": ("check",),
    "rotate": ("renew", "roll"),
    "list": ("ls", "ps", "all", "show", "get", "status", "info", "inspect", "describe", "view", "log"),
}
"""Commands of several nouns, and what others call them; the first that a noun has is meant."""


class Placing(TyperGroup):
    """Knows of what was typed wrong which of its commands it was typed for."""

    def invoke(self, ctx: Any) -> Any:
        """Call the command that was typed."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            # The parser, which finds that an option lacks its value, does not know whose it is.
            if getattr(error, "ctx", ctx) is None and (command := self.commands.get(ctx.invoked_subcommand)):
                # Those of the parser have it, and are of no class that typer exports.
                there = command.context_class(command, info_name=ctx.invoked_subcommand, parent=ctx)
                error.ctx = there  # type: ignore[attr-defined]  # of the parser's own errors
            raise


class Signposted(Placing):
    """A noun's commands; a word that is none of them is told which is meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that was typed."""
        word = args[0]
        if word not in self.commands:
            noun = str(ctx.info_name)
            if (verb := _verb(word, self.commands)) is not None:
                raise _misplaced(word, _line(f"{noun} {verb}", args[1:] if noun == "runs" else []))
        return super().resolve_command(ctx, args)


def check_place(args: list[str], nouns: Collection[str]) -> None:
    """Refuse a word that is no command where another command is meant, and say which.

    Args:
        args: what was typed behind `sealrun`.
        nouns: the commands there are.

    Raises:
        Misuse: one is known to be meant.
    """
    word, rest = args[0], args[1:]
    if word in nouns:
        return
    if word == "help" and rest and rest[0] in nouns:
        raise _misplaced(word, f"sealrun {rest[0]} --help")
    if rest and (noun := _noun(rest[0], nouns)) is not None:  # as in: sealrun list secrets
        raise _misplaced(word, f"the noun comes first: sealrun {noun} {word if word in _VERBS else '--help'}")
    if os.path.isfile(word) or os.path.isfile(word.rpartition(":")[0]):
        raise _misplaced(word, f"to run it: {_line('run', args)}")
    for command, others in (*_OF_RUNS.items(), *_OTHERS.items()):
        if word in others:
            words = rest or (["@last"] if command in _OF_RUNS else [])
            raise _misplaced(word, _line(command, words) if command in _WITH_ITS_WORDS else f"sealrun {command}")


def _verb(word: str, commands: Collection[str]) -> str | None:
    return next((verb for verb, others in _VERBS.items() if word in others and verb in commands), None)


def _noun(word: str, nouns: Collection[str]) -> str | None:
    # `list run` and `cancel run` are about runs; what follows `sealrun run` is no verb.
    return next((noun for noun in (f"{word}s", word, word.removesuffix("s")) if noun in nouns), None)


def _line(command: str, words: list[str]) -> str:
    return f"sealrun {command} {shlex.join(words)}".rstrip()


def _misplaced(word: str, hint: str) -> Exception:
    from executor.errors import Misuse  # which every command would wait for

    return Misuse("no such command {word}", word=repr(word), hint=hint)
