"""`sealrun secret`: a value goes in by stdin, a hidden prompt or a file, and never out."""

from typing import Annotated, Any

import typer

from executor.cli.environments import environments_named
from executor.cli.here import Here, confirm, confirm_name, here
from executor.cli.secret_explain import explain
from executor.cli.secret_import import import_
from executor.cli.shown import screen
from executor.cli.shown.expiry import time_left
from executor.cli.shown.job import by_a_worker
from executor.cli.typed import completion, options
from executor.cli.typed.new_value import WithoutValues, read_value, value_on_command_line
from executor.cli.typed.pins import given_pins
from executor.cli.typed.signposts import Signposted
from executor.cli.typed.target import RunCommand
from executor.cli.typed.times import expiry
from executor.errors import KeyOperationFailed, Misuse
from executor.operations import secrets
from executor.schemas.places import InEnvironment, InProject, Named
from executor.schemas.secrets import (
    ListedSecret,
    NewSecret,
    RenamedSecret,
    Rollback,
    SecretDeletion,
    SecretRename,
    SeenIn,
    SetSecret,
    VersionNamed,
    VersionRuns,
    VersionUse,
)
from secretstore.naming import check_secret_name

_ASKS_FOR_A_VALUE = ("get", "show", "view", "read", "cat", "reveal", "export", "print", "dump", "decrypt")


class WriteOnly(Signposted):
    """The commands of `secret`, with an answer for those who look for one that shows a value."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As usual; `get` is not taken for a mistyped `set`."""
        if args and args[0] in _ASKS_FOR_A_VALUE:
            raise Misuse(
                "there is no command that shows a secret's value: a run is given it, and nothing else",
                hint="names: sealrun secret list; what a run would be given: sealrun secret explain TARGET",
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=WriteOnly,
    help="Store secrets, list their names, delete them. Nothing shows a value.",
    no_args_is_help=True,
    add_completion=False,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The secret's name, which is also the variable's in a run.",
        autocompletion=completion.secrets,
    ),
]


@app.command("set", cls=WithoutValues)
def set_(
    name: Name,
    project: options.Project = None,
    environment: options.Environments = None,
    from_file: Annotated[
        str | None, typer.Option("--from-file", metavar="PATH", help="Take the file's content, byte for byte.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Keep a final newline of stdin.")] = False,
    allow_short: Annotated[
        bool, typer.Option("--allow-short", help="Take a value that is too short to be masked.")
    ] = False,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="When it is due: 90d, 12h, 2030-01-31. A reminder, no lock."),
    ] = None,
    as_file: Annotated[
        bool | None,
        typer.Option(
            "--as-file/--as-variable",
            help="Give it to runs as a private file, its path in the variable; or as the variable (else as it was).",
        ),
    ] = None,
    create_env: options.CreateEnvironment = False,
    pin: options.Pins = None,
    json: options.Json = False,
    yes: options.YesOfInstallers = False,
    values: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Seal a value and store it as the secret's next version.

    The value is read from stdin, or from a hidden prompt on a terminal, or with --from-file. Never from the
    command line. With several environments it is sealed for each, or for none.
    """
    if values or "=" in name:
        raise value_on_command_line()
    check_secret_name(name)
    pins = given_pins(pin)
    place = here()
    project = place.project(project)
    expires_at = expiry(name, expires) if expires is not None else None
    environments = environments_named(place, project, environment, create_env)
    confirm_name(name, yes)
    asked = NewSecret(
        project=project,
        environments=environments,
        name=name,
        value=read_value(name, from_file, raw),
        expires_at=expires_at,
        allow_short=allow_short,
        as_file=as_file,
        create_environments=create_env,
        pins=pins,
        confirmed=True,
    )
    stored = seal(place, asked)
    if json:
        screen.show_json(stored)


def seal(place: Here, asked: NewSecret) -> SetSecret:
    """Store a value, and say what became of it and under which names a run will find it."""
    stored = place.ask(secrets.set_, asked)
    for note in stored.value_notes:
        screen.say(f"note: {note}", "yellow")
    for made in stored.created_environments:
        screen.say(f"created environment {made} in project {asked.project}")
    for view in stored.secrets:
        until = f", expires {screen.moment(view.expires_at)}" if view.expires_at else ""
        given = ", given to runs as a file" if view.as_file else ""
        screen.say(f"sealed {view.name} version {view.version} in {asked.project}/{view.environment}{until}{given}")
    for note in (*stored.misfits, *stored.name_notes):
        screen.say(f"note: {note}", "yellow")
    return stored


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List secrets by name, of all environments unless -e says one."""
    place = here()
    found = place.ask(secrets.list_, InProject(project=place.project(project), environment=environment))
    if json:
        screen.show_json(found)
        return
    screen.table(
        ("secret", "environment", "version", "updated", "by", "last used", "", "seen in output of", "expiry"),
        map(_secret_row, found),
        ("bold", "", "", "", "", "", "yellow", "yellow", "yellow"),
    )
    for secret in found:
        if secret.rotate is not None:
            screen.say(_advice(place.project(project), secret, secret.rotate), "yellow")


def _secret_row(secret: ListedSecret) -> tuple[str, ...]:
    return (
        secret.name,
        secret.environment,
        str(secret.version),
        screen.moment(secret.updated_at),
        secret.updated_by,
        screen.moment(secret.last_used_at) or "never",
        ", ".join(["not masked"] * (not secret.maskable) + ["as a file"] * secret.as_file),
        f"run {secret.seen.run[:8]}, {screen.moment(secret.seen.at)}" if secret.seen else "",
        time_left(secret.expires_at),
    )


def _advice(project: str, secret: ListedSecret, seen: SeenIn) -> str:
    """Why a secret should get a new value: what else takes what the run gives out may not have masked it."""
    forms = ", ".join(f"{one.form} in {one.stream}" for one in seen.masked)
    return (
        f"rotate {secret.name} of {project}/{secret.environment}: run {seen.run[:8]} gave it out in a form that other "
        f"maskers may not find ({forms}). When its owner has replaced it: "
        f"sealrun secret set {secret.name} -p {project} -e {secret.environment}"
    )


@app.command()
def delete(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even where a source or catalog names it, which runs are then not given.")
    ] = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete a secret with all its versions, for good. One that a source or catalog names stays, without --force."""
    place = here()
    project, environment = place.project(project), place.environment(environment)
    asked = SecretDeletion(project=project, environment=environment, name=name, force=force)
    place.ask(secrets.require_deletable, asked)  # what refuses is said before anything is asked
    confirm(f"delete secret {name} of {project}/{environment} with all its versions, for good", yes)
    deleted = place.ask(secrets.delete, asked)
    screen.say(f"deleted secret {name} of {project}/{environment}")
    if json:
        screen.show_json(deleted)


@app.command()
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it is to have.", show_default=False)],
    project: options.Project = None,
    environment: options.Environments = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although a source or catalog names it, which runs are then not given.")
    ] = False,
    json: options.Json = False,
    yes: options.YesOfInstallers = False,
) -> None:
    """Give a secret another name. Its versions, its history and its receipts go on.

    Runs that have begun keep what they were given. The name is a part of what a value is sealed for: where the private
    key cannot be opened here, a worker that can does it, and this waits. With several environments each is renamed for
    itself, once all of them can be.
    """
    place = here()
    project = place.project(project)
    environments = environments_named(place, project, environment, False)
    confirm_name(new, yes)
    asked = [
        SecretRename(project=project, environment=one, name=name, new=new, force=force, confirmed=True)
        for one in environments
    ]
    for one in asked:
        place.ask(secrets.require_renamable, one)
    renamed = [_renamed(place, one) for one in asked]
    if json:
        screen.show_json(renamed)


def _renamed(place: Here, asked: SecretRename) -> RenamedSecret:
    where = InEnvironment(project=asked.project, environment=asked.environment)
    try:
        done = place.ask(secrets.rename, asked)
    except KeyOperationFailed as failed:
        done = RenamedSecret(**by_a_worker(place, failed, where, lambda: place.ask(secrets.submit_rename, asked)))
    screen.say(f"{asked.name} of {asked.project}/{asked.environment} is {asked.new} now: {done.versions} versions")
    return done


@app.command()
def history(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="List the runs that were given this version.")
    ] = None,
    limit: Annotated[
        int, typer.Option("-L", "--limit", metavar="N", min=1, help="At most so many runs, with --version.")
    ] = 20,
    json: options.Json = False,
) -> None:
    """List a secret's versions, the newest first, and how many runs were given each; or the runs of one version."""
    place = here()
    asked = Named(project=place.project(project), environment=place.environment(environment), name=name)
    if version is None:
        versions = place.ask(secrets.history, asked)
        if json:
            screen.show_json(versions)
            return
        screen.table(
            ("version", "set", "by", "runs", "last run", "when", "", "", "expiry"),
            map(_version_row, versions),
            ("bold", "", "", "", "", "", "green", "yellow", "yellow"),
        )
        return
    given = place.ask(secrets.runs_given, VersionNamed(**dict(asked), version=version, limit=limit))
    if json:
        screen.show_json(given)
    else:
        _show_runs(given)


def _version_row(version: VersionUse) -> tuple[str, ...]:
    return (
        str(version.version),
        screen.moment(version.created_at),
        version.created_by or "",
        str(version.runs),
        (version.last_run or "")[:8],
        screen.moment(version.last_given_at),
        "current" if version.current else "" if version.kept else "no longer kept",
        "not masked" if version.maskable is False else "",
        time_left(version.expires_at),
    )


def _show_runs(given: VersionRuns) -> None:
    name, version = given.name, given.version
    if not given.kept:
        gone = f"version {version} of {name} is no longer kept"
        screen.say(gone if given.runs else f"{name} has no version {version}")
    rows = [
        (
            run.id[:8] + (f" attempt {run.attempt}" if run.attempt > 1 else ""),
            run.state or "no longer kept",
            screen.moment(run.started_at),
            run.created_by or "",
            screen.moment(run.given_at),
            run.opening.replace("_", " "),
        )
        for run in given.runs
    ]
    screen.table(("run", "state", "started", "by", "given", ""), rows, ("bold",))


@app.command()
def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="The version (else the one before the current one).")
    ] = None,
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make an earlier version the current one again. Runs that have begun keep what they were given."""
    place = here()
    project, environment = place.project(project), place.environment(environment)
    asked = Rollback(project=project, environment=environment, name=name, to=to)
    secret = place.ask(secrets.rollback, asked)
    screen.say(f"{name} of {project}/{environment} is at version {secret.version} again")
    if left := time_left(secret.expires_at):
        screen.say(f"note: that version {left.replace('expired', 'has expired')}", "yellow")
    if json:
        screen.show_json(secret)


app.command("import", cls=WithoutValues)(import_)
app.command("explain", cls=RunCommand)(explain)
