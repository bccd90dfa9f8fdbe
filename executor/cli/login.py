"""`sealrun login`: a token for a server, kept on this machine."""

import platform
import sys
import webbrowser
from typing import Annotated

import typer

from executor.cli.entrance import has_browser
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.remote import entry
from executor.remote.kept import LogIns
from executor.remote.origin import origin_of
from executor.remote.server import Server
from executor.settings import read_here

app = typer.Typer(help="Log in to a server, so that commands here speak to it.", add_completion=False)

_LONGEST = 1_000  # characters of a token that is typed


@app.command()
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, as in https://sealrun.example.com.")],
    device: Annotated[
        bool, typer.Option("--device", help="Show a code to type into a browser, on this machine or another.")
    ] = False,
    token: Annotated[
        bool, typer.Option("--token", help="Take a token from stdin or a hidden prompt; there is none in a command.")
    ] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Log in to a server with a browser, and keep the token: commands here then need no database and no broker."""
    if device and token:
        raise Misuse("--device and --token do not go together", command="login")
    settings = read_here()
    server = Server(settings, origin_of(url), None)
    host = platform.node()[:255] or "a machine without a name"
    if token:
        granted = entry.with_token(server, _typed())
    elif device or not has_browser():
        granted = entry.by_code(server, host, _show_code)
    else:
        granted = entry.by_browser(server, host, _open)
    where = LogIns(settings.store.home).keep(server.origin, granted.name, granted.token)
    if json:
        screen.show_json({"server": server.origin, "name": granted.name, "kept": where})
    screen.say(f"logged in to {server.origin} as {screen.printable(granted.name)}; the token is kept in {where}")


def _typed() -> str:
    """From a hidden prompt or from stdin, never from the command."""
    if sys.stdin.isatty():
        return str(typer.prompt("token", hide_input=True, err=True)).strip()
    return sys.stdin.read(_LONGEST).strip()


def _show_code(code: str, url: str) -> None:
    screen.say(f"type the code {screen.printable(code)} at {screen.printable(url)}")


def _open(url: str) -> None:
    screen.say(f"your browser is asked to open {url}")
    webbrowser.open(url)
