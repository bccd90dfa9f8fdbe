"""Finding the project and environment an act is about, and holding them still while it happens.

Locks matter on PostgreSQL only, as SQLite has one writer at a time. The order is always project,
environment, audit chain, so that two writers never wait for each other. Who writes into an environment
shares it with runs that are being given secrets; who replaces its key pair or deletes it has it alone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from secretstore.errors import AlreadyExists, UnknownEnvironment, UnknownProject
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, Project

Birth = Callable[[KeyPlace, int], WrappedKeyPair]
"""Makes a key pair for a place and a generation, in a process that wraps it and exits."""

RefuseIf = Callable[[Session, str, str | None], None]
"""Raises what keeps a project, or one environment of it, from being deleted; called with the ids, under the locks."""


def find_project(session: Session, name: str) -> Project:
    """Return the project of this name.

    Raises:
        UnknownProject: there is none; the hint suggests a close name.
    """
    return _project(session, name, session.exec(select(Project).where(Project.name == name)).first())


def hold_project(session: Session, name: str) -> Project:
    """Return the project, which cannot be deleted until the transaction ends."""
    held = select(Project).where(Project.name == name).with_for_update(read=True, key_share=True)
    return _project(session, name, session.exec(held).first())


def take_project(session: Session, name: str) -> Project:
    """Return the project, alone: nobody else writes into it until the transaction ends."""
    taken = select(Project).where(Project.name == name).with_for_update()
    return _project(session, name, session.exec(taken).first())


def find_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the project's environment of this name.

    Raises:
        UnknownEnvironment: there is none; the hint suggests a close name, or says which there are.
    """
    query = select(Environment).where(Environment.project_id == project.id, Environment.name == name)
    return _environment(session, project, name, session.exec(query).first())


def hold_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the environment, into which nobody else writes, and which keeps its key pair, until the end."""
    query = select(Environment).where(Environment.project_id == project.id, Environment.name == name)
    return _environment(session, project, name, session.exec(query.with_for_update(key_share=True)).first())


def take_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the environment, alone: no run is given its secrets until the transaction ends."""
    query = select(Environment).where(Environment.project_id == project.id, Environment.name == name)
    return _environment(session, project, name, session.exec(query.with_for_update()).first())


def take_environments(session: Session, project: Project) -> None:
    """Take all of a project's environments, alone."""
    mine = select(Environment.id).where(Environment.project_id == project.id).order_by(col(Environment.id))
    session.exec(mine.with_for_update()).all()


@contextmanager
def taken_names(what: str, name: str) -> Iterator[None]:
    """Turn the database's refusal of a second row of the same name into ours: two may create it at once."""
    try:
        yield
    except IntegrityError:
        raise AlreadyExists(what=what, name=name) from None


COMPARED = 1000
"""Names that a mistyped one is compared with: some 50 ms."""


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Return a hint when one of the names is close to the one given."""
    close = get_close_matches(name, islice(names, COMPARED), n=1)
    return f'did you mean "{close[0]}"?' if close else None


def _project(session: Session, name: str, found: Project | None) -> Project:
    if found is None:
        raise UnknownProject(project=name, hint=did_you_mean(name, session.exec(select(Project.name))))
    return found


def _environment(session: Session, project: Project, name: str, found: Environment | None) -> Environment:
    if found is None:
        of_project = select(Environment.name).where(Environment.project_id == project.id)
        names = list(session.exec(of_project.order_by(col(Environment.name))))
        hint = did_you_mean(name, names) or f"the project has {', '.join(names) or 'no environment'}"
        raise UnknownEnvironment(environment=name, project=project.name, hint=hint)
    return found
