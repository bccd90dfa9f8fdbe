"""`sealrun project`: create, set, list; delete and restore are in `project_end`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from executor.cli.here import Here
from executor.cli.project_end import Name, delete, manager, restore
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse, RequestUnclear
from executor.operations import projects
from executor.schemas.amounts import AMOUNTS, DEFAULT, Amount, as_words
from executor.schemas.projects import CreatedProject, ListedProject, NewProject, ProjectChange
from executor.settings import QUEUE

app = typer.Typer(help="Create, change, list, delete and restore projects.", no_args_is_help=True, add_completion=False)

_UNITS = {"M": 1 << 20, "G": 1 << 30}


@app.command()
def create(
    name: Name,
    environment: Annotated[
        list[str] | None,
        typer.Option("-e", "--environment", metavar="ENV", help='A further environment beside "default"; repeatable.'),
    ] = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make a project with its environment "default", and further ones with -e.

    What exists already stays as it is, so that it can be said again.
    """
    created = create_project(manager(), name, environment or [])
    if json:
        screen.show_json(created)


@app.command("set")
def set_(
    name: Name,
    sandbox_min: Annotated[
        Literal["process", "landlock", "namespace"] | None,
        typer.Option(
            "--sandbox-min", help="The weakest rung its runs accept; a worker that gives less does not take them."
        ),
    ] = None,
    max_running: Annotated[
        str | None,
        typer.Option("--max-running", metavar="N", help='So many of its runs at a time, on all workers; or "none".'),
    ] = None,
    output_limit: Annotated[
        str | None,
        typer.Option(
            "--output-limit",
            metavar="SIZE",
            help="What is kept of the stdout and stderr of each attempt, as in 500M or 2G; 1G where nothing is set.",
        ),
    ] = None,
    protected: Annotated[
        bool | None,
        typer.Option("--protected/--no-protected", help="Whether it, and its environments, cannot be deleted."),
    ] = None,
    network: Annotated[
        Literal["full", "none"] | None, typer.Option("--network", help="The network that its runs have.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help=f'The most memory of a run, as in 512M or 2G; or "{DEFAULT}".'),
    ] = None,
    cpus: Annotated[
        str | None, typer.Option("--cpus", metavar="N", help=f'The most CPUs of a run, as in 1.5; or "{DEFAULT}".')
    ] = None,
    pids: Annotated[
        str | None,
        typer.Option("--pids", metavar="N", help=f'The most processes and threads of a run at once; or "{DEFAULT}".'),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            "--disk", metavar="SIZE", help=f'The most that a run has written in its own folders; or "{DEFAULT}".'
        ),
    ] = None,
    environment: Annotated[
        str | None, typer.Option("-e", "--environment", metavar="ENV", help="The environment that --queue is about.")
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            metavar="QUEUE",
            help=f'Where runs of -e wait: only workers started with -Q QUEUE take them. "{QUEUE}" is the usual one.',
        ),
    ] = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Change what a project's runs ask for. Runs that were submitted before keep what they asked for.

    --max-running is for these, too: a run waits until there are fewer. A run may ask for less than its project has, not
    for more; where a limit is "default", each worker's own settings hold.
    """
    if (environment is None) != (queue is None):
        raise Misuse("--queue and -e go together", command="project set")
    typed = {"memory": memory, "cpus": cpus, "pids": pids, "disk": disk}
    amounts = {one.name: _amount(one, text) for one in AMOUNTS if (text := typed[one.name]) is not None}
    others = (sandbox_min, network, queue, max_running, output_limit, protected)
    if not amounts and all(one is None for one in others):
        raise Misuse(
            "nothing to set: say --sandbox-min, --network, --memory, --cpus, --pids, --disk, --max-running,"
            " --output-limit, --protected, or -e with --queue",
            command="project set",
        )
    most = _most_running(max_running) if max_running is not None else None
    kept = _size(output_limit) if output_limit is not None else None
    asked = ProjectChange(
        name=name,
        sandbox_min=sandbox_min,
        network=network,
        max_running=most,
        output_limit=kept,
        protected=protected,
        environment=environment,
        queue=queue,
        **amounts,
    )
    place = manager()
    changed = place.ask(projects.set_, asked)
    if queue is not None:
        screen.say(
            f"runs of {name}/{environment} wait in the queue {queue}; a worker for them: sealrun worker -Q {queue}"
        )
    if sandbox_min is not None:
        screen.say(f"runs of {name} need rung {sandbox_min} or better")
    if network is not None:
        screen.say(f"runs of {name} have the network {network}")
    for one in AMOUNTS:
        if one.name in amounts:
            limit = f"at most {one.show(amounts[one.name])}" if amounts[one.name] else "what their worker gives"
            screen.say(f"runs of {name} have {limit} ({one.option})")
    if most is not None:
        limit = f"at most {most} {'run' if most == 1 else 'runs'} of {name} at a time"
        screen.say(limit if most else f"runs of {name} have no limit")
    if kept is not None:
        screen.say(f"runs of {name} keep {kept >> 20:,} MiB of their output")
    if protected is not None:
        screen.say(f"{name} {'cannot' if protected else 'can'} be deleted" + (" until --no-protected" * protected))
    if json:
        screen.show_json(changed)


def _amount(one: Amount, text: str) -> Any:
    """The number, 0 for what each worker gives."""
    if text == DEFAULT:
        return 0
    try:
        return one.read(text)
    except RequestUnclear:
        message = '{option} takes {takes}, or "{default}"'
        raise Misuse(message, option=one.option, takes=one.takes, default=DEFAULT, command="project set") from None


def _size(text: str) -> int:
    """So many bytes."""
    number, unit = text[:-1], text[-1:].upper()
    if unit in _UNITS and number.isascii() and number.isdigit() and len(number) < 8:
        size = int(number) * _UNITS[unit]
        if 1 << 20 <= size <= 1 << 40:
            return size
    raise Misuse("--output-limit is a size from 1M to 1024G, as in 500M or 2G", command="project set")


def _most_running(text: str) -> int:
    """The number, 0 for no limit."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        raise Misuse('--max-running is a whole number above 0, or "none"', command="project set")
    return int(text)


@app.command("list")
def list_(
    deleted: Annotated[
        bool, typer.Option("--deleted", help="Those that were deleted, and when each is destroyed, or was.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List projects and their environments; or, with --deleted, those that can be brought back."""
    place = manager()
    if deleted:
        _list_deleted(place, json)
        return
    found = place.ask(projects.list_)
    if json:
        screen.show_json(found)
        return
    rows = [
        (
            project.name,
            ", ".join(project.environments),
            screen.moment(project.created_at),
            project.created_by,
            "; ".join(filter(None, ("protected" * project.protected, _aside(project)))),
        )
        for project in found
    ]
    screen.table(("project", "environments", "created", "by", "what is set"), rows, ("bold",))


def _aside(project: ListedProject) -> str:
    """What its runs need and have at most, where that is not the usual."""
    rung = "" if project.sandbox_min == "process" else f"rung {project.sandbox_min} or better"
    network = "" if project.network == "full" else f"network {project.network}"
    most = as_words(project)
    return "; ".join(filter(None, (rung, network, f"a run has at most {most}" if most else "")))


def _list_deleted(place: Here, json: bool) -> None:
    gone = place.ask(projects.list_deleted)
    if json:
        screen.show_json(gone)
        return
    rows = [
        (
            project.name,
            screen.moment(project.deleted_at),
            project.deleted_by or "",
            screen.moment(project.destroyed_at or project.destroy_at),
            "destroyed" if project.destroyed_at else f"sealrun project restore {project.name}",
        )
        for project in gone
    ]
    screen.table(("project", "deleted", "by", "destroyed", ""), rows, ("bold",))


app.command()(delete)
app.command()(restore)


def create_project(place: Here, name: str, further: Sequence[str]) -> CreatedProject:
    """Make what is not there yet of a project and its environments, and say what was made."""
    created = place.ask(projects.create, NewProject(name=name, environments=tuple(further)))
    if created.key_file is not None:
        screen.say(f"made the local key file {created.key_file}")
        screen.say("keep a copy of it somewhere safe: who loses it loses the secrets, who has it can open them")
    if not created.created:
        screen.say(f"project {name} exists already")
    for one in created.environments:
        environment = one.environment.name
        if created.created and one is created.environments[0]:
            screen.say(f"created project {name} with the environment {environment}")
        elif one.created:
            screen.say(f"created environment {environment} in project {name}")
        else:
            screen.say(f"environment {environment} exists already in project {name}")
    return created
