"""`sealrun logout`: end the token of a log-in, and forget it."""

from typing import Annotated

import typer

from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import NotLoggedIn
from executor.remote import entry
from executor.remote.kept import LogIns
from executor.remote.origin import origin_of
from executor.remote.server import Server
from executor.settings import read_here
from secretstore.errors import SealrunError

app = typer.Typer(help="Log out of a server: its token is ended there and forgotten here.", add_completion=False)


@app.command()
def logout(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="The server (else that of the last log-in).")] = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """End the token of a log-in at its server, and forget it here; commands then speak to the database again."""
    settings = read_here()
    kept = LogIns(settings.store.home)
    origin = origin_of(url) if url is not None else kept.current
    login = kept.of(origin) if origin is not None else None
    if origin is None or login is None:
        raise NotLoggedIn(server=origin or "any server", hint="there is nothing to log out of")
    ended = True
    try:
        entry.log_out(Server(settings, origin, login.token))
    except NotLoggedIn:
        pass  # it had ended already
    except SealrunError as error:
        ended = False
        screen.say(f"the token could not be ended there: {screen.printable(error.message)}", "yellow")
    kept.forget(origin)
    if json:
        screen.show_json({"server": origin, "ended": ended})
    screen.say(f"logged out of {origin}" + ("" if ended else "; end the token there: sealrun token revoke"))
