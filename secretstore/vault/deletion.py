"""The end of a project: deleted, which can be undone for some days, then destroyed, which nobody can undo.

From its deletion on nothing of a project is listed, opened or stored. With its destruction its wrapped keys are gone,
so that no copy of a sealed value opens any more, and the values, variables and connections with them. Its row and its
audit events stay.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists, DatabaseForbids, InUse, RowUnreadable, UnknownProject
from secretstore.models import Environment, KeyPair, Project, Secret
from secretstore.vault.lookup import (
    RefuseIf,
    did_you_mean,
    find_project,
    held_name,
    living,
    refuse_protected,
    take_environments,
    take_project,
    was_destroyed,
)
from secretstore.views import ProjectView, view_of

GRACE = timedelta(days=7)
"""For how long a deleted project can be brought back."""

_THERE = "what there is: sealrun project list"

Ending = Callable[[Session, str], Mapping[str, object]]
"""Ends what goes on in a project, in the transaction that deletes it; returns what the audit event says of that."""


def delete_project(
    db: Database, name: str, *, actor: Actor, ending: Ending = lambda session, project_id: {}, at_once: bool = False
) -> ProjectView:
    """Delete a project: nothing of it is listed, opened or stored, and `GRACE` later it may be destroyed.

    `at_once`: it may be from now on, be it deleted already or not.

    Raises:
        InUse: it is protected.
        UnknownProject: it does not exist.
        ProjectDeleted: it is deleted already.
    """
    with db.writing() as session:
        held = session.exec(held_name(name).with_for_update()).first() if at_once else None
        project = held or take_project(session, name, _THERE)
        refuse_protected(project)
        now = session.exec(select(db.now())).one()
        ended = ending(session, project.id)
        if project.deleted_at is None:
            project.deleted_at, project.deleted_by = now, actor.name
        project.destroy_at = now if at_once else now + GRACE
        detail = {"destroy_at": project.destroy_at.isoformat(timespec="seconds"), **ended}
        append(session, project, actor, Act("project.delete", name, detail))
        return view_of(ProjectView, project)


def restore_project(db: Database, name: str, *, actor: Actor) -> ProjectView:
    """Bring back a deleted project with everything in it, as it was.

    Raises:
        AlreadyExists: it is not deleted.
        ProjectDeleted: it was destroyed.
        UnknownProject: there was none of this name.
    """
    with db.writing() as session:
        project = session.exec(held_name(name).with_for_update()).first()
        if project is None:
            _refuse_destroyed(session, name)
            there = select(Project.name).where(~living(), col(Project.destroyed_at).is_(None))
            close = did_you_mean(name, session.exec(there))
            raise UnknownProject(project=name, hint=close or "what is deleted: sealrun project list --deleted")
        if project.deleted_at is None:
            raise AlreadyExists(
                "project {name} is not deleted", name=name, hint="what is deleted: sealrun project list --deleted"
            )
        project.deleted_at = project.deleted_by = project.destroy_at = None
        append(session, project, actor, Act("project.restore", name))
        return view_of(ProjectView, project)


def destroy_project(db: Database, name: str, *, actor: Actor, refuse_if: RefuseIf | None = None) -> ProjectView:
    """Destroy a project at once, be it deleted already or not. Its name can be taken by another one from then on.

    Args:
        refuse_if: called with the session, the project's id and None while no run can be given anything of it; it
            raises the reason to keep the project.

    Raises:
        InUse: it is protected.
        UnknownProject: it does not exist.
    """
    with db.writing() as session:
        project = session.exec(held_name(name).with_for_update()).first() or take_project(session, name, _THERE)
        refuse_protected(project)
        found = _destroy(session, db, project, actor, refuse_if)
    db.wipe()
    return found


def destroy_due(
    db: Database,
    *,
    actor: Actor,
    refuse_if: Callable[[str], RefuseIf] | None = None,
    skipped: Callable[[str, Exception], None] = lambda project, problem: None,
) -> list[ProjectView]:
    """Destroy the deleted projects whose days are over; safe by several at once.

    Args:
        refuse_if: makes what `destroy_project` takes, from the project's name.
        skipped: called with the name of one that cannot be destroyed now, and why; the others are.
    """
    due = (~living(), col(Project.destroy_at) <= db.now(), col(Project.destroyed_at).is_(None))
    with db.reading() as session:
        ids = session.exec(select(Project.id, Project.name).where(*due)).all()
    destroyed = []
    for project_id, name in ids:
        refuse = refuse_if(name) if refuse_if is not None else None
        try:
            with db.writing() as session:
                # Asked again: it may have been brought back, or another process was quicker.
                this = select(Project).where(Project.id == project_id, *due).with_for_update()
                if (project := session.exec(this).first()) is not None:
                    destroyed.append(_destroy(session, db, project, actor, refuse))
        except (DatabaseForbids, InUse, RowUnreadable, DBAPIError) as problem:
            skipped(name, problem)
    if destroyed:
        db.wipe()
    return destroyed


def require_deletable(db: Database, name: str, *, deleted_too: bool = False) -> ProjectView:
    """Return the project that could be deleted, or destroyed if it is deleted already.

    Raises:
        InUse: it is protected.
        UnknownProject: it does not exist.
        ProjectDeleted: it is deleted, and that is not `deleted_too`.
    """
    with db.reading() as session:
        deleted = session.exec(held_name(name)).first() if deleted_too else None
        project = deleted or find_project(session, name, _THERE)
        refuse_protected(project)
        return view_of(ProjectView, project)


def _destroy(session: Session, db: Database, project: Project, actor: Actor, refuse_if: RefuseIf | None) -> ProjectView:
    take_environments(session, project)
    if refuse_if is not None:
        refuse_if(session, project.id, None)
    of_project = col(Environment.project_id) == project.id
    counted = {
        "environments": select(func.count()).select_from(Environment).where(of_project),
        "key_pairs": select(func.count()).where(
            of_project,
            KeyPair.environment_id == Environment.id,
            col(KeyPair.wrapped_private_key).is_not(None),
        ),
        "secrets": select(func.count()).select_from(Secret).where(Secret.project_id == project.id),
    }
    gone = {what: session.exec(query).one() for what, query in counted.items()}
    now = session.exec(select(db.now())).one()
    acts = [Act("project.destroy", project.name, gone)]
    if project.deleted_at is None:
        acts.insert(0, Act("project.delete", project.name))
        project.deleted_at, project.deleted_by = now, actor.name
    project.destroy_at = project.destroy_at or now
    project.destroyed_at = now
    # With an environment go its key pairs, secrets, versions, variables and connections.
    session.execute(delete(Environment).where(of_project).execution_options(synchronize_session=False))
    append(session, project, actor, *acts)
    return view_of(ProjectView, project)


def _refuse_destroyed(session: Session, name: str) -> None:
    gone = select(Project).where(Project.name == name).order_by(col(Project.destroyed_at).desc())
    if (project := session.exec(gone.limit(1)).first()) is not None:
        raise was_destroyed(project)
