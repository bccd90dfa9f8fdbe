"""`sealrun variable`: set, list, delete plain configuration."""

import sys
from typing import Annotated

import typer

from executor.cli import desk
from executor.cli.secret import require_environment
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.operations.importing import is_named_like_a_secret
from secretstore import vault
from secretstore.naming import check_variable_name

app = typer.Typer(
    help="Set, list and delete variables: plain configuration, shown openly and never masked.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name.")]


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
    environments: Annotated[
        list[str] | None,
        typer.Option("-e", "--environment", metavar="ENV", help="The environment; repeat it to set several."),
    ] = None,
    create_env: Annotated[
        bool, typer.Option("--create-env", help="Make the environment if the project has none of this name.")
    ] = False,
) -> None:
    """Set a variable. Anyone who may list sees its value: a password belongs into a secret."""
    if value is None and "=" in name:
        raise Misuse(
            "the value stands after the name, parted by a blank: NAME VALUE",
            command="variable set",
        )
    check_variable_name(name)
    at = desk.sit_down()
    project = desk.project_named(at.settings, project)
    places = dict.fromkeys(environments or [desk.environment_named(at.settings, None)])
    for environment in places:
        require_environment(at, project, environment, create_env)
    if value is None:
        value = _read(name)
    if not value:
        screen.say(f"note: the value of {name} is empty", "yellow")
    elif is_named_like_a_secret(name):
        screen.say(f"note: {name} is named like a secret, and anyone who may list sees its value", "yellow")
    entries = [vault.NewVariable(environment, name, value) for environment in places]
    for view in vault.store(at.db, project, entries, actor=at.actor, pins=at.pins):
        screen.say(f"set {view.name} in {project}/{view.environment}")


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List variables with their values, of all environments unless -e says one."""
    at = desk.sit_down()
    found = vault.list_variables(at.db, desk.project_named(at.settings, project), environment)
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
) -> None:
    """Delete a variable."""
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    # An unknown name is told, and nothing is asked.
    if any(entry.name == name for entry in vault.list_variables(at.db, project, environment)):
        desk.confirm(f"delete variable {name} of {project}/{environment}", yes)
    vault.delete_variable(at.db, project, environment, name, actor=at.actor)
    screen.say(f"deleted variable {name} of {project}/{environment}")


def _read(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"value of {name}", err=True))
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n")
