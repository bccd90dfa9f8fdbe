"""Projects: made with an environment and its key pair, changed, listed, deleted, brought back, destroyed."""

from typing import Any

from sqlmodel import Session

from executor import runs
from executor.broker import notices
from executor.errors import RequestUnclear
from executor.keys.creation import with_new_key
from executor.operations import environments
from executor.operations.deployment import Deployment
from executor.people.sight import Sight
from executor.records.live import refuse_live
from executor.runs import retention
from executor.schemas.amounts import AMOUNTS
from executor.schemas.places import InEnvironment
from executor.schemas.projects import (
    ChangedProject,
    CreatedEnvironment,
    CreatedProject,
    DeletedProject,
    ListedProject,
    NewProject,
    ProjectChange,
    ProjectDeletion,
    ProjectNamed,
)
from executor.settings import QUEUE
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import AlreadyExists, DatabaseForbids, KeyFileMissing
from secretstore.key_files import create_local_key
from secretstore.naming import check_environment_name, check_project_name
from secretstore.vault.environments import DEFAULT_ENVIRONMENT
from secretstore.views import ProjectView


def create(at: Deployment, who: Actor, asked: NewProject) -> CreatedProject:
    """Make what is not there yet of a project and its environments, and the embedded key file before the first one.

    Raises:
        NameRefused: a name breaks its rule; nothing is made.
        ProjectDeleted: the name is a deleted project's, which can be brought back.
        KeyFileMissing: there are projects, and the key file that wrapped their keys is gone.
        KeyOperationFailed: the key service makes no key pair.
    """
    name = asked.name
    check_project_name(name)
    for environment in asked.environments:
        check_environment_name(environment)
    key_file = make_key_file(at, who)
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
        RequestUnclear: a queue without its environment, or one that no worker here takes, or a limit that is none.
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
    amounts: dict[str, Any] = {
        one.column: one.read(given) if given else 0
        for one in AMOUNTS
        if (given := getattr(asked, one.name)) is not None
    }
    own = (asked.sandbox_min, asked.network, asked.max_running, asked.output_limit, asked.protected)
    if not amounts and all(one is None for one in own):
        return ChangedProject(project=vault.get_project(at.db, asked.name), environment=environment)
    project = vault.set_project(
        at.db,
        asked.name,
        sandbox_min=asked.sandbox_min,
        network=asked.network,
        max_running=asked.max_running,
        output_limit=asked.output_limit,
        protected=asked.protected,
        actor=who,
        **amounts,
    )
    return ChangedProject(project=project, environment=environment)


def list_(at: Deployment, who: Actor) -> tuple[ListedProject, ...]:
    """The projects that who asks may see something of, by name, each with the names of the environments they see."""
    sight = Sight.of(who, "see")
    return tuple(
        ListedProject(
            **vars(project),
            environments=tuple(
                found.name for found in vault.list_environments(at.db, project.name) if sight.has(project.id, found.id)
            ),
        )
        for project in vault.list_projects(at.db)
        if sight.reaches(project.id)
    )


def list_deleted(at: Deployment, who: Actor) -> tuple[ProjectView, ...]:
    """Projects that are deleted, the latest first, with when they are destroyed, or were."""
    return tuple(vault.list_projects(at.db, deleted=True))


def require_deletable(at: Deployment, who: Actor, asked: ProjectDeletion) -> None:
    """Check that `delete` would not refuse, for a door that asks before it deletes.

    Raises:
        UnknownProject: there is none of this name.
        ProjectDeleted: it is deleted already.
        InUse: it is protected; or it is to be destroyed now, and runs of it are not over.
    """
    project = vault.require_deletable(at.db, asked.name, deleted_too=asked.now)
    if asked.now:
        with at.db.reading() as session:
            refuse_live(asked.name, deleted=project.deleted_at is not None)(session, project.id, None)


def delete(at: Deployment, who: Actor, asked: ProjectDeletion) -> DeletedProject:
    """Delete a project: its runs are cancelled, and nothing of it is listed, opened or submitted from then on.

    It can be brought back until it is destroyed: after some days, or `now`. What is sealed there opens nowhere then;
    its receipts and its record stay. Where the database does not let this process destroy keys, a worker does it.

    Raises:
        UnknownProject, ProjectDeleted, InUse: as `require_deletable`.
    """
    if asked.now:
        return _destroyed_now(at, who, asked.name)
    return _deleted(at, who, asked.name)


def _deleted(at: Deployment, who: Actor, name: str, *, at_once: bool = False) -> DeletedProject:
    to_end: list[str] = []

    def ending(session: Session, project_id: str) -> dict[str, object]:
        said = f"its project was deleted by {who.name}"
        cancelled, held = runs.cancel_all(session, at.db, project_id, who.name, said)
        to_end.extend(held)
        return {"runs_cancelled": cancelled, "runs_asked_to_end": len(held)}

    project = vault.delete_project(at.db, name, actor=who, ending=ending, at_once=at_once)
    for run_id in to_end:
        notices.tell(at.db, at.settings, run_id)
    return DeletedProject(deleted="project", project=name, name=name, destroy_at=project.destroy_at)


def restore(at: Deployment, who: Actor, asked: ProjectNamed) -> ProjectView:
    """Bring back a deleted project with everything in it. Runs that were cancelled with it stay so.

    Raises:
        UnknownProject: there was none of this name.
        AlreadyExists: it is not deleted.
        ProjectDeleted: it was destroyed.
    """
    return vault.restore_project(at.db, asked.name, actor=who)


def destroy_due(at: Deployment, who: Actor) -> tuple[ProjectView, ...]:
    """Destroy the deleted projects whose days are over. Workers do so, too: whoever comes first."""
    destroyed = vault.destroy_due(at.db, actor=who, refuse_if=refuse_live)
    for project in destroyed:
        at.pins.forget(project.name)
    return tuple(destroyed)


def _destroyed_now(at: Deployment, who: Actor, name: str) -> DeletedProject:
    deleted = vault.require_deletable(at.db, name, deleted_too=True).deleted_at is not None
    try:
        vault.destroy_project(at.db, name, actor=who, refuse_if=refuse_live(name, deleted=deleted))
    except DatabaseForbids:  # an API server's: workers destroy what is due
        return _deleted(at, who, name, at_once=True)
    at.pins.forget(name)
    for _ in retention.prune(at.db, retention.of_destroyed(at.db, by=who)):
        pass
    at.db.give_back()
    return DeletedProject(deleted="project", project=name, name=name, destroy_at=None)


def make_key_file(at: Deployment, who: Actor) -> str | None:
    """With the embedded key file, make it before the first project; its path where it was made.

    Raises:
        KeyFileMissing: there are projects, and the key file that wrapped their keys is gone.
    """
    path = at.settings.store.home / "keys" / "local.key"
    if str(at.settings.store.key_specs[0]) != f"local:{path}" or path.exists():
        return None
    if vault.keys_kept(at.db):
        # Their keys were wrapped under a key file that is gone: a new one would hide that, and open none of them.
        raise KeyFileMissing(path=path)
    create_local_key(path)
    return str(path)
