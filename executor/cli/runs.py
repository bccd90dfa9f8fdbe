"""`sealrun runs`: list, show, logs, cancel, download."""

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from executor import history, logs, outputs
from executor import runs as lifecycle
from executor.cli import desk, options, screen, verdict
from executor.cli.desk import Desk
from executor.cli.errors import FolderUnwritable, RunOutputsMissing
from executor.cli.follow import Detached, follow, to_streams
from executor.cli.waiting import Waiting
from executor.history import RunView
from executor.logs import Piece, Place
from executor.outputs import OutputFile
from secretstore import vault

app = typer.Typer(
    help="List, show, follow and cancel runs, and download what they left.", no_args_is_help=True, add_completion=False
)

Reference = Annotated[
    str, typer.Argument(metavar="RUN", help="An id, the beginning of one, or @last for the latest run.")
]


@app.command("list")
def list_(
    project: options.Project = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help=f"{', '.join(screen.STATE_STYLES)}.")
    ] = None,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """List runs, the latest first: of the project that is named, else of all."""
    if state is not None and state not in screen.STATE_STYLES:
        raise typer.BadParameter(f"one of {', '.join(screen.STATE_STYLES)}", param_hint="--state")
    at = desk.sit_down()
    found = history.list_runs(at.db, _project_id(at, project), limit, state)
    if json:
        screen.show_json([verdict.brief(view) for view in found])
        return
    rows = [
        (
            view.id[:8],
            view.state,
            view.project,
            view.environment,
            view.title,
            screen.moment(view.created_at),
            lasted(view.started_at, view.finished_at),
        )
        for view in found
    ]
    screen.table(("run", "state", "project", "environment", "target", "created", "lasted"), rows, ("bold",))


@app.command()
def show(run: Reference, project: options.Project = None, json: options.Json = False) -> None:
    """Show a run: how it ended, what it returned, what it left, and its receipt."""
    at = desk.sit_down()
    view = _found(at, run, project)
    if json:
        screen.show_json(verdict.document(view))
        return
    _show(view)


@app.command("logs")
def logs_(
    run: Reference,
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run is over.")] = False,
    project: options.Project = None,
) -> None:
    """Write a run's masked output, its stdout to stdout and its stderr to stderr."""
    at = desk.sit_down()
    view = _found(at, run, project)
    write = to_streams(sys.stdout.buffer)
    if not following:
        for piece in _so_far(at, view.id):
            write(piece)
        return
    try:
        follow(at.db, view.id, write, None if view.over else Waiting(at.settings, at.db))
    except Detached:
        screen.say("")
        raise typer.Exit(verdict.CANCELLED) from None
    view = history.show(at.db, view.id)
    if view.state != "succeeded":
        screen.say(verdict.sentence(view), "yellow")


@app.command()
def cancel(run: Reference, project: options.Project = None) -> None:
    """Cancel a run: at once while it waits, else by asking its worker to end it."""
    at = desk.sit_down()
    view = _found(at, run, project)
    done = lifecycle.cancel(at.db, view.id, at.actor.name)
    screen.say(f"run {view.id[:8]} is cancelled" if done else f"asked the worker of run {view.id[:8]} to end it")


@app.command()
def download(
    run: Reference,
    project: options.Project = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="The folder to write to (else one named as the run).")
    ] = None,
) -> None:
    """Write the files that a run left into a folder."""
    at = desk.sit_down()
    view = _found(at, run, project)
    folder = Path(output or f"run-{view.id[:8]}")
    for file in view.outputs:
        if file.withheld is not None:
            screen.say(f"withheld {screen.printable(file.path)}: {file.withheld}", "yellow")
    if not any(file.withheld is None for file in view.outputs):
        raise RunOutputsMissing(run=view.id[:8])
    try:
        written = outputs.download(at.db, view.id, view.attempt, folder)
    except OSError as error:
        raise FolderUnwritable(path=folder, why=(error.strerror or "").lower()) from None
    for path in written:
        screen.show(screen.printable(str(path)))


def lasted(began: datetime | None, ended: datetime | None) -> str:
    """How long, in seconds; empty where it did not begin or is not over."""
    return f"{(ended - began).total_seconds():.1f} s" if began and ended else ""


def _found(at: Desk, reference: str, project: str | None) -> RunView:
    """@last is of the project that is named, where one is; an id is an id wherever one stands."""
    within = _project_id(at, project) if reference == "@last" or project is not None else None
    return history.show(at.db, history.find(at.db, reference, within))


def _project_id(at: Desk, project: str | None) -> str | None:
    name = desk.maybe_project(at.settings, project)
    return vault.get_project(at.db, name).id if name is not None else None


def _so_far(at: Desk, run_id: str) -> Iterator[Piece]:
    place = Place()
    while True:
        pieces, place = logs.read(at.db, run_id, place)
        if not pieces:
            return
        yield from pieces


def _show(view: RunView) -> None:
    state = screen.paint(view.state, screen.STATE_STYLES.get(view.state, ""), sys.stdout)
    facts = [
        ("run", view.id),
        ("target", screen.printable(view.title)),
        ("project", f"{view.project}/{view.environment}"),
        ("state", state + (f" ({view.reason})" if view.reason not in (None, view.state) else "")),
    ]
    if view.message:
        facts.append(("message", screen.printable(view.message)))
    if view.exit_code is not None:
        facts.append(("exit code", str(view.exit_code)))
    facts += [
        ("attempt", str(view.attempt)),
        ("created", f"{screen.moment(view.created_at)} by {view.created_by}"),
        ("started", screen.moment(view.started_at)),
        ("finished", screen.moment(view.finished_at)),
    ]
    if view.worker:
        facts.append(("worker", view.worker))
    if view.result is not None:
        facts.append(("result", screen.json_text(view.result)))
    if view.note:
        facts.append(("note", view.note))
    if view.problem:
        facts.append(("problem", screen.printable(f"{view.problem.get('type')}: {view.problem.get('message')}")))
    if view.outputs:
        facts.append(("files", "\n".join(file_line(file) for file in view.outputs)))
    screen.facts(facts)
    if view.receipt is not None:
        screen.show("\nreceipt")
        screen.facts((f"  {name}", text) for name, text in verdict.receipt_facts(view.receipt))


def file_line(file: OutputFile) -> str:
    """A file that was left, with its size in bytes, or why it was withheld."""
    name = screen.printable(file.path)
    return f"{name}  withheld: {file.withheld}" if file.withheld else f"{name}  {file.size:,} bytes"
