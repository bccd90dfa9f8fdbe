"""The sealed secrets of a run: current ciphertexts and the wrapped key, read in the run's own transaction."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, literal
from sqlalchemy import select as select_rows
from sqlmodel import Session, select

from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import table_of
from secretstore.errors import EnvironmentGone, SealBroken
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.sealing import LONGEST_SEALED
from secretstore.vault.secrets import unknown_secret

_SEALED = table_of(SecretVersion).c.sealed

# A row may hold up to a gigabyte: a value too long to have been sealed here is not fetched, and does not open.
FETCHED: ColumnElement[bytes] = case((func.length(_SEALED) > LONGEST_SEALED, literal(b"")), else_=_SEALED)


def sealed_bundle(
    session: Session, environment_id: str, names: Collection[str] | None, *, beside: Collection[str] = ()
) -> SealedBundle:
    """Return an environment's current secrets, sealed, by name.

    The key pair cannot be replaced before the caller's transaction ends, so ciphertexts and key always match.

    Args:
        names: which secrets; None for all.
        beside: more of them, where they exist.

    Raises:
        UnknownSecret: one of `names` does not exist.
        SealBroken: a current version was never sealed under the current key pair.
        EnvironmentGone: the environment does not exist, or its project is deleted.
    """
    place = session.connection().execute(_PLACE, {"of_environment": environment_id}).first()
    if place is None:
        raise EnvironmentGone(environment_id=environment_id)
    sealed = _sealed(session, environment_id, place.generation, None if names is None else {*names, *beside})
    if missing := sorted(set(names or ()) - sealed.keys()):
        environment = session.exec(select(Environment).where(Environment.id == environment_id)).one()
        raise unknown_secret(session, place.project, environment, missing[0])
    return SealedBundle(
        project=place.project,
        project_id=place.project_id,
        environment=place.environment,
        environment_id=environment_id,
        generation=place.generation,
        fingerprint=place.fingerprint,
        key_service=place.key_service,
        wrapped=place.wrapped_private_key or b"",
        items=tuple(_item(place, row) for row in sealed.values()),
    )


_PROJECT, _ENVIRONMENT, _PAIR = table_of(Project).c, table_of(Environment).c, table_of(KeyPair).c
_SECRET, _VERSION = table_of(Secret), table_of(SecretVersion)

# The lock lets runs in together, and keeps out a flip to the next key pair.
_PLACE = (
    select_rows(
        _PROJECT.name.label("project"),
        _PROJECT.id.label("project_id"),
        _ENVIRONMENT.name.label("environment"),
        _ENVIRONMENT.generation,
        _PAIR.fingerprint,
        _PAIR.key_service,
        _PAIR.wrapped_private_key,
    )
    .where(
        _ENVIRONMENT.id == bindparam("of_environment"),
        _PROJECT.id == _ENVIRONMENT.project_id,
        _PAIR.environment_id == _ENVIRONMENT.id,
        _PAIR.generation == _ENVIRONMENT.generation,
        _PROJECT.deleted_at.is_(None),
    )
    .with_for_update(read=True, key_share=True, of=table_of(Environment))
)

# Of each secret its current version under the current key pair; none where it was never sealed under that.
_ALL = (
    select_rows(
        _SECRET.c.id,
        _SECRET.c.name,
        _SECRET.c.current_version,
        _SECRET.c.expires_at,
        _SECRET.c.as_file,
        FETCHED.label("sealed"),
    )
    .select_from(
        _SECRET.outerjoin(
            _VERSION,
            and_(
                _VERSION.c.secret_id == _SECRET.c.id,
                _VERSION.c.version == _SECRET.c.current_version,
                _VERSION.c.generation == bindparam("of_generation"),
            ),
        )
    )
    .where(_SECRET.c.environment_id == bindparam("of_environment"))
    .order_by(_SECRET.c.name)
)
_NAMED = _ALL.where(_SECRET.c.name.in_(bindparam("names", expanding=True)))


def _sealed(session: Session, environment_id: str, generation: int, names: Collection[str] | None) -> dict[str, Any]:
    bound: dict[str, Any] = {"of_environment": environment_id, "of_generation": generation}
    if names is None:
        found = session.connection().execute(_ALL, bound)
    else:
        found = session.connection().execute(_NAMED, bound | {"names": sorted(names)})
    return {row.name: row for row in found}


def _item(place: Any, row: Any) -> SealedItem:
    if row.sealed is None:
        raise SealBroken(
            'secret "{name}" of {project}/{environment} has no value sealed under the current key pair',
            project=place.project,
            environment=place.environment,
            name=row.name,
            hint=f"set it again: sealrun secret set {row.name} -p {place.project} -e {place.environment}",
        )
    return SealedItem(row.id, row.name, row.current_version, row.sealed, row.expires_at, row.as_file)
