"""`sealrun token`: API tokens."""

from typing import Annotated

import typer

from executor.cli.here import confirm, here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.operations import tokens
from executor.schemas.people import Days, NewToken, TokenNamed, Tokens, TokenView

app = typer.Typer(help="Create, list and revoke API tokens.", no_args_is_help=True, add_completion=False)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, as shown in the list.")],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="See: sealrun role list.")],
    project: options.Project = None,
    environment: options.AnyEnvironment = None,
    installation: options.Installation = False,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="NAME", help="Whose: a service account (else your own).")
    ] = None,
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=Days, help="How long it holds.")] = 90,
    yes: options.NeverAsks = False,
    json: options.Json = False,
) -> None:
    """Make a token for a role, and print it, this once.

    It may do what both its role and its owner may, whenever it is used.
    """
    place = here()
    if installation and (project is not None or environment is not None):
        raise Misuse("--installation is every project: leave out -p and -e", command="token create")
    where = None if installation else place.project(project)
    asked = NewToken(name=name, role=role, project=where, environment=environment, owner=owner, days=days)
    made = place.ask(tokens.create, asked)
    screen.say(f"{made.made.owner}'s token for {_what(made.made)}, until {screen.moment(made.made.expires_at)}")
    screen.say("it is shown this once: keep it where secrets are kept")
    if json:
        screen.show_json(made)
    else:
        screen.show(made.token)


@app.command("list")
def list_(
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Of this account alone.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's.")] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that were revoked or have expired.")] = False,
    json: options.Json = False,
) -> None:
    """List tokens: whose, for what, until when, and when they were last used. Never the tokens."""
    place = here()
    found = place.ask(tokens.list_, Tokens(owner=owner, everybody=everybody, ended=ended))
    if json:
        screen.show_json(found)
        return
    rows = [
        (
            one.id[:8],
            one.name,
            one.owner,
            _what(one),
            "revoked" if one.revoked_at else screen.moment(one.expires_at),
            screen.moment(one.used_at) or "never",
        )
        for one in found
    ]
    screen.table(("id", "name", "of", "for", "until", "last used"), rows, ("dim", "bold"))


@app.command()
def revoke(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its id, the beginning of that, or its name; not the token itself.")
    ],
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """End a token at once."""
    if token.startswith("srn_"):
        raise Misuse(
            "that is the token itself, and the command line is no place for it",
            hint="give its id: sealrun token list. It stands in your shell's history now: revoke it",
        )
    place = here()
    confirm(f"revoke token {token}", yes)
    ended = place.ask(tokens.revoke, TokenNamed(token=token))
    screen.say(f"revoked {ended.owner}'s token {ended.name} ({ended.id[:8]})")
    if json:
        screen.show_json(ended)


def _what(token: TokenView) -> str:
    if token.role is None:
        return "all that its owner may"
    if token.project is None:
        return f"{token.role} of the installation"
    return f"{token.role} of {token.project}" + (f"/{token.environment}" if token.environment else "")
