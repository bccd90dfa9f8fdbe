"""What follows the options of `sealrun run` is the target's own, verbatim; and what refuses it, in JSON if asked."""

import contextlib
from collections.abc import Iterator
from typing import Any

from typer import TyperException
from typer.core import TyperCommand

TAIL = "sealrun.target"


class RunCommand(TyperCommand):
    """Parses its options up to TARGET, and leaves the rest to the target, verbatim."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split at TARGET; options like `--json` after it are not ours."""
        end = self._options_end(args)
        ctx.meta[TAIL] = args[end:]
        with refusals_as_json("--json" in args[:end]):
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
