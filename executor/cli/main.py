"""The console script `sealrun`."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from executor.cli import packages
from executor.cli.lazy import Sealrun, load
from executor.cli.shown import screen, streams

_HELP = {"help_option_names": ["-h", "--help"]}


def main() -> None:
    """Run one command and exit as it says."""
    streams.speak_utf8()
    sys.exit(_ended("sealrun", _root))


def secrets_admin() -> None:
    """The same for `secret` alone; scripts/secrets_admin.py calls it."""
    streams.speak_utf8()
    sys.exit(_ended("secrets_admin.py", lambda: load("secret", _markup())))


def _ended(name: str, command: Callable[[], Any]) -> int:
    streams.prepare()
    if (foreign := packages.foreign()) is not None:
        screen.complain(foreign, packages.HINT)
        return 1
    from executor.cli.shown import ending  # which imports secretstore

    return ending.ended(lambda: _act(name, command()))


def _act(name: str, command: Any) -> int:
    command._main_shell_completion({}, name)  # does nothing unless a shell asks what could stand here
    try:
        # Not `command.main`: it would end a closed pipe, an interrupt and our own errors its way.
        with command.make_context(name, sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _root() -> Any:
    app = typer.Typer(cls=Sealrun, rich_markup_mode=_markup(), no_args_is_help=True, context_settings=_HELP)
    app.callback()(_sealrun)
    return typer.main.get_command(app)


def _markup() -> Literal["rich", None]:
    return "rich" if sys.stdout.isatty() else None


def _version(asked: bool) -> None:
    if asked:
        from secretstore import __version__

        sys.stdout.write(f"sealrun {__version__}\n")
        raise typer.Exit


def _sealrun(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="Speak to this server (else SEALRUN_SERVER).")
    ] = None,
) -> None:
    """Run a project's code on Celery workers, and give each run its secrets for as long as it lasts."""
    if server is None:
        return
    if os.environ.get("SEALRUN_SERVER", server) != server:
        for name in ("SEALRUN_TOKEN", "SEALRUN_TOKEN_FILE"):
            os.environ.pop(name, None)  # it is for that server, and not for this one
    os.environ["SEALRUN_SERVER"] = server
