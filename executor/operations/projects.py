"""Projects: made with an environment and its key pair, changed, listed, deleted with all that is in them."""

from executor.errors import RequestUnclear
from executor.keys.creation import with_new_key
from executor.operations import environments
from executor.operations.deployment import Deployment
from executor.records.live import refuse_live
from executor.schemas.places import Deleted, InEnvironment
from executor.schemas.projects import (
    ChangedProject,
    CreatedEnvironment,
    CreatedProject,
    ListedProject,
    NewProject,
    ProjectChange,
    ProjectNamed,
)
from executor.settings import QUEUE
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import AlreadyExists, KeyFileMissing
from secretstore.local_keys import create_local_key
from secretstore.naming import check_environment_name, check_project_name
from secretstore.vault.environments import DEFAULT_ENVIRONMENT


def create(at: Deployment, who: Actor, asked: NewProject) -> CreatedProject:
    """Make what is not there yet of a project and its environments, and the embedded key file before the first one.

    Raises:
        NameRefused: a name breaks its rule; nothing is made.
        KeyFileMissing: there are projects, and the key file that wrapped their keys is gone.
        KeyOperationFailed: the key service makes no key pair.
    """
    name = asked.name
    check_project_name(name)
    for environment in asked.environments:
        check_environment_name(environment)
    key_file = _make_key_file(at)
    try:
        project = with_new_key(
            at.settings,
            at.pins,
            name,
            DEFAULT_ENVIRONMENT,
            lambda birth: vault.create_project(at.db, name, actor=who, birth=birth),
        )
        created = True
    except AlreadyExists:
        project, created = vault.get_project(at.db, name), False
    made = [
        environments.create(at, who, InEnvironment(project=name, environment=environment))
        for environment in asked.environments
    ]
    if created:
        default = vault.get_environment(at.db, name, DEFAULT_ENVIRONMENT)
        made.insert(0, CreatedEnvironment(environment=default, created=True))
    return CreatedProject(project=project, created=created, environments=tuple(made), key_file=key_file)


def set_(at: Deployment, who: Actor, asked: ProjectChange) -> ChangedProject:
    """Change what a project's runs ask for. Runs that were submitted before keep what they asked for.

    Raises:
        RequestUnclear: nothing to set is named, or a queue without its environment, or one that no worker here takes.
        NameRefused: the queue's name breaks its rule.
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    if (asked.environment is None) != (asked.queue is None):
        raise RequestUnclear("a queue is an environment's: name both")
    if at.settings.embedded and asked.queue not in (None, QUEUE):
        raise RequestUnclear(
            "the queue {queue} needs workers of its own, and with nothing configured there is one for all",
            queue=asked.queue,
            hint="set SEALRUN_BROKER_URL and SEALRUN_DATABASE_URL, "
            f"and start one with: sealrun worker -Q {asked.queue}",
        )
    environment = None
    if asked.environment is not None:
        queue = None if asked.queue == QUEUE else asked.queue
        environment = vault.set_environment(at.db, asked.name, asked.environment, queue=queue, actor=who)
    if asked.sandbox_min is None and asked.max_running is None and asked.output_limit is None:
        return ChangedProject(project=vault.get_project(at.db, asked.name), environment=environment)
    project = vault.set_project(
        at.db,
        asked.name,
        sandbox_min=asked.sandbox_min,
        max_running=asked.max_running,
        output_limit=asked.output_limit,
        actor=who,
    )
    return ChangedProject(project=project, environment=environment)


def list_(at: Deployment, who: Actor) -> tuple[ListedProject, ...]:
    """All projects by name, with the names of their environments."""
    return tuple(
        ListedProject(
            **vars(project), environments=tuple(found.name for found in vault.list_environments(at.db, project.name))
        )
        for project in vault.list_projects(at.db)
    )


def require_deletable(at: Deployment, who: Actor, asked: ProjectNamed) -> None:
    """Check that `delete` would not refuse, for a door that asks before it deletes.

    Raises:
        UnknownProject: there is none of this name.
        InUse: runs of it are not over.
    """
    project = vault.get_project(at.db, asked.name)
    with at.db.reading() as session:
        refuse_live(asked.name)(session, project.id, None)


def delete(at: Deployment, who: Actor, asked: ProjectNamed) -> Deleted:
    """Delete a project with all its environments: what is sealed there opens nowhere again. Its record stays.

    Raises:
        UnknownProject: there is none of this name.
        InUse: runs of it are not over.
    """
    vault.delete_project(at.db, asked.name, actor=who, refuse_if=refuse_live(asked.name))
    at.pins.forget(asked.name)
    return Deleted(deleted="project", project=asked.name, name=asked.name)


def _make_key_file(at: Deployment) -> str | None:
    """With the embedded key file, make it before the first project; its path where it was made."""
    path = at.settings.store.home / "keys" / "local.key"
    if str(at.settings.store.key_specs[0]) != f"local:{path}" or path.exists():
        return None
    if vault.list_projects(at.db):
        # Their keys were wrapped under a key file that is gone: a new one would hide that, and open none of them.
        raise KeyFileMissing(path=path)
    create_local_key(path)
    return str(path)
