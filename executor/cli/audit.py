"""`sealrun audit`: list and verify."""

from typing import Annotated

import typer

from executor.cli import desk, options, screen
from secretstore import audit

app = typer.Typer(help="List and verify the record of who changed what.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_(
    project: options.Project = None,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many, the newest.")] = 50,
    json: options.Json = False,
) -> None:
    """List a project's events, the oldest first."""
    at = desk.sit_down()
    events = audit.list_events(at.db, desk.project_named(at.settings, project), limit=limit)
    if json:
        screen.show_json(events)
        return
    rows = [
        (str(event.sequence), screen.moment(event.at), event.actor, event.origin, event.action, event.subject)
        for event in events
    ]
    screen.table(("", "at", "actor", "by way of", "action", "subject"), rows, ("dim", "", "", "", "bold"))


@app.command()
def verify(project: options.Project = None, json: options.Json = False) -> None:
    """Walk a project's chain of events and name the first that is not as it was written."""
    at = desk.sit_down()
    found = audit.verify(at.db, desk.project_named(at.settings, project))
    if json:
        screen.show_json(screen.plain_data(found) | {"ok": found.ok})
    elif found.ok:
        screen.show(f"{found.checked} events, each as it was written; head {found.head}")
    else:
        screen.show(f"event {found.first_bad} is not as it was written: {found.why}")
    raise typer.Exit(0 if found.ok else 1)
