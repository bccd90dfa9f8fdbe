"""`sealrun project`: create, set, list, delete."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlmodel import Session

from executor.cli import desk
from executor.cli.desk import Desk
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse, RequestUnclear
from executor.keys.creation import birth
from executor.records import history
from executor.settings import QUEUE
from secretstore import vault
from secretstore.errors import AlreadyExists, InUse, KeyFileMissing
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.local_keys import create_local_key
from secretstore.naming import check_environment_name, check_project_name
from secretstore.pins import Pin
from secretstore.vault import Birth

app = typer.Typer(help="Create, change, list and delete projects.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The project's name: lower-case letters, digits and -.")]


@app.command()
def create(
    name: Name,
    environments: Annotated[
        list[str] | None,
        typer.Option("-e", "--environment", metavar="ENV", help='A further environment beside "default"; repeatable.'),
    ] = None,
) -> None:
    """Make a project with its environment "default", and further ones with -e.

    What exists already stays as it is, so that it can be said again.
    """
    create_project(desk.sit_down(), name, environments or [])


@app.command("set")
def set_(
    name: Name,
    sandbox_min: Annotated[
        Literal["process", "landlock"] | None,
        typer.Option(
            "--sandbox-min", help="The weakest rung its runs accept; a worker that gives less does not take them."
        ),
    ] = None,
    max_running: Annotated[
        str | None,
        typer.Option("--max-running", metavar="N", help='So many of its runs at a time, on all workers; or "none".'),
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
) -> None:
    """Change what a project's runs ask for. Runs that were submitted before keep what they asked for.

    --max-running is for these, too: a run waits until there are fewer.
    """
    if (environment is None) != (queue is None):
        raise Misuse("--queue and -e go together", command="project set")
    if sandbox_min is None and queue is None and max_running is None:
        raise Misuse(
            "nothing to set: say --sandbox-min, --max-running, or -e with --queue",
            command="project set",
        )
    most = _most_running(max_running) if max_running is not None else None
    at = desk.sit_down()
    if environment is not None and queue is not None:
        if at.settings.embedded and queue != QUEUE:
            raise RequestUnclear(
                "the queue {queue} needs workers of its own, and with nothing configured there is one for all",
                queue=queue,
                hint=f"set SEALRUN_BROKER_URL and SEALRUN_DATABASE_URL, and start one with: sealrun worker -Q {queue}",
            )
        vault.set_environment(at.db, name, environment, queue=None if queue == QUEUE else queue, actor=at.actor)
        screen.say(
            f"runs of {name}/{environment} wait in the queue {queue}; a worker for them: sealrun worker -Q {queue}"
        )
    if sandbox_min is not None:
        vault.set_project(at.db, name, sandbox_min=sandbox_min, actor=at.actor)
        screen.say(f"runs of {name} need rung {sandbox_min} or better")
    if most is not None:
        vault.set_project(at.db, name, max_running=most, actor=at.actor)
        limit = f"at most {most} {'run' if most == 1 else 'runs'} of {name} at a time"
        screen.say(limit if most else f"runs of {name} have no limit")


def _most_running(text: str) -> int:
    """The number, 0 for no limit."""
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 100_000):
        raise Misuse('--max-running is a whole number above 0, or "none"', command="project set")
    return int(text)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List projects and their environments."""
    db = desk.sit_down().db
    projects = vault.list_projects(db)
    environments = {project.name: vault.list_environments(db, project.name) for project in projects}
    names = {project: [environment.name for environment in found] for project, found in environments.items()}
    if json:
        described = [screen.plain_data(project) | {"environments": names[project.name]} for project in projects]
        screen.show_json(described)
        return
    rows = [
        (project.name, ", ".join(names[project.name]), screen.moment(project.created_at), project.created_by)
        for project in projects
    ]
    screen.table(("project", "environments", "created", "by"), rows, ("bold",))


@app.command()
def delete(
    name: Name,
    environment: Annotated[
        str | None, typer.Option("-e", "--environment", metavar="ENV", help="Delete this environment alone.")
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Delete a project, or one environment of it, with its keys, secrets, variables, sources and catalogs.

    Its runs' logs stay.

    Its wrapped keys are destroyed with it: what is sealed there can never be opened again. Backups of the database are
    beyond it, as long as the key service can unwrap the keys in them.
    """
    at = desk.sit_down()
    what = f'project "{name}"' if environment is None else f'environment "{environment}" of project "{name}"'

    def refuse_live(session: Session, project_id: str, environment_id: str | None) -> None:
        if count := history.count_live(session, project_id, environment_id):
            raise InUse(
                "{what} has unfinished runs: {count}",
                what=what,
                project=name,
                count=count,
                hint=f"cancel them or wait: sealrun runs list -p {name}",
            )

    place = vault.get_project(at.db, name)
    found = vault.get_environment(at.db, name, environment) if environment is not None else None
    with at.db.reading() as session:  # before the question; what decides is the same under the locks
        refuse_live(session, place.id, found.id if found else None)
    desk.confirm(f"delete {what} and destroy its keys, so that nothing sealed there can ever be opened again", yes)
    if environment is None:
        vault.delete_project(at.db, name, actor=at.actor, refuse_if=refuse_live)
    else:
        vault.delete_environment(at.db, name, environment, actor=at.actor, refuse_if=refuse_live)
    at.pins.forget(name, environment)
    screen.say(f"deleted {what}; its keys are destroyed")


def create_project(at: Desk, name: str, environments: list[str]) -> None:
    """Make what is not there yet of a project and its environments, and say what was made."""
    check_project_name(name)
    for environment in environments:
        check_environment_name(environment)
    _ensure_key_file(at)
    try:
        _make(
            at,
            (name, desk.DEFAULT_ENVIRONMENT),
            lambda birth: vault.create_project(at.db, name, actor=at.actor, birth=birth),
        )
        screen.say(f"created project {name} with the environment {desk.DEFAULT_ENVIRONMENT}")
    except AlreadyExists:
        screen.say(f"project {name} exists already")
    for environment in environments:
        create_environment(at, name, environment)


def create_environment(at: Desk, project: str, name: str) -> None:
    """Make an environment if it is not there, and say so."""
    try:
        _make(
            at,
            (project, name),
            lambda birth: vault.create_environment(at.db, project, name, actor=at.actor, birth=birth),
        )
        screen.say(f"created environment {name} in project {project}")
    except AlreadyExists:
        screen.say(f"environment {name} exists already in project {project}")


def _make(at: Desk, names: tuple[str, str], make: Callable[[Birth], object]) -> None:
    """Make an environment and remember its key pair, as the process it was born in told it and not the database."""
    born: list[Pin] = []

    def new_pair(place: KeyPlace, generation: int) -> WrappedKeyPair:
        pair = birth(at.settings)(place, generation)
        born.append(Pin(pair.generation, pair.fingerprint))
        return pair

    make(new_pair)
    at.pins.remember(*names, born[-1])


def default_key_file(at: Desk) -> Path:
    """Where the local key file is unless SEALRUN_KEYS says otherwise."""
    return at.settings.store.home / "keys" / "local.key"


def _ensure_key_file(at: Desk) -> None:
    path = default_key_file(at)
    if str(at.settings.store.key_specs[0]) != f"local:{path}" or path.exists():
        return
    if vault.list_projects(at.db):
        # Their keys were wrapped under a key file that is gone: a new one would hide that, and open none of them.
        raise KeyFileMissing(path=path)
    create_local_key(path)
    screen.say(f"made the local key file {path}")
    screen.say("keep a copy of it somewhere safe: who loses it loses the secrets, who has it can open them")
