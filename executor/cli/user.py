"""`sealrun user`: people and service accounts."""

import sys
from typing import Annotated

import typer

from executor.cli.here import confirm, here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.operations import people
from executor.schemas.people import AccountNamed, AccountView, NewAccount, NewPassword

app = typer.Typer(
    help="Create, list, disable and delete people and service accounts, and set passwords.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The person's or service account's name.")]


@app.command()
def create(
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="Make an admin of the installation.")] = False,
    service: Annotated[
        bool, typer.Option("--service", help="Make a service account: it has tokens and no password.")
    ] = False,
    yes: options.NeverAsks = False,
    json: options.Json = False,
) -> None:
    """Make a person, whose password is read from a hidden prompt or from stdin, or a service account.

    People who log in with an OIDC provider are made by their first log-in.
    """
    place = here()
    password = None if service else _password(name)
    made = place.ask(people.create, NewAccount(name=name, service=service, password=password, admin=admin))
    screen.say(f"created {_what(made)} {made.name}{', an admin' if made.admin else ''}")
    if not made.admin:
        screen.say(f"without a role it may do nothing: sealrun member add {made.name} --role ROLE -p PROJECT")
    if json:
        screen.show_json(made)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List people and service accounts."""
    place = here()
    found = place.ask(people.list_)
    if json:
        screen.show_json(found)
        return
    rows = [
        (one.name, _what(one), one.issuer, _state(one), screen.moment(one.logged_in_at), screen.moment(one.created_at))
        for one in found
    ]
    screen.table(("name", "kind", "issuer", "", "logged in", "created"), rows, ("bold",))


@app.command()
def disable(name: Name, yes: options.NeverAsks = False, json: options.Json = False) -> None:
    """Keep somebody out: sessions and tokens end at once and for good, roles stay."""
    place = here()
    _told(place.ask(people.disable, AccountNamed(name=name)), "disabled", json)


@app.command()
def enable(name: Name, yes: options.NeverAsks = False, json: options.Json = False) -> None:
    """Let somebody in again who was disabled: they log in, and make new tokens."""
    place = here()
    _told(place.ask(people.enable, AccountNamed(name=name)), "enabled", json)


@app.command()
def delete(name: Name, yes: options.Yes = False, json: options.Json = False) -> None:
    """Delete somebody with their roles, sessions and tokens."""
    place = here()
    if any(one.name == name for one in place.ask(people.list_)):  # else refused below, and nothing is asked
        confirm(f"delete {name}", yes)
    deleted = place.ask(people.delete, AccountNamed(name=name))
    screen.say(f"deleted {name}")
    if json:
        screen.show_json(deleted)


@app.command()
def password(name: Name, yes: options.NeverAsks = False, json: options.Json = False) -> None:
    """Set somebody's password, read from a hidden prompt or from stdin; all their sessions end."""
    place = here()
    asked = NewPassword(name=name, password=_password(name))
    _told(place.ask(people.set_password, asked), "set the password of", json)


def _password(name: str) -> str:
    """A new password; never from the command line, which every process of this machine can read."""
    if sys.stdin.isatty():
        return str(
            typer.prompt(f"password of {screen.printable(name)}", hide_input=True, confirmation_prompt=True, err=True)
        )
    given = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n")
    if not given:
        raise Misuse(
            "there is no password on stdin", hint=f"printf %s PASSWORD | sealrun user … {name}; or at a terminal"
        )
    return given


def _told(account: AccountView, done: str, json: bool) -> None:
    screen.say(f"{done} {account.name}")
    if json:
        screen.show_json(account)


def _what(account: AccountView) -> str:
    return "service account" if account.kind == "service" else "person"


def _state(account: AccountView) -> str:
    if account.disabled_at is not None:
        return "disabled"
    return "admin" if account.admin else ""
