"""Projects: created with an environment of their own, changed, listed. How they end is `deletion`."""

from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists
from secretstore.key_service import KeyPlace
from secretstore.models import KeyPair, Project, new_id
from secretstore.naming import check_project_name
from secretstore.vault.environments import DEFAULT_ENVIRONMENT, add_environment
from secretstore.vault.lookup import Birth, find_project, held_name, living, take_project, taken_names, was_deleted
from secretstore.views import ProjectView, view_of


def create_project(db: Database, name: str, *, actor: Actor, birth: Birth) -> ProjectView:
    """Create a project and its environment `default`.

    Raises:
        NameRefused: the name breaks the rule for projects.
        AlreadyExists: the name is taken.
        ProjectDeleted: it is taken by a project that is deleted, and not destroyed yet.
    """
    check_project_name(name)
    with db.reading() as session:
        _refuse_taken(session, name)
    # The key pair is made outside the transaction: that takes a process, and others would wait for the lock.
    project_id, environment_id = new_id(), new_id()
    pair = birth(KeyPlace(name, project_id, DEFAULT_ENVIRONMENT, environment_id), 1)
    with taken_names("project", name), db.writing() as session:
        _refuse_taken(session, name)
        project = Project(
            id=project_id,
            name=name,
            network="full",
            sandbox_min="process",
            max_running=None,
            created_by=actor.name,
        )
        session.add(project)
        append(session, project, actor, Act("project.create", name))
        add_environment(session, project, environment_id, DEFAULT_ENVIRONMENT, pair, actor)
        return view_of(ProjectView, project)


def set_project(
    db: Database,
    name: str,
    *,
    network: str | None = None,
    sandbox_min: str | None = None,
    max_running: int | None = None,
    output_limit: int | None = None,
    memory_bytes: int | None = None,
    cpus: float | None = None,
    pids: int | None = None,
    disk_bytes: int | None = None,
    protected: bool | None = None,
    actor: Actor,
) -> ProjectView:
    """Change the settings that are given; the executor knows which values they may have.

    `max_running` 0 removes the limit, 0 of any other number brings back the usual one. Of a `protected` project neither
    the whole nor an environment can be deleted.

    Raises:
        UnknownProject: it does not exist.
    """
    asked = {
        "network": network,
        "sandbox_min": sandbox_min,
        "max_running": max_running,
        "output_limit": output_limit,
        "memory_bytes": memory_bytes,
        "cpus": cpus,
        "pids": pids,
        "disk_bytes": disk_bytes,
        "protected": protected,
    }
    changes = {setting: value for setting, value in asked.items() if value is not None}
    with db.writing() as session:
        project = take_project(session, name)
        for setting, value in changes.items():
            setattr(project, setting, value if isinstance(value, bool) else value or None)
        append(session, project, actor, Act("project.set", name, changes))
        return view_of(ProjectView, project)


def get_project(db: Database, name: str) -> ProjectView:
    """Return a project.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        return view_of(ProjectView, find_project(session, name))


def list_projects(db: Database, *, deleted: bool = False) -> list[ProjectView]:
    """Return all projects by name; or those that are deleted, the latest first, also those that were destroyed."""
    query = select(Project).where(living()).order_by(col(Project.name))
    if deleted:
        query = select(Project).where(~living()).order_by(col(Project.deleted_at).desc())
    with db.reading() as session:
        return [view_of(ProjectView, project) for project in session.exec(query)]


def keys_kept(db: Database) -> bool:
    """Tell whether there is any wrapped key, be it of a deleted project."""
    with db.reading() as session:
        kept = select(KeyPair.generation).where(col(KeyPair.wrapped_private_key).is_not(None))
        return session.exec(kept.limit(1)).first() is not None


def _refuse_taken(session: Session, name: str) -> None:
    if (project := session.exec(held_name(name)).first()) is not None:
        raise AlreadyExists(what="project", name=name) if project.deleted_at is None else was_deleted(project)
