"""Projects: made with an environment of their own, changed, listed, deleted with all that is in them."""

from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists
from secretstore.key_service import KeyPlace
from secretstore.models import Project, new_id
from secretstore.naming import check_project_name
from secretstore.vault.environments import DEFAULT_ENVIRONMENT, add_environment
from secretstore.vault.places import Birth, RefuseIf, find_project, take_environments, take_project, taken_names
from secretstore.views import ProjectView


def create_project(db: Database, name: str, *, actor: Actor, birth: Birth) -> ProjectView:
    """Make a project and its environment `default`.

    Raises:
        NameRefused: the name breaks the rule for projects.
        AlreadyExists: there is a project of this name.
    """
    check_project_name(name)
    with db.reading() as session:
        _refuse_taken(session, name)
    # The key pair is born outside the transaction: that takes a process, and others would wait for the lock.
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
        session.flush()
        append(session, project_id, name, actor=actor, action="project.create", subject=name)
        add_environment(session, project, environment_id, DEFAULT_ENVIRONMENT, pair, actor)
        return _view(project)


def set_project(
    db: Database,
    name: str,
    *,
    network: str | None = None,
    sandbox_min: str | None = None,
    max_running: int | None = None,
    actor: Actor,
) -> ProjectView:
    """Change what is given of a project's settings; the executor knows which values they may have.

    `max_running` 0 takes the limit away.

    Raises:
        UnknownProject: it does not exist.
    """
    asked = {"network": network, "sandbox_min": sandbox_min, "max_running": max_running}
    changes = {setting: value for setting, value in asked.items() if value is not None}
    with db.writing() as session:
        project = take_project(session, name)
        for setting, value in changes.items():
            setattr(project, setting, value or None)
        append(session, project.id, name, actor=actor, action="project.set", subject=name, detail=changes)
        return _view(project)


def get_project(db: Database, name: str) -> ProjectView:
    """Return a project.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        return _view(find_project(session, name))


def list_projects(db: Database) -> list[ProjectView]:
    """Return all projects by name."""
    with db.reading() as session:
        return [_view(project) for project in session.exec(select(Project).order_by(col(Project.name)))]


def delete_project(db: Database, name: str, *, actor: Actor, refuse_if: RefuseIf | None = None) -> None:
    """Delete a project with its environments, secrets, variables and wrapped keys: what is sealed opens nowhere again.

    Its audit events stay.

    Args:
        refuse_if: called with the session, the project's id and None while no run can be given anything of it; what
            it raises keeps the project.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.writing() as session:
        project = take_project(session, name)
        if refuse_if is not None:
            take_environments(session, project)
            refuse_if(session, project.id, None)
        session.delete(project)
        append(session, project.id, name, actor=actor, action="project.delete", subject=name)
    db.wipe()


def _refuse_taken(session: Session, name: str) -> None:
    if session.exec(select(Project.id).where(Project.name == name)).first():
        raise AlreadyExists(what="project", name=name)


def _view(project: Project) -> ProjectView:
    return ProjectView(
        id=project.id,
        name=project.name,
        network=project.network,
        sandbox_min=project.sandbox_min,
        max_running=project.max_running,
        created_at=project.created_at,
        created_by=project.created_by,
    )
