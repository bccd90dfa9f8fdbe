"""The console script `sealrun`."""

import sys
from typing import Annotated

import typer

from executor.cli import ending, ours
from executor.cli.lazy import Sealrun


def main() -> None:
    """Run one command and exit as it says."""
    sys.exit(ending.ended(_act, sys.argv[1:]))


def _act(arguments: list[str]) -> int:
    ours.check()
    command = typer.main.get_command(_root())
    try:
        # Not `command.main`: it would end a closed pipe, an interrupt and our own errors its way.
        with command.make_context("sealrun", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _root() -> typer.Typer:
    markup = "rich" if sys.stdout.isatty() else None
    app = typer.Typer(cls=Sealrun, add_completion=False, rich_markup_mode=markup, no_args_is_help=True)
    app.callback()(_sealrun)
    return app


def _version(asked: bool) -> None:
    if asked:
        from secretstore import __version__

        sys.stdout.write(f"sealrun {__version__}\n")
        raise typer.Exit


def _sealrun(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Run a project's code on Celery workers, and give each run its secrets for as long as it lasts."""
