"""`sealrun variable`: set, list, delete plain configuration."""

import sys
from typing import Annotated

import typer

from executor.cli.environments import environments_named
from executor.cli.here import confirm, confirm_name, here
from executor.cli.shown import screen
from executor.cli.typed import completion, options
from executor.errors import Misuse
from executor.operations import variables
from executor.schemas.places import InProject, Named
from executor.schemas.variables import NewVariable
from secretstore.naming import check_variable_name

app = typer.Typer(
    help="Set, list and delete variables: plain configuration, shown openly and never masked.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name.", autocompletion=completion.variables)]


@app.command("set")
def set_(
    name: Name,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE", help="The value; read from stdin if left out. One that begins with - goes after --."
        ),
    ] = None,
    project: options.Project = None,
    environment: options.Environments = None,
    create_env: options.CreateEnvironment = False,
    json: options.Json = False,
    yes: options.YesOfInstallers = False,
) -> None:
    """Set a variable. Anyone who may list sees its value: a password belongs into a secret."""
    if value is None and "=" in name:
        raise Misuse(
            "the value stands after the name, parted by a blank: NAME VALUE",
            command="variable set",
        )
    check_variable_name(name)
    place = here()
    project = place.project(project)
    environments = environments_named(place, project, environment, create_env)
    confirm_name(name, yes)
    asked = NewVariable(
        project=project,
        environments=environments,
        name=name,
        value=_read(name) if value is None else value,
        create_environments=create_env,
        confirmed=True,
    )
    stored = place.ask(variables.set_, asked)
    for made in stored.created_environments:
        screen.say(f"created environment {made} in project {project}")
    for note in stored.notes:
        screen.say(f"note: {note}", "yellow")
    for view in stored.variables:
        screen.say(f"set {view.name} in {project}/{view.environment}")
    if json:
        screen.show_json(stored)


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List variables with their values, of all environments unless -e says one."""
    place = here()
    found = place.ask(variables.list_, InProject(project=place.project(project), environment=environment))
    if json:
        screen.show_json(found)
        return
    rows = [
        (entry.name, entry.environment, entry.value, screen.moment(entry.updated_at), entry.updated_by)
        for entry in found
    ]
    screen.table(("variable", "environment", "value", "updated", "by"), rows, ("bold",))


@app.command()
def delete(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete a variable."""
    place = here()
    project, environment = place.project(project), place.environment(environment)
    # An unknown name is refused below, and nothing is asked.
    there = place.ask(variables.list_, InProject(project=project, environment=environment))
    if any(entry.name == name for entry in there):
        confirm(f"delete variable {name} of {project}/{environment}", yes)
    deleted = place.ask(variables.delete, Named(project=project, environment=environment, name=name))
    screen.say(f"deleted variable {name} of {project}/{environment}")
    if json:
        screen.show_json(deleted)


def _read(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"value of {screen.printable(name)}", err=True))
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n")
