"""How a command ends: an exit code, and for an error a sentence and a hint. No traceback, no text that saw a value."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable

import typer

from executor.cli.shown import screen, streams
from secretstore.errors import SealrunError

# What pydantic, which reads options, says of a value; and what a person is told.
_PLAINER = (
    ("Input should be a valid integer.*", "a whole number is needed"),
    ("Input should be a valid number.*", "a number is needed"),
    ("Input should be greater than or equal to", "it must be at least"),
    ("Input should be less than or equal to", "it must be at most"),
    ("Value error, ", ""),
)
INTERRUPTED = 130
PIPE_CLOSED = 141  # as a program that SIGPIPE ended


def ended(act: Callable[[], int]) -> int:
    """Carry a command out and return its exit code."""
    try:
        code = act()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence()  # the reader has gone, as in `sealrun runs list | head`
        return PIPE_CLOSED
    except (KeyboardInterrupt, EOFError):
        screen.say("")
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return told(error)
        screen.complain(
            f"what was to be written could not be: {os.strerror(error.errno)}", "make room, or choose another disk"
        )
        _silence()
        return 1
    except Exception as error:  # noqa: BLE001  # the outermost door: nothing may leave as a traceback
        return told(error)


def _silence() -> None:
    """Let go of a stream that takes nothing any more: Python would flush it at the end, and change the exit code."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            streams.silence(number)


def told(error: Exception) -> int:
    """Say what went wrong; returns the exit code for it."""
    if isinstance(error, SealrunError):
        screen.complain(error.message, error.hint)
        return error.exit_code
    if isinstance(error, typer.Abort):
        screen.complain("nothing was done")
        return 1
    if isinstance(error, typer.TyperException):
        return _misused(error)
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        screen.complain("something that was typed, or a path, is not UTF-8 text", "give it another name")
        return 2
    # Its text might quote what it saw; its kind and place do not.
    place = traceback.extract_tb(error.__traceback__)[-1]
    screen.complain(
        f"unexpected {type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}",
        "this is a fault of sealrun; what it said is left out, as it may have seen a value",
    )
    return 1


def _misused(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return error.exit_code
    screen.complain(*misuse(error))
    return error.exit_code


_CREDENTIALS = {"login", "logout", "member", "token", "user"}
"""Commands whose words are easily mistaken for the place of a token or a password."""


def misuse(error: typer.TyperException) -> tuple[str, str]:
    """What was typed wrong, as a sentence and a hint."""
    ctx = getattr(error, "ctx", None)
    path = getattr(ctx, "command_path", "sealrun")
    text = error.format_message().strip().rstrip(".")
    for theirs, ours in _PLAINER:
        text = re.sub(theirs, ours, text)
    sentence = text[:1].lower() + text[1:]
    takes = [one.name for one in ctx.command.params] if ctx is not None else []
    if type(error).__name__ == "NoSuchOption" and "value" in takes:
        return sentence, f"options first, and a value that begins with - behind --: {path} -p PROJECT NAME -- VALUE"
    if sentence.startswith("got unexpected extra argument") and _CREDENTIALS & set(path.split()):
        return (
            "there is a word too many, which is not repeated here: it may be a token or a password",
            f"those are asked for, or read from stdin: {path} --help",
        )
    if sentence.startswith("got unexpected extra argument") and "output" in takes:
        return sentence, f"a folder is named by an option: {path} RUN --output DIR"
    return sentence, f"see: {path} --help"
