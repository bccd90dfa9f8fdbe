"""Projects: created with an environment of their own, changed, listed, deleted with everything in them."""

from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists
from secretstore.key_service import KeyPlace
from secretstore.models import Project, new_id
from secretstore.naming import check_project_name
from secretstore.vault.environments import DEFAULT_ENVIRONMENT, add_environment
from secretstore.vault.lookup import Birth, RefuseIf, find_project, take_environments, take_project, taken_names
from secretstore.views import ProjectView, view_of


def create_project(db: Database, name: str, *, actor: Actor, birth: Birth) -> ProjectView:
    """Create a project and its environment `default`.

    Raises:
        NameRefused: the name breaks the rule for projects.
        AlreadyExists: the name is taken.
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
    actor: Actor,
) -> ProjectView:
    """Change the settings that are given; the executor knows which values they may have.

    `max_running` 0 removes the limit, `output_limit` 0 brings back the usual one; it is in bytes.

    Raises:
        UnknownProject: it does not exist.
    """
    asked = {
        "network": network,
        "sandbox_min": sandbox_min,
        "max_running": max_running,
        "output_limit": output_limit,
    }
    changes = {setting: value for setting, value in asked.items() if value is not None}
    with db.writing() as session:
        project = take_project(session, name)
        for setting, value in changes.items():
            setattr(project, setting, value or None)
        append(session, project, actor, Act("project.set", name, changes))
        return view_of(ProjectView, project)


def get_project(db: Database, name: str) -> ProjectView:
    """Return a project.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        return view_of(ProjectView, find_project(session, name))


def list_projects(db: Database) -> list[ProjectView]:
    """Return all projects by name."""
    with db.reading() as session:
        return [view_of(ProjectView, project) for project in session.exec(select(Project).order_by(col(Project.name)))]


def delete_project(db: Database, name: str, *, actor: Actor, refuse_if: RefuseIf | None = None) -> None:
    """Delete a project with its environments, secrets, variables and wrapped keys; its audit events stay.

    Args:
        refuse_if: called with the session, the project's id and None while no run can be given anything of it; it
            raises the reason to keep the project.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.writing() as session:
        project = take_project(session, name)
        if refuse_if is not None:
            take_environments(session, project)
            refuse_if(session, project.id, None)
        session.delete(project)
        append(session, project, actor, Act("project.delete", name))
    db.wipe()


def _refuse_taken(session: Session, name: str) -> None:
    if session.exec(select(Project.id).where(Project.name == name)).first():
        raise AlreadyExists(what="project", name=name)
