"""From names to ids, for somebody who may see some projects and not others."""

from sqlmodel import col, select

from executor.people.principal import INSTALLATION, Place, Principal
from secretstore.database import Database
from secretstore.errors import UnknownEnvironment, UnknownProject
from secretstore.models import Environment, Project

_SEEN = "see those in which you have a role: sealrun project list; or ask an admin for one"


def find_place(db: Database, principal: Principal, project: str | None, environment: str | None = None) -> Place:
    """Return the place of these names; without a project the installation, without an environment the whole project.

    Whoever sees nothing of a project is answered as if there were none, in the same words and after the same queries;
    so no close name is suggested either. A deleted project is found: what is done there says that it is deleted.

    Raises:
        UnknownProject, UnknownEnvironment: there is none of this name, or nothing to see there.
    """
    if project is None:
        return INSTALLATION
    with db.reading() as session:
        named = (Project.name == project, col(Project.destroyed_at).is_(None))
        project_id = session.exec(select(Project.id).where(*named)).first()
        found = None
        if environment is not None:
            of = (Environment.project_id == project_id, Environment.name == environment)
            found = session.exec(select(Environment.id).where(*of)).first()
    if project_id is None or not principal.may_somewhere("see", project_id):
        raise UnknownProject(project=project, hint=_SEEN)
    if environment is None:
        return Place(project_id, project)
    if found is None or not principal.may("see", project_id, found):
        raise UnknownEnvironment(project=project, environment=environment, hint=_SEEN)
    return Place(project_id, project, found, environment)
