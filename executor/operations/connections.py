"""Data sources and catalogs: settings that name secrets."""

from collections.abc import Sequence

from executor.operations.deployment import Deployment
from executor.schemas.connections import ConnectionDeletion, ConnectionNamed, Connections, NewConnection
from executor.schemas.places import Deleted
from secretstore import vault
from secretstore.audit import Actor
from secretstore.run_connection import SOURCE
from secretstore.views import ConnectionView


def create(at: Deployment, who: Actor, asked: NewConnection) -> tuple[ConnectionView, ...]:
    """Make a data source or catalog in each of the environments, or in none.

    What it names need not be there yet: a view's `missing` says what is not.

    Raises:
        NameRefused, ConnectionRefused: the name, the kind or the settings break a rule; no value is quoted.
        AlreadyExists: there is one of this name, without `replace`.
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    place = asked.project, asked.environments, asked.role, asked.name
    made = vault.create_connections(at.db, *place, asked.kind, asked.settings, actor=who, replace=asked.replace)
    return tuple(made)


def list_(at: Deployment, who: Actor, asked: Connections) -> Sequence[ConnectionView]:
    """The sources and catalogs of an environment, or of all of a project's: sources first, by name.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.list_connections(at.db, asked.project, asked.environment, asked.role)


def get(at: Deployment, who: Actor, asked: ConnectionNamed) -> ConnectionView:
    """A data source or catalog.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: there is none of this name.
    """
    return vault.get_connection(at.db, asked.project, asked.environment, asked.role, asked.name)


def require_deletable(at: Deployment, who: Actor, asked: ConnectionDeletion) -> None:
    """Check that `delete` would not refuse, for a door that asks before it deletes.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: there is none of this name.
        InUse: a catalog names this source, without `force`.
    """
    place = asked.project, asked.environment
    vault.get_connection(at.db, *place, asked.role, asked.name)
    if asked.role == SOURCE and not asked.force:
        vault.require_unnamed(at.db, *place, "source", asked.name)


def delete(at: Deployment, who: Actor, asked: ConnectionDeletion) -> Deleted:
    """Delete a data source or catalog; the secrets it names stay.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownConnection: there is none of this name.
        InUse: a catalog names this source, without `force`.
    """
    place = asked.project, asked.environment, asked.role, asked.name
    view = vault.get_connection(at.db, *place)
    vault.delete_connection(at.db, *place, actor=who, force=asked.force)
    notes = []
    if "assume_role" in view.settings:
        names = " and ".join(view.secrets)
        notes.append(f"no role is assumed with {names} any more: it is a variable of every run that asks for all")
    return Deleted(
        deleted=asked.role,
        project=asked.project,
        environment=asked.environment,
        name=asked.name,
        notes=tuple(notes),
    )
