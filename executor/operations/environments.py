"""Environments of a project: made with a key pair of their own, and deleted with all that is sealed to it."""

from executor.jobs import claims
from executor.keys.creation import with_new_key
from executor.operations.deployment import Deployment
from executor.records.live import refuse_live
from executor.schemas.places import InEnvironment, InEnvironments
from executor.schemas.projects import CreatedEnvironment, DeletedEnvironment
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import AlreadyExists, DatabaseForbids


def create(at: Deployment, who: Actor, asked: InEnvironment) -> CreatedEnvironment:
    """Make an environment with a new key pair, unless it is there.

    Raises:
        NameRefused: the name breaks the rule for environments.
        UnknownProject: there is no such project.
        KeyOperationFailed: the key service makes no key pair.
    """
    project, name = asked.project, asked.environment
    try:
        made = with_new_key(
            at.settings,
            at.pins,
            project,
            name,
            lambda birth: vault.create_environment(at.db, project, name, actor=who, birth=birth),
        )
    except AlreadyExists:
        return CreatedEnvironment(environment=vault.get_environment(at.db, project, name), created=False)
    return CreatedEnvironment(environment=made, created=True)


def ensure(at: Deployment, who: Actor, asked: InEnvironments) -> tuple[str, ...]:
    """Make those environments that are not there; the names of those that were made.

    Raises:
        NameRefused, UnknownProject, KeyOperationFailed: as `create`.
    """
    places = [InEnvironment(project=asked.project, environment=name) for name in asked.environments]
    return tuple(place.environment for place in places if create(at, who, place).created)


def require(at: Deployment, who: Actor, asked: InEnvironments) -> None:
    """Check that environments are there, for a door that wants to know before it asks for more.

    Raises:
        UnknownProject, UnknownEnvironment: one is not.
    """
    for name in asked.environments:
        vault.get_environment(at.db, asked.project, name)


def require_deletable(at: Deployment, who: Actor, asked: InEnvironment) -> None:
    """Check that `delete` would not refuse, for a door that asks before it deletes.

    Raises:
        UnknownProject, UnknownEnvironment: there is none of this name.
        InUse: runs of it are not over, or its project is protected.
    """
    vault.require_deletable(at.db, asked.project)
    place = vault.get_environment(at.db, asked.project, asked.environment)
    with at.db.reading() as session:
        refuse_live(asked.project, asked.environment)(session, place.project_id, place.id)


def delete(at: Deployment, who: Actor, asked: InEnvironment) -> DeletedEnvironment:
    """Delete an environment with all that is in it, its keys too: what is sealed there opens nowhere again.

    Where the database does not let this process destroy keys, it is a job for a worker, and until then all is there.

    Raises:
        UnknownProject, UnknownEnvironment: there is none of this name.
        InUse: runs of it are not over, or its project is protected.
    """
    project, name = asked.project, asked.environment
    gone = DeletedEnvironment(deleted="environment", project=project, environment=name, name=name)
    try:
        vault.delete_environment(at.db, project, name, actor=who, refuse_if=refuse_live(project, name))
    except DatabaseForbids:  # an API server's
        environment = vault.get_environment(at.db, project, name)
        job = claims.submit(at.db, "delete", environment, {}, actor=who, key=at.signing_key)
        return gone.model_copy(update={"job": job})
    at.pins.forget(project, name)
    return gone
