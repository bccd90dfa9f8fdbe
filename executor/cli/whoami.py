"""`sealrun whoami`: which door commands go through here, and as whom."""

import os
from typing import TYPE_CHECKING

import typer

from executor.cli.here import Here, here
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.remote.choosing import chosen
from executor.settings import read_here
from executor.submission.context import nearest_project_file

if TYPE_CHECKING:
    from executor.remote.entry import Me

app = typer.Typer(help="Say which door commands go through here, and as whom.", add_completion=False)


@app.command()
def whoami(json: options.Json = False) -> None:
    """Say whether commands here speak to a server, as whom and with which rights; or to a database, as its operator."""
    place = here()
    server = chosen(read_here(), os.environ, nearest_project_file())
    if server is None:
        told = {"door": "direct", "name": place.who.name, "kind": "operator", "database": place.at.where.split()[-1]}
        if json:
            screen.show_json(told)
            return
        facts: list[screen.Fact] = [
            ("door", "direct: whoever holds the database's URL is an operator, and has every right"),
            ("name", place.who.name),
            ("database", told["database"]),
        ]
        screen.facts(facts)
        return
    from executor.remote import entry
    from executor.remote.server import Server

    assert isinstance(place.at, Server), "a server is chosen"
    me = entry.me(place.at)
    rights = _rights(place, me)
    if json:
        screen.show_json(
            {"door": "server", "server": server.origin, "by": server.by, "name": me.name, "kind": me.kind}
            | {"rights": [{"at": at, "verbs": verbs} for at, verbs in rights]}
        )
        return
    lines = [f"{at}: {', '.join(verbs)}" for at, verbs in rights] or ["none: an admin can give a role"]
    facts = [
        ("door", f"the server {server.origin} ({server.by})"),
        ("name", f"{me.name} ({me.kind})"),
        ("rights", lines),
    ]
    screen.facts(facts)


def _rights(place: Here, me: "Me") -> list[tuple[str, list[str]]]:
    """Where which verbs are held, places by their names."""
    from executor.operations import projects

    names = {project.id: project.name for project in place.ask(projects.list_)}
    found = []
    for grant in me.grants:
        at = names.get(grant.project_id, "a project") if grant.project_id else "everywhere"
        found.append((f"{at}, one environment" if grant.environment_id else at, grant.verbs))
    return found
