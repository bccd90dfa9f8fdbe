"""`sealrun audit`: list, export and verify."""

from datetime import datetime
from typing import Annotated

import typer

from executor.cli.here import Here, here
from executor.cli.shown import screen
from executor.cli.typed import options, times
from executor.errors import Misuse
from executor.operations import audit
from executor.schemas.audit import Chain, Events, ExportedEvents
from secretstore.views import EventView, Head

app = typer.Typer(
    help="List, export and verify the record of who changed what.", no_args_is_help=True, add_completion=False
)


@app.command("list")
def list_(
    project: options.Project = None,
    installation: options.Installation = False,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many, the newest.")] = 50,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", metavar="WHEN", parser=times.since, help="Since 2026-01-31, 2026-01-31T08:00Z, or 7d, 12h, 30m."
        ),
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="WHO", help="By whom; ada* for a beginning.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="WHAT", help="As secret.set; secrets.* for a beginning.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="NAME", help="As prod/API_KEY; prod/* for a beginning.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List a project's events in the order of its chain, or those of the installation.

    In JSON with every field that is hashed, as it is hashed.
    """
    place = here()
    of = _project(place, project, installation, "list")
    asked = Events(project=of, limit=limit, since=since, actor=actor, action=action, subject=subject)
    found = place.ask(audit.list_, asked)
    _say_waiting(found.waiting)
    if json:
        screen.show_json([event.fields() for event in found.events])
        return
    headings = ("", "at", "actor", "by way of", "action", "subject", "outcome")
    screen.table(headings, map(_row, found.events), ("dim", "", "", "", "bold"))


@app.command()
def export(
    project: options.Project = None,
    installation: options.Installation = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", metavar="WHEN", parser=times.since, help="Since 2026-01-31, 2026-01-31T08:00Z, or 7d, 12h, 30m."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write all events of a project, or of the installation, as JSON Lines: one object with every hashed field each.

    It is that form with and without --json.
    """
    place = here()
    asked = ExportedEvents(project=_project(place, project, installation, "export"), since=since)
    for events in place.ask(audit.export, asked):
        screen.show_lines(event.fields() for event in events)


@app.command()
def verify(
    project: options.Project = None,
    installation: options.Installation = False,
    expect_head: Annotated[
        str | None,
        typer.Option("--expect-head", metavar="HEAD", help="A head that an earlier verify printed: SEQUENCE:HASH."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Walk a project's chain of events, or the installation's, and name the first that is not as it was written.

    It prints the chain's head. Keep that elsewhere: that the end of the chain was not cut off, and that the database is
    no older one, only --expect-head can tell.
    """
    expect = _head(expect_head)
    place = here()
    of = _project(place, project, installation, "verify")
    verified = place.ask(audit.verify, Chain(project=of, expect=expect))
    _say_waiting(verified.waiting)
    found = verified.found
    if json:
        screen.show_json(screen.plain_data(found) | {"ok": found.ok})
    elif found.ok:
        screen.show(f"{found.checked} events, each as it was written; head {found.head}")
    elif found.first_bad is not None:
        of = f" of project id {found.project_id}" if found.project_id else ""
        screen.show(
            f"{screen.printable(found.why or '')}{of}; the {found.checked} events before it are as they were written"
        )
    else:
        screen.show(f"{found.why}; head {found.head}")
    raise typer.Exit(0 if found.ok else 1)


def _project(place: Here, project: str | None, installation: bool, act: str) -> str | None:
    if installation and project is not None:
        raise Misuse("--installation is the chain of what is of no project: leave out -p", command=f"audit {act}")
    return None if installation else place.project(project)


def _row(event: EventView) -> tuple[str, ...]:
    moment = screen.moment(event.at)
    return str(event.sequence), moment, event.actor, event.origin, event.action, event.subject, event.outcome


def _say_waiting(waiting: int) -> None:
    if waiting:
        screen.say(f"note: {waiting} events wait to be linked, and could not be from here", "yellow")


def _head(text: str | None) -> Head | None:
    try:
        return None if text is None else Head.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expect-head") from None
