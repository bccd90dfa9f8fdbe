"""Environments of a project: each has a key pair of its own, and none inherits from another."""

from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.database import Database
from secretstore.errors import AlreadyExists
from secretstore.keyring import WrappedKeyPair
from secretstore.models import Environment, KeyPair, Project, new_id
from secretstore.naming import check_environment_name
from secretstore.vault.places import (
    Birth,
    find_environment,
    find_project,
    hold_project,
    take_project,
    taken_names,
)
from secretstore.vault.views import EnvironmentView

DEFAULT_ENVIRONMENT = "default"


def create_environment(db: Database, project: str, name: str, *, actor: Actor, birth: Birth) -> EnvironmentView:
    """Makes an environment with a new key pair.

    Raises:
        NameRefused: When the name breaks the rule for environments.
        UnknownProject: When there is no such project.
        AlreadyExists: When the project has an environment of this name.
    """
    check_environment_name(name)
    with db.reading() as session:
        place = find_project(session, project)
        _refuse_taken(session, place, name)
    environment_id = new_id()
    pair = birth(place.id, environment_id, 1)
    with taken_names("environment", name), db.writing() as session:
        held = hold_project(session, project)
        if held.id != place.id:  # deleted and made anew meanwhile: the key pair is bound to the old one
            raise AlreadyExists(what="another project", name=project)
        _refuse_taken(session, held, name)
        return add_environment(session, held, environment_id, name, pair, actor)


def add_environment(
    session: Session, project: Project, environment_id: str, name: str, pair: WrappedKeyPair, actor: Actor
) -> EnvironmentView:
    """Adds an environment and its first key pair in the caller's transaction."""
    environment = Environment(
        id=environment_id,
        project_id=project.id,
        name=name,
        generation=pair.generation,
        created_by=actor.name,
    )
    session.add(environment)
    session.flush()
    session.add(
        KeyPair(
            environment_id=environment_id,
            generation=pair.generation,
            public_key=pair.public_key,
            fingerprint=pair.fingerprint,
            key_service=pair.key_service,
            wrapped_private_key=pair.wrapped,
            created_by=actor.name,
        )
    )
    detail = {"fingerprint": pair.fingerprint, "generation": pair.generation, "key_service": pair.key_service}
    append(
        session,
        project.id,
        project.name,
        actor=actor,
        action="environment.create",
        subject=name,
        detail=detail,
    )
    return _view(project, environment, pair.fingerprint)


def get_environment(db: Database, project: str, name: str) -> EnvironmentView:
    """Returns an environment.

    Raises:
        UnknownProject, UnknownEnvironment: When there is none of this name.
    """
    with db.reading() as session:
        place = find_project(session, project)
        environment = find_environment(session, place, name)
        return _view(place, environment, current_key_pair(session, environment).fingerprint)


def list_environments(db: Database, project: str) -> list[EnvironmentView]:
    """Returns a project's environments by name.

    Raises:
        UnknownProject: When there is no such project.
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


def delete_environment(db: Database, project: str, name: str, *, actor: Actor) -> None:
    """Deletes an environment with its keys, secrets and variables.

    Raises:
        UnknownProject, UnknownEnvironment: When there is none of this name.
    """
    with db.writing() as session:
        place = take_project(session, project)
        environment = find_environment(session, place, name)
        session.delete(environment)
        append(session, place.id, place.name, actor=actor, action="environment.delete", subject=name)


def current_key_pair(session: Session, environment: Environment) -> KeyPair:
    """Returns the key pair that values are sealed to now."""
    return session.get_one(KeyPair, (environment.id, environment.generation))


def _refuse_taken(session: Session, project: Project, name: str) -> None:
    query = select(Environment.id).where(Environment.project_id == project.id, Environment.name == name)
    if session.exec(query).first():
        raise AlreadyExists(what="environment", name=name)


def _view(project: Project, environment: Environment, fingerprint: str) -> EnvironmentView:
    return EnvironmentView(
        id=environment.id,
        project_id=project.id,
        project=project.name,
        name=environment.name,
        generation=environment.generation,
        fingerprint=fingerprint,
        created_at=environment.created_at,
        created_by=environment.created_by,
    )
