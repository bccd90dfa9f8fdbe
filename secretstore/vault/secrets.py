"""Secrets: sealed on their way in, listed by name, deleted. Nothing here can open one."""

from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.database import Database
from secretstore.errors import NameRefused, UnknownSecret, ValueRefused
from secretstore.models import Environment, Project, Secret, SecretVersion, Variable, new_id
from secretstore.naming import check_secret_name
from secretstore.sealing import MAX_VALUE, Binding, PublicKey, seal
from secretstore.timestamps import utc_now
from secretstore.vault.environments import current_key_pair
from secretstore.vault.places import (
    did_you_mean,
    find_environment,
    find_project,
    hold_environment,
    hold_project,
)
from secretstore.vault.views import SecretView, VersionView

SHORTEST_MASKABLE = 8
"""Bytes: a shorter value would turn ordinary output into stars, so it is not masked at all."""


def put(
    db: Database,
    project: str,
    environment: str,
    name: str,
    value: bytes,
    *,
    actor: Actor,
    allow_short: bool = False,
) -> SecretView:
    """Seals a value with the environment's public key and stores it as the secret's next version.

    Args:
        db: The database.
        project: The project's name.
        environment: The environment's name.
        name: The secret's name, which is also the variable's name in a run.
        value: Any bytes but NUL; `name=value` has at most 131,071 bytes.
        actor: Who stores it.
        allow_short: Takes a value under 8 bytes, which cannot be masked.

    Raises:
        NameRefused: When the name breaks the rule, or is a variable's.
        ValueRefused: When the value breaks one; it is not quoted.
        UnknownProject, UnknownEnvironment: When there is no such place.
    """
    check_secret_name(name)
    _check_value(name, value, allow_short)
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        _refuse_variable(session, held, name)
        pair = current_key_pair(session, held)
        secret = _next_version(session, held, name, actor)
        secret.maskable = _is_maskable(value)
        session.add(secret)
        session.flush()
        binding = Binding(place.id, held.id, secret.id, name, secret.current_version)
        session.add(
            SecretVersion(
                secret_id=secret.id,
                version=secret.current_version,
                generation=pair.generation,
                sealed=seal(PublicKey.from_bytes(pair.public_key), pair.generation, value, binding),
                maskable=secret.maskable,
                created_by=actor.name,
            )
        )
        _record(session, place, held, secret, actor, "secret.set")
        return _view(secret, held.name)


def list_secrets(db: Database, project: str, environment: str | None = None) -> list[SecretView]:
    """Returns the secrets of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: When there is no such place.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = select(Secret, Environment.name).where(
            Secret.environment_id == Environment.id, Environment.project_id == place.id
        )
        if environment is not None:
            query = query.where(Environment.id == find_environment(session, place, environment).id)
        rows = session.exec(query.order_by(col(Environment.name), col(Secret.name)))
        return [_view(secret, where) for secret, where in rows]


def history(db: Database, project: str, environment: str, name: str) -> list[VersionView]:
    """Returns a secret's versions, the newest first.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: When there is none of this name.
    """
    with db.reading() as session:
        place = find_project(session, project)
        secret = _find(session, place, find_environment(session, place, environment), name)
        query = select(SecretVersion).where(SecretVersion.secret_id == secret.id)
        # A version re-sealed under a newer key pair has several rows; the oldest tells when it was set.
        rows = session.exec(query.order_by(col(SecretVersion.version).desc(), col(SecretVersion.generation)))
        first: dict[int, SecretVersion] = {}
        for row in rows:
            first.setdefault(row.version, row)
        return [
            VersionView(row.version, row.created_at, row.created_by, row.version == secret.current_version)
            for row in first.values()
        ]


def delete_secret(db: Database, project: str, environment: str, name: str, *, actor: Actor) -> None:
    """Deletes a secret with all its versions. One made later under the same name has another id.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownSecret: When there is none of this name.
    """
    with db.writing() as session:
        place = hold_project(session, project)
        held = hold_environment(session, place, environment)
        secret = _find(session, place, held, name)
        session.delete(secret)
        _record(session, place, held, secret, actor, "secret.delete")


def unknown_secret(session: Session, project: str, environment: Environment, name: str) -> UnknownSecret:
    """Returns the error for a name that is not there, with a close one as its hint."""
    names = session.exec(select(Secret.name).where(Secret.environment_id == environment.id))
    hint = did_you_mean(name, names)
    return UnknownSecret(name=name, project=project, environment=environment.name, hint=hint)


def _check_value(name: str, value: bytes, allow_short: bool) -> None:
    why = hint = None
    if not value:
        why = "it is empty"
    elif b"\0" in value:
        why = "it contains a NUL byte, which no environment variable can hold"
    elif len(name) + 1 + len(value) > MAX_VALUE:
        why = f"NAME=value may have {MAX_VALUE:,} bytes at most, and this has more"
    elif not _is_maskable(value) and not allow_short:
        why = f"it has fewer than {SHORTEST_MASKABLE} bytes beside outer white space, and could not be masked"
        hint = "take a longer one, or say --allow-short"
    if why:
        raise ValueRefused(name=name, why=why, hint=hint)


def _is_maskable(value: bytes) -> bool:
    """Outer white space does not count: the masker looks for the value without it."""
    return len(value.strip()) >= SHORTEST_MASKABLE


def _refuse_variable(session: Session, environment: Environment, name: str) -> None:
    query = select(Variable.id).where(Variable.environment_id == environment.id, Variable.name == name)
    if session.exec(query).first():
        why = f"a variable of {environment.name} has it, and a run could not have both"
        raise NameRefused(name=name, why=why)


def _next_version(session: Session, environment: Environment, name: str, actor: Actor) -> Secret:
    query = select(Secret).where(Secret.environment_id == environment.id, Secret.name == name)
    secret = session.exec(query).first()
    if secret is None:
        return Secret(
            id=new_id(),
            project_id=environment.project_id,
            environment_id=environment.id,
            name=name,
            current_version=1,
            last_version=1,
            maskable=True,
            created_by=actor.name,
            updated_by=actor.name,
        )
    secret.current_version = secret.last_version = secret.last_version + 1
    secret.updated_at, secret.updated_by = utc_now(), actor.name
    return secret


def _find(session: Session, project: Project, environment: Environment, name: str) -> Secret:
    query = select(Secret).where(Secret.environment_id == environment.id, Secret.name == name)
    if secret := session.exec(query).first():
        return secret
    raise unknown_secret(session, project.name, environment, name)


def _record(
    session: Session, project: Project, environment: Environment, secret: Secret, actor: Actor, action: str
) -> None:
    append(
        session,
        project.id,
        project.name,
        actor=actor,
        action=action,
        subject=f"{environment.name}/{secret.name}",
        detail={"secret_id": secret.id, "version": secret.current_version},
    )


def _view(secret: Secret, environment: str) -> SecretView:
    return SecretView(
        id=secret.id,
        name=secret.name,
        environment=environment,
        version=secret.current_version,
        maskable=secret.maskable,
        created_at=secret.created_at,
        created_by=secret.created_by,
        updated_at=secret.updated_at,
        updated_by=secret.updated_by,
    )
