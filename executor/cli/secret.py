"""`sealrun secret`: set, list, delete, history. A value goes in by stdin, a hidden prompt or a file, and never out."""

from typing import Annotated

import typer

from executor.cli import desk, options, screen
from executor.cli.desk import Desk
from executor.cli.errors import ValueOnCommandLine
from executor.cli.new_value import WithoutValues, read_value
from executor.cli.project import create_environment
from executor.supervisor.needles import verdict
from secretstore import vault
from secretstore.errors import UnknownEnvironment, ValueRefused
from secretstore.naming import alias_for, aliases, check_secret_name, shell_note

app = typer.Typer(
    help="Store secrets, list their names, delete them. Nothing shows a value.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name, which is also the variable's in a run.")]


@app.command("set", cls=WithoutValues)
def set_(
    name: Name,
    project: options.Project = None,
    environments: Annotated[
        list[str] | None,
        typer.Option("-e", "--environment", metavar="ENV", help="The environment; repeat it to set several."),
    ] = None,
    from_file: Annotated[
        str | None, typer.Option("--from-file", metavar="PATH", help="Take the file's content, byte for byte.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Keep a final newline of stdin.")] = False,
    allow_short: Annotated[
        bool, typer.Option("--allow-short", help="Take a value that is too short to be masked.")
    ] = False,
    create_env: Annotated[
        bool, typer.Option("--create-env", help="Make the environment if the project has none of this name.")
    ] = False,
    values: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Seal a value and store it as the secret's next version.

    The value is read from stdin, or from a hidden prompt on a terminal, or with --from-file. Never from the
    command line.
    """
    if values or "=" in name:
        raise ValueOnCommandLine
    check_secret_name(name)
    at = desk.sit_down()
    project = desk.project_named(at.settings, project)
    places = environments or [desk.environment_named(at.settings, None)]
    for environment in places:
        require_environment(at, project, environment, create_env)
    value = read_value(name, from_file, raw)
    _tell_verdict(name, value, allow_short)
    for environment in places:
        seal(at, project, environment, name, value, allow_short)


@app.command("list")
def list_(project: options.Project = None, environment: options.Environment = None, json: options.Json = False) -> None:
    """List secrets by name, of all environments unless -e says one."""
    at = desk.sit_down()
    found = vault.list_secrets(at.db, desk.project_named(at.settings, project), environment)
    if json:
        screen.show_json(found)
        return
    rows = [
        (
            secret.name,
            secret.environment,
            str(secret.version),
            screen.moment(secret.updated_at),
            secret.updated_by,
            "" if secret.maskable else "not masked",
        )
        for secret in found
    ]
    screen.table(("secret", "environment", "version", "updated", "by", ""), rows, ("bold", "", "", "", "", "yellow"))


@app.command()
def delete(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    yes: options.Yes = False,
) -> None:
    """Delete a secret with all its versions, for good."""
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    vault.history(at.db, project, environment, name)  # an unknown name is told before anything is asked
    desk.confirm(f"delete secret {name} of {project}/{environment} with all its versions, for good", yes)
    vault.delete_secret(at.db, project, environment, name, actor=at.actor)
    screen.say(f"deleted secret {name} of {project}/{environment}")


@app.command()
def history(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
) -> None:
    """List a secret's versions, the newest first."""
    at = desk.sit_down()
    versions = vault.history(
        at.db, desk.project_named(at.settings, project), desk.environment_named(at.settings, environment), name
    )
    if json:
        screen.show_json(versions)
        return
    rows = [
        (str(entry.version), screen.moment(entry.created_at), entry.created_by, "current" if entry.current else "")
        for entry in versions
    ]
    screen.table(("version", "set", "by", ""), rows, ("bold", "", "", "green"))


def require_environment(at: Desk, project: str, environment: str, create: bool) -> None:
    """Check that an environment is there, or make it where that was asked for.

    Raises:
        UnknownEnvironment: it is not, and a typing mistake must not make a new one.
    """
    try:
        vault.get_environment(at.db, project, environment)
    except UnknownEnvironment as error:
        if not create:
            error.hint = f"{error.hint}; to make a new one, add --create-env"
            raise
        create_environment(at, project, environment)


def seal(at: Desk, project: str, environment: str, name: str, value: bytes, allow_short: bool = False) -> None:
    """Store a value, and say what became of it and under which names a run will find it."""
    sealed = vault.put(at.db, project, environment, name, value, actor=at.actor, allow_short=allow_short)
    screen.say(f"sealed {name} version {sealed.version} in {project}/{environment}")
    if note := _name_note(at, project, environment, name):
        screen.say(f"note: {note}", "yellow")


def _tell_verdict(name: str, value: bytes, allow_short: bool) -> None:
    """What the masker can do for it, before it is sealed."""
    judged = verdict(name, value)
    if value.strip() and not judged.maskable and not allow_short:
        hint = "take a longer one, or say --allow-short: it will stand in the run's output as it is"
        raise ValueRefused(name=name, why="it is too short to be masked", hint=hint)
    for note in judged.notes:
        screen.say(f"note: {note}", "yellow")


def _name_note(at: Desk, project: str, environment: str, name: str) -> str | None:
    names = {secret.name for secret in vault.list_secrets(at.db, project, environment)}
    alias = alias_for(name)
    if alias and aliases(names).get(name) is None:
        return f'"{name}" is no name of a shell variable, and gets no alias: another name would have {alias} too'
    return shell_note(name)
