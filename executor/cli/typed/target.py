"""What follows the options of `sealrun run` is the target's own, verbatim; and what refuses it, in JSON if asked."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import TyperException
from typer.core import TyperCommand

from executor.sandbox.reading import head_of

TAIL = "sealrun.target"
_OF_FUNCTIONS = {"--arg", "--json-arg"}  # for which there is a refusal
_LOOKED_AT = 1 << 20  # characters of a target's file


class RunCommand(TyperCommand):
    """Parses its options up to TARGET, and leaves the rest to the target, verbatim."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split at TARGET; options like `--json` after it are not ours."""
        with refusals_as_json("--json" in _before_dashes(args)):
            end = self._options_end(args, ctx.command_path)
        ctx.meta[TAIL] = args[end:]
        with refusals_as_json("--json" in args[:end]):
            try:
                left = super().parse_args(ctx, args[:end])
            except TyperException as error:
                if getattr(error, "ctx", ctx) is None:
                    # Those of the parser have it, and are of no class that typer exports.
                    error.ctx = ctx  # type: ignore[attr-defined]
                raise
        self._note_options_behind(ctx.command_path, args[end:])
        return left

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show TARGET in the usage line."""
        return [*super().collect_usage_pieces(ctx), "TARGET [ARGS]..."]

    def _options_end(self, args: list[str], command: str) -> int:
        flags = self._flags()
        place = 0
        while place < len(args):
            word = args[place]
            if word in ("--", "-m", "-", "-c") or not word.startswith("-"):
                break
            takes_next = not flags.get(word, True) and "=" not in word
            if takes_next and args[place + 1 : place + 2] in (["--"], ["-m"]):
                self._refuse_without_value(command, word, args[place + 1])
            place += 2 if takes_next else 1
        return min(place, len(args))

    def _refuse_without_value(self, command: str, option: str, found: str) -> None:
        from executor.errors import Misuse

        (values,) = {one.metavar for one in self.params if option in (*one.opts, *one.secondary_opts)}
        raise Misuse(
            "{option} has no value: what follows it is {found}",
            option=option,
            found=found,
            hint=f"{command} … {option} {values or 'VALUE'} {found} …",
        )

    def _note_options_behind(self, command: str, tail: list[str]) -> None:
        """Say that what looks like an option of ours was given to the target, unless the target's file names it."""
        if tail[:1] == ["--"]:
            return
        named, own = (tail[:2], tail[2:]) if tail[:1] == ["-m"] else (tail[:1], tail[1:])
        flags = self._flags()
        typed = dict.fromkeys(word.partition("=")[0] for word in _before_dashes(own))
        behind = [word for word in typed if word in flags.keys() - _OF_FUNCTIONS]
        if behind:
            text = _text_of(named[0])
            # A letter is likely to be the target's own option, too, where its file cannot be asked.
            behind = [word for word in behind if not _names(text, word) and (text is not None or word[:2] == "--")]
        if behind:
            from executor.cli.shown import screen

            target, before = " ".join(named), " ".join(word if flags[word] else f"{word} …" for word in behind)
            screen.say(
                f"note: what stands behind TARGET is its own, so {', '.join(behind)} went to {target}; if sealrun is"
                f" meant: {command} {before} {target}"
            )

    def _flags(self) -> dict[str, bool]:
        """Our options as they are typed, and whether each is a flag: one that takes no value."""
        return {
            spelling: getattr(parameter, "is_flag", False)
            for parameter in self.params
            for spelling in (*parameter.opts, *parameter.secondary_opts)
        }


def _names(text: str | None, option: str) -> bool:
    return text is not None and re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def _before_dashes(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


def _text_of(target: str) -> str | None:
    """A target's file as text, as far as that is short; None where it is none."""
    path, colon, _ = target.rpartition(":")
    try:
        text = head_of(Path(path if colon and not os.path.exists(target) else target), _LOOKED_AT)
    except (OSError, ValueError):
        return None
    return text.decode(errors="replace")


@contextlib.contextmanager
def refusals_as_json(asked: bool) -> Iterator[None]:
    """What ends the command before there is a run to show is an object on stdout, too: {"error": {…}}."""
    try:
        yield
    except Exception as error:
        if asked and (document := _document(error)) is not None:
            from executor.cli.shown import screen

            screen.show_json({"error": document})
        raise


def _document(error: Exception) -> dict[str, Any] | None:
    """The sentence that stderr shows; None for a fault of ours, whose text may have seen a value."""
    from executor.cli.shown.ending import misuse
    from executor.errors import Misuse
    from secretstore.errors import SealrunError

    if isinstance(error, TyperException):
        sentence, hint = misuse(error)
        error = Misuse("{sentence}", sentence=sentence, hint=hint)
    if not isinstance(error, SealrunError):
        return None
    told = {"type": type(error).__name__, "code": error.code, "message": error.message}
    return told | {"hint": error.hint, "exit_code": error.exit_code}
