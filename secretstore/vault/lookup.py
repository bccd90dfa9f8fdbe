"""Look up projects and environments, and lock them for the length of a transaction.

Locks matter on PostgreSQL only: SQLite has one writer at a time. The order is always project, environment, audit
chain, so that two writers never deadlock. `hold_…` shares a row with runs that are being given secrets; `take_…`, for
deletion and a new key pair, keeps everybody else out.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, bindparam
from sqlalchemy import select as select_columns
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from secretstore.errors import AlreadyExists, InUse, ProjectDeleted, UnknownEnvironment, UnknownProject
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, Project
from secretstore.transaction import Reader

Birth = Callable[[KeyPlace, int], WrappedKeyPair]
"""Makes a key pair for a place and a generation, in a process that wraps it and exits."""

RefuseIf = Callable[[Session, str, str | None], None]
"""Raises the reason not to delete a project, or one environment of it; called with the ids, under the locks."""

COMPARED = 1000
"""Names that a mistyped one is compared with: some 50 ms."""


def find_project(session: Session, name: str, otherwise: str | None = None) -> Project:
    """Return the project of this name.

    Args:
        otherwise: the hint where there is none, nor a close name, instead of how to create it.

    Raises:
        UnknownProject: it does not exist; the hint suggests a close name.
        ProjectDeleted: it is deleted.
    """
    return _project(session, name, _project_query(name), otherwise)


def hold_project(session: Session, name: str) -> Project:
    """Return the project, and keep it from being deleted until the transaction ends."""
    return _project(session, name, _project_query(name).with_for_update(read=True, key_share=True))


def take_project(session: Session, name: str, otherwise: str | None = None) -> Project:
    """Return the project, and keep every other writer out of it until the transaction ends."""
    return _project(session, name, _project_query(name).with_for_update(), otherwise)


def find_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the project's environment of this name.

    Raises:
        UnknownEnvironment: it does not exist; the hint suggests a close name, or lists what exists.
    """
    return _environment(session, project, name, _environment_query(project, name))


def hold_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the environment, and keep out other writers and changes of its key pair until the transaction ends."""
    return _environment(session, project, name, _environment_query(project, name).with_for_update(key_share=True))


def take_environment(session: Session, project: Project, name: str) -> Environment:
    """Return the environment; no run is given its secrets until the transaction ends."""
    return _environment(session, project, name, _environment_query(project, name).with_for_update())


def take_environments(session: Session, project: Project) -> None:
    """Take all of a project's environments."""
    ids = select(Environment.id).where(Environment.project_id == project.id).order_by(col(Environment.id))
    session.exec(ids.with_for_update()).all()


def find_place(session: Session, project: str, environment: str) -> tuple[Project, Environment]:
    """Return project and environment, see `find_project` and `find_environment`."""
    found = find_project(session, project)
    return found, find_environment(session, found, environment)


def hold_place(session: Session, project: str, environment: str) -> tuple[Project, Environment]:
    """Return project and environment, held, see `hold_project` and `hold_environment`."""
    held = hold_project(session, project)
    return held, hold_environment(session, held, environment)


def within(session: Session, project: str, environment: str | None) -> ColumnElement[bool]:
    """Return the condition that a row of `Environment` is this one, or one of the project's.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    found = find_project(session, project)
    if environment is None:
        return col(Environment.project_id) == found.id
    return col(Environment.id) == find_environment(session, found, environment).id


def living() -> ColumnElement[bool]:
    """Return the condition that a row of `Project` is not deleted; of one that is, nothing is listed or opened.

    What has a name is found by `find_project` and its like; this is for what goes over all projects, or by an id.
    """
    return col(Project.deleted_at).is_(None)


def deleted_ids() -> SelectOfScalar[str]:
    """Select the ids of deleted projects, also of those that were destroyed: what belongs to them is not listed."""
    return select(Project.id).where(~living())


def require_living(session: Reader, project_id: str) -> None:
    """Check that a project is not deleted, and keep it so until the transaction ends.

    Raises:
        ProjectDeleted: it is.
    """
    found = session.connection().execute(_HELD, {"id": project_id}).first()
    if found is not None and found.deleted_at is not None:
        raise was_deleted(found)


_HELD = (
    select_columns(*(col(getattr(Project, name)) for name in ("name", "deleted_at", "deleted_by", "destroy_at")))
    .where(col(Project.id) == bindparam("id"))
    .with_for_update(read=True, key_share=True)
)
"""Built once: every submission asks it."""


def deletion_of(session: Session, project_id: str) -> ProjectDeleted | None:
    """Return the error for what belongs to a project, if that is deleted or destroyed."""
    project = session.get(Project, project_id)
    if project is None or project.deleted_at is None:
        return None
    return was_deleted(project) if project.destroyed_at is None else was_destroyed(project)


def held_name(name: str) -> SelectOfScalar[Project]:
    """Select the project whose the name is, deleted or not; one that was destroyed has given it up."""
    return select(Project).where(Project.name == name, col(Project.destroyed_at).is_(None))


def refuse_protected(project: Project) -> None:
    """Refuse to delete a project, or a part of it, that somebody protected.

    Raises:
        InUse: it is.
    """
    if project.protected:
        raise InUse(
            'project "{project}" is protected from deletion',
            project=project.name,
            hint=f"if that is meant: sealrun project set {project.name} --no-protected",
        )


def was_deleted(project: Any) -> ProjectDeleted:
    """Return the error for a deleted project, or what of its row says so."""
    return ProjectDeleted(
        project=project.name,
        deleted=_day(project.deleted_at),
        by=project.deleted_by,
        destroyed=_day(project.destroy_at),
    )


def was_destroyed(project: Project) -> ProjectDeleted:
    """Return the error for a project that nobody brings back."""
    return ProjectDeleted(
        'project "{project}" was destroyed on {destroyed}: what was sealed there opens nowhere any more',
        project=project.name,
        destroyed=_day(project.destroyed_at),
        hint=f"its record is there: sealrun audit list -p {project.name}",
    )


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at is not None else "an unknown day"


@contextmanager
def taken_names(what: str, name: str) -> Iterator[None]:
    """Report a second row of the same name as `AlreadyExists`: two may create it at once."""
    try:
        yield
    except IntegrityError:
        raise AlreadyExists(what=what, name=name) from None


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Return a hint if one of the names is close to the one given."""
    close = get_close_matches(name, islice(names, COMPARED), n=1)
    return f'did you mean "{close[0]}"?' if close else None


def _project_query(name: str) -> SelectOfScalar[Project]:
    return select(Project).where(Project.name == name, living())


def _project(session: Session, name: str, query: SelectOfScalar[Project], otherwise: str | None = None) -> Project:
    if found := session.exec(query).first():
        return found
    if (deleted := session.exec(held_name(name)).first()) is not None:
        raise was_deleted(deleted)
    close = did_you_mean(name, session.exec(select(Project.name).where(living())))
    raise UnknownProject(project=name, hint=close or otherwise)


def _environment_query(project: Project, name: str) -> SelectOfScalar[Environment]:
    return select(Environment).where(Environment.project_id == project.id, Environment.name == name)


def _environment(session: Session, project: Project, name: str, query: SelectOfScalar[Environment]) -> Environment:
    if found := session.exec(query).first():
        return found
    siblings = select(Environment.name).where(Environment.project_id == project.id).order_by(col(Environment.name))
    names = list(session.exec(siblings))
    hint = did_you_mean(name, names) or f"the project has {', '.join(names) or 'no environment'}"
    raise UnknownEnvironment(environment=name, project=project.name, hint=hint)
