"""`sealrun role`: the roles that there are."""

import typer

from executor.cli.here import here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.operations import members

app = typer.Typer(help="List the roles, and what each lets one do.", no_args_is_help=True, add_completion=False)


@app.callback()
def _roles() -> None:
    """List the roles, and what each lets one do."""


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the roles. There is none that reads a secret's value; running code is reading."""
    place = here()
    found = place.ask(members.roles)
    if json:
        screen.show_json(found)
        return
    rows = [(one.name, " ".join(one.verbs), one.says) for one in found]
    screen.table(("role", "may", "which is to say"), rows, ("bold",))
