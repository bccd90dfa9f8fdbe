"""What `sealrun source` and `sealrun catalog` share: create, list and delete."""

from collections.abc import Sequence

from executor.cli.environments import environments_named
from executor.cli.here import confirm, here
from executor.cli.shown import connection as shown
from executor.cli.shown import screen
from executor.cli.typed.connection import Option, settings_typed
from executor.errors import Misuse
from executor.operations import connections
from executor.schemas.connections import ConnectionDeletion, Connections, NewConnection
from secretstore.connections import Role


def create(
    role: Role,
    name: str,
    kind: str | None,
    given: Sequence[Option],
    file: str | None,
    replace: bool,
    project: str | None,
    environment: Sequence[str] | None,
    extra: Sequence[str] | None,
    json: bool,
) -> None:
    """Make a source or catalog in each environment, or in none, and say what it names and is not there yet.

    Raises:
        Misuse, FileInvalid: what was typed does not go together, or the file is none.
        SecretStoreError: the settings are refused.
    """
    if extra:
        raise Misuse(
            "one name is taken and no value: what is more belongs to an option, and a secret is given by its name",
            command=f"{role} create",
        )
    kind, settings = settings_typed(role, name, kind, given, file)
    place = here()
    project = place.project(project)
    asked = NewConnection(
        project=project,
        environments=environments_named(place, project, environment, create=True),
        role=role,
        name=name,
        kind=kind,
        settings=settings,
        replace=replace,
    )
    views = place.ask(connections.create, asked)
    for view in views:
        verb = "created" if view.created_at == view.updated_at else "replaced"
        screen.say(f"{verb} {view.label} in {project}/{view.environment}: {view.kind}, {view.where}")
        for lack in view.missing:
            screen.say(f"note: {shown.lacking(view, lack, project)}", "yellow")
    if json:
        screen.show_json(views if len(views) > 1 else views[0])


def list_(role: Role, project: str | None, environment: str | None, json: bool) -> None:
    """List sources or catalogs."""
    place = here()
    asked = Connections(project=place.project(project), environment=environment, role=role)
    found = place.ask(connections.list_, asked)
    if json:
        screen.show_json(found)
        return
    screen.table(
        (role, "environment", "kind", "where", "secrets", "test", "tested", ""),
        map(shown.row, found),
        ("bold", "", "", "", "", "", "", "yellow"),
    )


def delete(
    role: Role, name: str, project: str | None, environment: str | None, force: bool, yes: bool, json: bool
) -> None:
    """Delete a source or catalog, after asking.

    Raises:
        UnknownConnection, InUse: there is none, or a catalog names it.
        NeedsYes: nobody can be asked.
    """
    place = here()
    project, environment = place.project(project), place.environment(environment)
    asked = ConnectionDeletion(project=project, environment=environment, role=role, name=name, force=force)
    place.ask(connections.require_deletable, asked)  # what refuses is said before anything is asked
    confirm(f"delete {role} {name} of {project}/{environment}; the secrets it names stay", yes)
    deleted = place.ask(connections.delete, asked)
    screen.say(f"deleted {role} {name} of {project}/{environment}")
    for note in deleted.notes:
        screen.say(f"note: {note}", "yellow")
    if json:
        screen.show_json(deleted)
