"""`sealrun project`: create, list, delete."""

from pathlib import Path
from typing import Annotated

import typer

from executor import history
from executor.cli import desk, options, screen
from executor.cli.desk import Desk
from executor.cli.errors import ProjectBusy
from executor.key_birth import birth
from secretstore import vault
from secretstore.errors import AlreadyExists, KeyFileMissing
from secretstore.local_keys import create_local_key
from secretstore.naming import check_environment_name, check_project_name

app = typer.Typer(help="Create, list and delete projects.", no_args_is_help=True, add_completion=False)

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
def delete(name: Name, yes: options.Yes = False) -> None:
    """Delete a project with all its environments, keys, secrets and variables, for good. Its runs' logs stay."""
    at = desk.sit_down()
    project = vault.get_project(at.db, name)
    if count := history.live_runs(at.db, project.id):
        raise ProjectBusy(project=name, count=count)
    desk.confirm(f"delete project {name} with all its secrets, for good", yes)
    vault.delete_project(at.db, name, actor=at.actor)
    screen.say(f"deleted project {name}")


def create_project(at: Desk, name: str, environments: list[str]) -> None:
    """Make what is not there yet of a project and its environments, and say what was made."""
    check_project_name(name)
    for environment in environments:
        check_environment_name(environment)
    _ensure_key_file(at)
    new_pair = birth(at.settings)
    try:
        vault.create_project(at.db, name, actor=at.actor, birth=new_pair)
        screen.say(f"created project {name} with the environment {desk.DEFAULT_ENVIRONMENT}")
    except AlreadyExists:
        screen.say(f"project {name} exists already")
    for environment in environments:
        create_environment(at, name, environment)


def create_environment(at: Desk, project: str, name: str) -> None:
    """Make an environment if it is not there, and say so."""
    try:
        vault.create_environment(at.db, project, name, actor=at.actor, birth=birth(at.settings))
        screen.say(f"created environment {name} in project {project}")
    except AlreadyExists:
        screen.say(f"environment {name} exists already in project {project}")


def default_key_file(at: Desk) -> Path:
    """Where the local key file is unless SEALRUN_KEYS says otherwise."""
    return at.settings.store.home / "keys" / "local.key"


def _ensure_key_file(at: Desk) -> None:
    path = default_key_file(at)
    if at.settings.store.keys != f"local:{path}" or path.exists():
        return
    if vault.list_projects(at.db):
        # Their keys were wrapped under a key file that is gone: a new one would hide that, and open none of them.
        raise KeyFileMissing(path=path)
    create_local_key(path)
    screen.say(f"made the local key file {path}")
    screen.say("keep a copy of it somewhere safe: who loses it loses the secrets, who has it can open them")
