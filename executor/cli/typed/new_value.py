"""How a secret's value comes in, and how the command line keeps from repeating one typed in the wrong place."""

import getpass
import os
import sys
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand

from executor.cli.shown import screen
from executor.errors import FileUnreadable, Misuse
from secretstore.errors import ValueRefused

_READ_LIMIT = 1 << 20  # bytes; far above what a variable can hold, so that the vault is the one to refuse


class CatchesValues(TyperCommand):
    """A command with a hidden argument that catches what is typed in the wrong place, so that it is not quoted."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Without that argument."""
        shown = [parameter for parameter in self.params if not getattr(parameter, "hidden", False)]
        return ["[OPTIONS]", *(piece for parameter in shown for piece in parameter.get_usage_pieces(ctx))]


class WithoutValues(CatchesValues):
    """A command of `secret` whose usage errors quote nothing: a value may stand where an option was expected."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual, except that an unknown option is named only where it is nearly one of ours."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if type(error).__name__ != "NoSuchOption":
                raise
            all_ = [option for parameter in self.params for option in (*parameter.opts, *parameter.secondary_opts)]
            known = [option for option in all_ if option.startswith("-")]
            typed = getattr(error, "option_name", "")
            if len(typed) < 3 or not get_close_matches(typed, known, cutoff=0.75):
                raise value_on_command_line() from None
            raise Misuse("there is no option {typed}", typed=typed, command=f"secret {ctx.info_name}") from None


def value_on_command_line() -> Misuse:
    """A value was typed where everybody sees it."""
    return Misuse(
        "a value is never taken from the command line, where other users and the shell's history see it",
        hint='consider it seen and replace it, then pipe it in: printf %s "$VALUE" | sealrun secret set NAME, '
        "or give --from-file PATH",
    )


def read_value(name: str, from_file: str | None, raw: bool) -> bytes:
    """The value, from the file, the terminal or stdin.

    Raises:
        FileUnreadable: the file cannot be read.
        ValueRefused: nothing came in.
    """
    value = _file(from_file) if from_file is not None else _typed(name) if sys.stdin.isatty() else _piped(raw)
    if not value:
        hint = f'nothing came in; is the variable set in: printf %s "$VALUE" | sealrun secret set {name}'
        raise ValueRefused(name=name, why="it is empty", hint=hint)
    return value


def _piped(raw: bool) -> bytes:
    value = sys.stdin.buffer.read(_READ_LIMIT)
    if raw or not value.endswith(b"\n"):
        return value
    screen.say("note: one final newline was dropped; --raw keeps it")
    return value[:-1]


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_READ_LIMIT)
    except OSError as error:
        raise FileUnreadable(path=path, why=os.strerror(error.errno or 0).lower()) from None


def _typed(name: str) -> bytes:
    typed = getpass.getpass(f"value of {name} (hidden): ", stream=sys.stderr)
    return typed.encode("utf-8", "surrogateescape")
