"""Where it is written down what was done to people, members and tokens: with the project it is about, if it is one."""

from sqlmodel import Session

from executor.people.principal import Place
from secretstore.audit import Act, Actor, append, append_to_installation
from secretstore.models import Project


def record(session: Session, place: Place, actor: Actor, *acts: Act) -> None:
    """Add events to the chain of the place's project, or of the installation, in the caller's transaction; last."""
    project = session.get(Project, place.project_id) if place.project_id is not None else None
    if project is None:
        append_to_installation(session, actor, *acts)
    else:
        append(session, project, actor, *acts)
