"""`sealrun secret`: a value goes in by stdin, a hidden prompt or a file, and never out."""

from datetime import datetime
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from executor.cli import desk
from executor.cli.desk import Desk
from executor.cli.project import create_environment
from executor.cli.secret_explain import explain
from executor.cli.secret_import import import_
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.cli.typed.expiry import expiry, told
from executor.cli.typed.new_value import WithoutValues, read_value, value_on_command_line
from executor.cli.typed.target import RunCommand
from executor.errors import Misuse
from executor.masking.needles import verdict
from executor.records import secret_uses
from executor.records.secret_uses import RunUse, VersionUse
from secretstore import vault
from secretstore.errors import UnknownEnvironment, ValueRefused
from secretstore.naming import alias_for, aliases, check_secret_name, shell_note

_ASKS_FOR_A_VALUE = ("get", "show", "view", "read", "cat", "reveal", "export")


class WriteOnly(TyperGroup):
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
    create_env: Annotated[
        bool, typer.Option("--create-env", help="Make the environment if the project has none of this name.")
    ] = False,
    values: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Seal a value and store it as the secret's next version.

    The value is read from stdin, or from a hidden prompt on a terminal, or with --from-file. Never from the
    command line. With several environments it is sealed for each, or for none.
    """
    if values or "=" in name:
        raise value_on_command_line()
    check_secret_name(name)
    at = desk.sit_down()
    project = desk.project_named(at.settings, project)
    places = dict.fromkeys(environments or [desk.environment_named(at.settings, None)])
    expires_at = expiry(name, expires) if expires is not None else None
    if not create_env:  # told before a value is typed; one that is asked for is made once the value is known to be good
        for environment in places:
            require_environment(at, project, environment, create=False)
    value = read_value(name, from_file, raw)
    _tell_verdict(name, value, allow_short)
    if create_env:
        for environment in places:
            require_environment(at, project, environment, create=True)
    seal(at, project, [vault.NewSecret(place, name, value, expires_at, allow_short, as_file) for place in places])


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List secrets by name, of all environments unless -e says one."""
    at = desk.sit_down()
    project = desk.project_named(at.settings, project)
    found = vault.list_secrets(at.db, project, environment)
    used = secret_uses.last_used(at.db, vault.get_project(at.db, project).id)
    if json:
        screen.show_json([screen.plain_data(secret) | {"last_used_at": used.get(secret.id)} for secret in found])
        return
    screen.table(
        ("secret", "environment", "version", "updated", "by", "last used", "", "expiry"),
        [_secret_row(secret, used.get(secret.id)) for secret in found],
        ("bold", "", "", "", "", "", "yellow", "yellow"),
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
) -> None:
    """Delete a secret with all its versions, for good. One that a source or catalog names stays, without --force."""
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    vault.history(at.db, project, environment, name)  # an unknown name is told before anything is asked
    if not force:
        vault.require_unnamed(at.db, project, environment, "secret", name)
    desk.confirm(f"delete secret {name} of {project}/{environment} with all its versions, for good", yes)
    vault.delete_secret(at.db, project, environment, name, actor=at.actor, force=force)
    screen.say(f"deleted secret {name} of {project}/{environment}")


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
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    versions = vault.history(at.db, project, environment, name)
    secret_id = vault.secret_id(at.db, project, environment, name)
    if version is None:
        _show_versions(versions, secret_uses.versions_used(at.db, secret_id), json)
    else:
        kept = any(entry.version == version for entry in versions)
        _show_runs(name, version, kept, secret_uses.runs_given(at.db, secret_id, version, limit), json)


def _show_versions(versions: list[vault.VersionView], used: dict[int, VersionUse], json: bool) -> None:
    """The versions that are kept, and below them those that only receipts remember."""
    if json:
        documents = [screen.plain_data(entry) | {"kept": True} | _use(used.get(entry.version)) for entry in versions]
        gone = sorted(used.keys() - {entry.version for entry in versions}, reverse=True)
        unknown = dict.fromkeys(("created_at", "created_by", "maskable", "expires_at")) | {
            "current": False,
            "kept": False,
        }
        screen.show_json(documents + [{"version": number} | unknown | _use(used[number]) for number in gone])
        return
    rows = [_version_row(entry, used.pop(entry.version, None)) for entry in versions]
    rows += [
        (str(number), "", "", *_used(used[number]), "no longer kept", "", "") for number in sorted(used, reverse=True)
    ]
    screen.table(
        ("version", "set", "by", "runs", "last run", "when", "", "", "expiry"),
        rows,
        ("bold", "", "", "", "", "", "green", "yellow", "yellow"),
    )


def _used(use: VersionUse | None) -> tuple[str, str, str]:
    return (str(use.runs), use.last_run[:8], screen.moment(use.last_given_at)) if use else ("0", "", "")


def _use(use: VersionUse | None) -> dict[str, object]:
    if use is None:
        return {"runs": 0, "last_run": None, "last_given_at": None}
    return {"runs": use.runs, "last_run": use.last_run, "last_given_at": screen.moment(use.last_given_at)}


def _show_runs(name: str, version: int, kept: bool, given: list[RunUse], json: bool) -> None:
    if json:
        screen.show_json({"name": name, "version": version, "kept": kept, "runs": given})
        return
    if not kept:
        screen.say(f"version {version} of {name} is no longer kept" if given else f"{name} has no version {version}")
    rows = [
        (
            run.id[:8] + (f" attempt {run.attempt}" if run.attempt > 1 else ""),
            run.state or "no longer kept",
            screen.moment(run.started_at),
            run.created_by or "",
            screen.moment(run.given_at),
            run.opening.replace("_", " "),
        )
        for run in given
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
) -> None:
    """Make an earlier version the current one again. Runs that have begun keep what they were given."""
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    secret = vault.rollback(at.db, project, environment, name, to=to, actor=at.actor)
    screen.say(f"{name} of {project}/{environment} is at version {secret.version} again")
    if expired := told(secret.expires_at):
        screen.say(f"note: that version {expired.replace('expired', 'has expired')}", "yellow")


app.command("import", cls=WithoutValues)(import_)
app.command("explain", cls=RunCommand)(explain)


def require_environment(at: Desk, project: str, environment: str, create: bool) -> None:
    """Check that an environment is there, or make it where that was asked for.

    Raises:
        UnknownEnvironment: it is not, and a typing mistake must not make a new one.
    """
    try:
        vault.get_environment(at.db, project, environment)
    except UnknownEnvironment as error:
        if not create:
            error.advise(f"{error.hint}; to make a new one, add --create-env")
            raise
        create_environment(at, project, environment)


def seal(at: Desk, project: str, entries: list[vault.NewSecret]) -> None:
    """Store values, all or none, and say what became of each and under which names a run will find it."""
    for view in vault.store(at.db, project, entries, actor=at.actor, pins=at.pins):
        assert isinstance(view, vault.SecretView)
        until = f", expires {screen.moment(view.expires_at)}" if view.expires_at else ""
        given = ", given to runs as a file" if view.as_file else ""
        screen.say(f"sealed {view.name} version {view.version} in {project}/{view.environment}{until}{given}")
        if note := _name_note(at, project, view.environment, view.name):
            screen.say(f"note: {note}", "yellow")


def _secret_row(secret: vault.SecretView, used: datetime | None) -> tuple[str, ...]:
    return (
        secret.name,
        secret.environment,
        str(secret.version),
        screen.moment(secret.updated_at),
        secret.updated_by,
        screen.moment(used) or "never",
        ", ".join(["not masked"] * (not secret.maskable) + ["as a file"] * secret.as_file),
        told(secret.expires_at),
    )


def _version_row(version: vault.VersionView, used: VersionUse | None) -> tuple[str, ...]:
    return (
        str(version.version),
        screen.moment(version.created_at),
        version.created_by,
        *_used(used),
        "current" if version.current else "",
        "" if version.maskable else "not masked",
        told(version.expires_at),
    )


def _tell_verdict(name: str, value: bytes, allow_short: bool) -> None:
    """What the masker can do for it, before it is sealed."""
    if not value:
        hint = f'nothing came in; is the variable set in: printf %s "$VALUE" | sealrun secret set {name}'
        raise ValueRefused(name=name, why="it is empty", hint=hint)
    judged = verdict(name, value)
    if value.strip() and not judged.maskable and not allow_short:
        hint = "take a longer one, or say --allow-short: it will stand in the run's output as it is"
        raise ValueRefused(name=name, why="it is too short to be masked", hint=hint)
    for note in judged.notes:
        screen.say(f"note: {note}", "yellow")


def _name_note(at: Desk, project: str, environment: str, name: str) -> str | None:
    alias = alias_for(name)
    if alias and name not in aliases(vault.secrets_like(at.db, project, environment, name)):
        return f'"{name}" is no name of a shell variable, and gets no alias: another name would have {alias} too'
    return shell_note(name)
