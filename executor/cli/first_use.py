"""The first use of a key pair over a network: a person compares its fingerprint, or nothing is sealed."""

import typer

from executor.cli.here import has_terminal
from executor.cli.shown import screen
from secretstore.pin import Pin
from secretstore.pins import refuse_first_use


def compare_first(project: str, environment: str, server: str, offered: Pin) -> None:
    """Show the fingerprint and ask whether it is the right one; see `secretstore.pins.FirstUse`.

    Raises:
        KeyUnknown: nobody can be asked.
        typer.Abort: the answer was not yes.
    """
    if not has_terminal():
        refuse_first_use(project, environment, server, offered)
    screen.say(f"{screen.printable(server)} says that {project}/{environment} has generation {offered.generation} of")
    screen.say(f"the key pair {offered.fingerprint}")
    screen.say("and nothing is known of it here. Compare it with a colleague's: sealrun key list")
    typer.confirm("Is it the right one?", abort=True, err=True)
