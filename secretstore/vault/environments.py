"""Environments of a project: each has a key pair of its own, and none inherits from another."""

from dataclasses import fields

from sqlalchemy import bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists, KeyChanged
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, KeyPair, Project, new_id
from secretstore.naming import check_environment_name, check_queue_name
from secretstore.vault.lookup import (
    Birth,
    RefuseIf,
    find_place,
    find_project,
    hold_place,
    hold_project,
    refuse_protected,
    take_environment,
    take_project,
    taken_names,
)
from secretstore.views import EnvironmentView, ProjectView, view_of

DEFAULT_ENVIRONMENT = "default"


def create_environment(db: Database, project: str, name: str, *, actor: Actor, birth: Birth) -> EnvironmentView:
    """Create an environment with a new key pair.

    Raises:
        NameRefused: the name breaks the rule for environments.
        UnknownProject: it does not exist.
        AlreadyExists: the name is taken.
    """
    check_environment_name(name)
    with db.reading() as session:
        place = find_project(session, project)
        _refuse_taken(session, place, name)
    environment_id = new_id()
    pair = birth(KeyPlace(place.name, place.id, name, environment_id), 1)
    with taken_names("environment", name), db.writing() as session:
        held = hold_project(session, project)
        if held.id != place.id:  # deleted and created again meanwhile: the key pair is bound to the old one
            raise AlreadyExists(what="another project", name=project)
        _refuse_taken(session, held, name)
        return add_environment(session, held, environment_id, name, pair, actor)


def add_environment(
    session: Session, project: Project, environment_id: str, name: str, pair: WrappedKeyPair, actor: Actor
) -> EnvironmentView:
    """Add an environment and its first key pair in the caller's transaction."""
    environment = Environment(
        id=environment_id,
        project_id=project.id,
        name=name,
        generation=pair.generation,
        created_by=actor.name,
    )
    session.add(environment)
    session.flush()  # the key pair's foreign key needs the row
    session.add(key_pair_row(environment_id, pair, actor))
    detail = {"fingerprint": pair.fingerprint, "generation": pair.generation, "key_service": pair.key_service}
    append(session, project, actor, Act("environment.create", name, detail))
    return _view(project, environment, pair.fingerprint)


def key_pair_row(environment_id: str, pair: WrappedKeyPair, actor: Actor, voucher: bytes | None = None) -> KeyPair:
    """Return the row of a key pair that was just made."""
    return KeyPair(
        environment_id=environment_id,
        generation=pair.generation,
        public_key=pair.public_key,
        fingerprint=pair.fingerprint,
        key_service=pair.key_service,
        wrapped_private_key=pair.wrapped,
        voucher=voucher,
        created_by=actor.name,
    )


def get_environment(db: Database, project: str, name: str) -> EnvironmentView:
    """Return an environment.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged: its key pair is missing.
    """
    with db.reading() as session:
        place, environment = find_place(session, project, name)
        return _view(place, environment, _fingerprint(session, place, environment))


def get_place(db: Database, project: str, name: str) -> tuple[ProjectView, EnvironmentView]:
    """Return a project and an environment of it.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged: its key pair is missing.
    """
    with db.looking() as transaction:
        row = transaction.execute(_PLACE, {"project": project, "environment": name}).first()
    if row is None:  # say why
        with db.reading() as session:
            place, environment = find_place(session, project, name)
            return view_of(ProjectView, place), _view(place, environment, _fingerprint(session, place, environment))
    of_project = dict(zip(_OF_PROJECT, row, strict=False))
    of_environment = dict(zip(_OF_ENVIRONMENT, row[len(_OF_PROJECT) :], strict=False))
    return ProjectView(**of_project), EnvironmentView(
        **of_environment, project=of_project["name"], fingerprint=row.fingerprint
    )


_OF_PROJECT = [one.name for one in fields(ProjectView)]
_OF_ENVIRONMENT = [one.name for one in fields(EnvironmentView) if one.name not in ("project", "fingerprint")]
_PLACE = select_columns(
    *(getattr(Project, name).label(f"project_{name}") for name in _OF_PROJECT),
    *(getattr(Environment, name).label(f"environment_{name}") for name in _OF_ENVIRONMENT),
    col(KeyPair.fingerprint).label("fingerprint"),
).where(
    col(Project.name) == bindparam("project"),
    col(Project.deleted_at).is_(None),
    col(Environment.project_id) == col(Project.id),
    col(Environment.name) == bindparam("environment"),
    col(KeyPair.environment_id) == col(Environment.id),
    col(KeyPair.generation) == col(Environment.generation),
)
"""Built once: every submission asks it."""


def list_environments(db: Database, project: str) -> list[EnvironmentView]:
    """Return a project's environments by name.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = (
            select(Environment, KeyPair.fingerprint)
            .where(
                Environment.project_id == place.id,
                KeyPair.environment_id == Environment.id,
                KeyPair.generation == Environment.generation,
            )
            .order_by(col(Environment.name))
        )
        return [_view(place, environment, fingerprint) for environment, fingerprint in session.exec(query)]


def set_environment(db: Database, project: str, name: str, *, queue: str | None, actor: Actor) -> EnvironmentView:
    """Set the queue in which an environment's runs wait: only workers that serve it take them.

    Args:
        queue: 1 to 63 letters, digits, `.`, `-` and `_`; None for the default queue.

    Raises:
        NameRefused: the queue's name breaks its rule.
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged: its key pair is missing.
    """
    if queue is not None:
        check_queue_name(queue)
    with db.writing() as session:
        place, environment = hold_place(session, project, name)
        environment.queue = queue
        fingerprint = _fingerprint(session, place, environment)
        append(session, place, actor, Act("environment.set", name, {"queue": queue}))
        return _view(place, environment, fingerprint)


def delete_environment(
    db: Database, project: str, name: str, *, actor: Actor, refuse_if: RefuseIf | None = None
) -> None:
    """Delete an environment with its secrets, variables and wrapped keys: nothing sealed there can be opened again.

    Args:
        refuse_if: called with the session and the ids of project and environment while no run can be given anything
            of it; it raises the reason to keep the environment.

    Raises:
        InUse: the project is protected.
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.writing() as session:
        place = take_project(session, project)
        refuse_protected(place)
        environment = take_environment(session, place, name)
        if refuse_if is not None:
            refuse_if(session, place.id, environment.id)
        session.delete(environment)
        append(session, place, actor, Act("environment.delete", name))
    db.wipe()


def _fingerprint(session: Session, project: Project, environment: Environment) -> str:
    if pair := session.get(KeyPair, (environment.id, environment.generation)):
        return pair.fingerprint
    why = f"its generation {environment.generation} is missing"
    raise KeyChanged(project=project.name, environment=environment.name, why=why)


def _refuse_taken(session: Session, project: Project, name: str) -> None:
    query = select(Environment.id).where(Environment.project_id == project.id, Environment.name == name)
    if session.exec(query).first():
        raise AlreadyExists(what="environment", name=name)


def _view(project: Project, environment: Environment, fingerprint: str) -> EnvironmentView:
    return view_of(EnvironmentView, environment, project=project.name, fingerprint=fingerprint)
