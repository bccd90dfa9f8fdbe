"""`sealrun runs`: list, show, logs, cancel, retry, download; prune and delete are in `runs_prune`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from executor.cli.here import Here, here
from executor.cli.runs_prune import delete, prune
from executor.cli.shown import screen, verdict
from executor.cli.shown.follow import Detached, as_json, come_back, follow, to_streams
from executor.cli.shown.waiting import Waiting
from executor.cli.typed import completion, options
from executor.cli.typed.target import refusals_as_json
from executor.errors import Misuse, RunOutputsMissing
from executor.operations import runs
from executor.schemas.output import BEGINNING, STREAMS, OutputFile, Place
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun, ThoseRuns
from executor.schemas.runs import STATES, AttemptView, RunView

app = typer.Typer(
    help="List, show, follow, cancel and retry runs, download what they left, and delete that.",
    no_args_is_help=True,
    add_completion=False,
)

Reference = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="An id, the beginning of one, or @last for the latest run.", autocompletion=completion.runs
    ),
]


@app.command("list")
def list_(
    project: options.AnyProject = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help=f"{', '.join(STATES)}.")] = None,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many.")] = 20,
    json: options.Json = False,
) -> None:
    """List runs, the latest first: of the project that is named, else of all."""
    if state is not None and state not in STATES:
        raise typer.BadParameter(f"one of {', '.join(STATES)}", param_hint="--state")
    at = here()
    found = at.ask(runs.list_, ThoseRuns(project=at.maybe_project(project), state=state, limit=limit))
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
            view.delayed or lasted(view.started_at, view.finished_at),
            _aside(view),
        )
        for view in found
    ]
    screen.table(("run", "state", "project", "environment", "target", "created", "lasted", ""), rows, ("bold",))


@app.command()
def show(
    run: Reference,
    project: options.Project = None,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", metavar="N", min=1, help="What an earlier attempt left and saw (else the last)."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show a run: how it ended, what it returned, what it left, and its receipts: what it saw."""
    at = here()
    view = at.ask(runs.show, ThatAttempt(run=run, project=_within(at, run, project), attempt=attempt))
    if json:
        screen.show_json(verdict.document(view))
        return
    _show(view)


@app.command("logs")
def logs_(
    run: Reference,
    following: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run is over.")] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="Of this attempt alone (else of all).")
    ] = None,
    project: options.Project = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="PLACE", help="Begin behind this place, as in 1:53, where one has read to."),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option("--stream", metavar="STREAM", help=f"{', '.join(STREAMS)}; repeatable. Else all of them."),
    ] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Begin each line with when it was written.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="A JSON object per piece: attempt, sequence, stream, at, text.")
    ] = False,
) -> None:
    """Write a run's masked output, its stdout to stdout and the rest to stderr; with -f, end as the run ends."""
    if unknown := set(stream or ()) - set(STREAMS):
        raise typer.BadParameter(f"{min(unknown)} is none of {', '.join(STREAMS)}", param_hint="--stream")
    if following and attempt is not None:
        raise Misuse("--attempt and --follow exclude each other", command="runs logs")
    if json and timestamps:
        raise Misuse("--json has the moments; --timestamps is for lines", command="runs logs")
    begin = Place.parse(after) if after is not None else BEGINNING
    at = here()
    view = at.ask(runs.show, ThatAttempt(run=run, project=_within(at, run, project), attempt=attempt))
    write = as_json(sys.stdout.buffer) if json else to_streams(sys.stdout.buffer, stamped=timestamps)
    if not following:
        for piece in at.ask(runs.logs, OutputOf(run=view.id, after=begin, streams=stream, attempt=attempt)):
            write(piece)
        return
    waiting = None if view.over else Waiting(at, view.id)
    try:
        follow(at, view.id, write, waiting, after=begin, streams=stream)
    except Detached as left:
        screen.say("")
        screen.say(f"come back: {come_back(view.id, left.place)}")
        raise typer.Exit(verdict.CANCELLED) from None
    view = at.ask(runs.show, ThatAttempt(run=view.id))
    if view.state != "succeeded":
        screen.say(verdict.sentence(view, followed=stream is None and after is None), "yellow")
    raise typer.Exit(verdict.exit_code(view))


@app.command()
def cancel(
    run: Reference, project: options.Project = None, json: options.Json = False, yes: options.NeverAsks = False
) -> None:
    """Cancel a run: at once while it waits, else by asking its worker to end it."""
    at = here()
    done = at.ask(runs.cancel, ThatRun(run=run, project=_within(at, run, project)))
    if json:
        screen.show_json({"run": done.run_id, "cancelled": done.cancelled})
        return
    name = done.run_id[:8]
    screen.say(f"run {name} is cancelled" if done.cancelled else f"asked the worker of run {name} to end it")


@app.command()
def retry(
    run: Reference,
    project: options.Project = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the new run's id, and do not wait.")] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make a new run from one that is over, with the same target, source, secrets and options, and follow it."""
    from executor.cli.run import Submission, finish  # what submits takes its time to import

    with refusals_as_json(json):
        at = here()
        again = ThatRun(run=run, project=_within(at, run, project))
        prepared = at.ask(runs.prepare_again, again).followed()
        submitted = Submission(at, lambda: at.ask(runs.accept, prepared))
    screen.say(f"run {submitted.id[:8]}")
    if detach:
        submitted.leave(json)
        return
    raise typer.Exit(finish(submitted, json, None))


@app.command()
def download(
    run: Reference,
    project: options.Project = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="The folder to write to (else one named as the run).")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, help="What an earlier attempt left (else the last).")
    ] = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Write the files that a run left into a folder."""
    at = here()
    view = at.ask(runs.show, ThatAttempt(run=run, project=_within(at, run, project), attempt=attempt))
    folder = f"run-{view.id[:8]}" + (f"-{attempt}" if attempt is not None else "")
    asked = Download(run=view.id, folder=Path(output or folder), attempt=attempt)
    found = at.ask(runs.download, asked)
    if json:
        withheld = [{"path": file.path, "withheld": file.withheld} for file in found.withheld]
        masked = [{"path": file.path, "masked": file.masked, "masked_more": file.masked_more} for file in found.masked]
        written = [str(path) for path in found.written]
        screen.show_json({"run": view.id, "written": written, "masked": masked, "withheld": withheld})
    else:
        verdict.tell_files((*found.withheld, *found.masked))
        for path in found.written:
            screen.show(screen.printable(str(path)))
    if len(found.withheld) == len(view.outputs):
        raise RunOutputsMissing(run=view.id[:8])


app.command()(prune)
app.command()(delete)


def lasted(began: datetime | None, ended: datetime | None) -> str:
    """How long, in seconds; empty where it did not begin or is not over."""
    return f"{(ended - began).total_seconds():.1f} s" if began and ended else ""


def _aside(view: RunView) -> str:
    """What stands behind a run in a list."""
    if view.lost_to:
        return f"lost: {view.lost_to}"
    return f"waiting: {view.waiting_for}" if view.waiting_for else "pruned" if view.pruned_by else ""


def _within(at: Here, reference: str, project: str | None) -> str | None:
    """@last is of the project that is named, where one is; an id is an id wherever one stands."""
    return at.maybe_project(project) if reference == "@last" or project is not None else None


def _show(view: RunView) -> None:
    facts: list[screen.Fact] = [
        ("run", view.id),
        ("target", view.title),
        ("project", f"{view.project}/{view.environment}"),
        ("state", view.state + (f" ({view.reason})" if view.reason not in (None, view.state) else "")),
    ]
    facts.append(("source", verdict.source(view)))
    if asked := verdict.asked(view):
        facts.append(("asked for", asked))
    if view.waiting_for:
        facts.append(("waiting", view.waiting_for))
    if view.held_up:
        facts.append(("held up", view.held_up))
    if view.lost_to:
        facts.append(("lost", view.lost_to))
    if view.message:
        facts.append(("message", view.message))
    if view.exit_code is not None:
        facts.append(("exit code", str(view.exit_code)))
    if view.delayed:
        facts.append(("waiting", view.delayed))
    if view.retry_of:
        facts.append(("retry of", view.retry_of))
    facts += [
        ("attempt", str(view.attempt) if len(view.attempts) < 2 else [*map(_attempt_line, view.attempts)]),
        ("created", f"{screen.moment(view.created_at)} by {view.created_by}, {_DOORS.get(view.door, view.door)}"),
        ("started", screen.moment(view.started_at)),
        ("finished", screen.moment(view.finished_at)),
    ]
    if view.worker:
        facts.append(("worker", view.worker))
    latest = next((attempt for attempt in view.attempts if attempt.number == view.attempt), None)
    if latest is not None and latest.packages is not None:
        facts.append(("python", _python(latest.packages)))
    if view.result is not None:
        facts.append(("result", screen.json_text(view.result).split("\n")))
    if view.note:
        facts.append(("note", view.note))
    if view.problem:
        facts.append(("problem", list(verdict.problem_lines(view.problem))))
    facts += verdict.metric_facts(view)
    if view.outputs:
        facts.append(("files", list(map(file_line, view.outputs))))
    if view.pruned_by:
        facts.append(("pruned", f"what it left was deleted: {screen.moment(view.pruned_at)} by {view.pruned_by}"))
    if view.masked:
        facts.append(("masked", list(map(str, view.masked))))
    screen.facts(facts, {"state": screen.STATE_STYLES.get(view.state, "")})
    for attempt in view.attempts:
        if attempt.number == view.attempt:
            _show_receipts(view, attempt)


_DOORS = {"direct": "direct: with the database's URL", "api": "through the API"}


def _attempt_line(attempt: AttemptView) -> str:
    how = attempt.state + (f" ({attempt.reason})" if attempt.reason not in (None, attempt.state) else "")
    return f"{attempt.number} {how}" + (f": {attempt.message}" if attempt.message else "")


def _python(packages: dict[str, Any]) -> str:
    """Its version, and which environment was built or found for it."""
    if "environment" not in packages:
        return str(packages["python"])
    how = "kept from an earlier run" if packages["cached"] else f"built in {packages['seconds']:.1f} s"
    return f"{packages['python']}, environment {packages['environment'][:12]}, {how}"


def _show_receipts(view: RunView, attempt: AttemptView) -> None:
    worker = screen.printable(attempt.worker)
    of_attempt = f" of attempt {attempt.number}, {attempt.state}, on {worker}" if len(view.attempts) > 1 else ""
    for receipt in attempt.receipts:
        of_phase = f" of phase {receipt.phase}" if len(attempt.receipts) > 1 else ""
        screen.show("")
        screen.show(f"receipt{of_phase}{of_attempt}")
        screen.facts((f"  {name}", text) for name, text in verdict.receipt_facts(receipt))
    if not attempt.receipts:
        screen.show("")
        screen.show(f"no receipt{of_attempt}: it did not reach its gate, and was given nothing")


def file_line(file: OutputFile) -> str:
    """A file that was left, with its size in bytes and what was masked in it, or why it was withheld."""
    name = screen.printable(file.path)
    if file.withheld:
        return f"{name}  withheld: {file.withheld}"
    return f"{name}  {file.size:,} bytes" + (f"  masked: {file.masked_text}" if file.masked else "")
