"""The sealed secrets of a run: current ciphertexts and the wrapped key, read in the run's own transaction."""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, literal
from sqlalchemy import select as select_rows

from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import table_of
from secretstore.errors import EnvironmentGone, SealBroken
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.sealing import LONGEST_SEALED
from secretstore.transaction import Reader
from secretstore.vault.secrets import unknown_secret

_SEALED = table_of(SecretVersion).c.sealed

# A row may hold up to a gigabyte: a value too long to have been sealed here is not fetched, and does not open.
FETCHED: ColumnElement[bytes] = case((func.length(_SEALED) > LONGEST_SEALED, literal(b"")), else_=_SEALED)


def sealed_bundle(
    session: Reader, environment_id: str, names: Collection[str] | None, *, beside: Collection[str] = ()
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
    return ask_sealed(session, environment_id, names, beside=beside)()


def ask_sealed(
    session: Reader, environment_id: str, names: Collection[str] | None, *, beside: Collection[str] = ()
) -> Callable[[], SealedBundle]:
    """Ask for the same; it is waited for when what is returned is called."""
    this = {"of_environment": environment_id}
    session.connection().execute(_HELD, this)
    # Behind the lock, so that the generation of both is the same: they see what was committed before it was had.
    asked = session.connection().execute(_PLACE, this)
    found = _sealed(session, environment_id, None if names is None else sorted({*names, *beside}))

    def told() -> SealedBundle:
        place = asked.first()
        if place is None:
            raise EnvironmentGone(environment_id=environment_id)
        sealed = {row.name: row for row in found.all()}
        if missing := sorted(set(names or ()) - sealed.keys()):
            raise unknown_secret(session, place.project, environment_id, place.environment, missing[0])
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

    return told


def secret_names(session: Reader, environment_id: str) -> list[str]:
    """Return the names of an environment's secrets, read in the caller's transaction."""
    return [row.name for row in session.connection().execute(_NAMES, {"of_environment": environment_id}).all()]


_PROJECT, _ENVIRONMENT, _PAIR = table_of(Project).c, table_of(Environment).c, table_of(KeyPair).c
_SECRET, _VERSION = table_of(Secret), table_of(SecretVersion)

_NAMES = (
    select_rows(_SECRET.c.name).where(_SECRET.c.environment_id == bindparam("of_environment")).order_by(_SECRET.c.name)
)

# The lock lets runs in together, and keeps out a flip to the next key pair. A statement of its own: one that has waited
# for the lock has read the environment anew, but not what it joins with it.
_HELD = (
    select_rows(_ENVIRONMENT.id)
    .where(_ENVIRONMENT.id == bindparam("of_environment"))
    .with_for_update(read=True, key_share=True)
)

_PLACE = select_rows(
    _PROJECT.name.label("project"),
    _PROJECT.id.label("project_id"),
    _ENVIRONMENT.name.label("environment"),
    _ENVIRONMENT.generation,
    _PAIR.fingerprint,
    _PAIR.key_service,
    _PAIR.wrapped_private_key,
).where(
    _ENVIRONMENT.id == bindparam("of_environment"),
    _PROJECT.id == _ENVIRONMENT.project_id,
    _PAIR.environment_id == _ENVIRONMENT.id,
    _PAIR.generation == _ENVIRONMENT.generation,
    _PROJECT.deleted_at.is_(None),
)

_GENERATION = (
    select_rows(table_of(Environment).c.generation)
    .where(_ENVIRONMENT.id == bindparam("of_environment"))
    .scalar_subquery()
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
                _VERSION.c.generation == _GENERATION,
            ),
        )
    )
    .where(_SECRET.c.environment_id == bindparam("of_environment"))
    .order_by(_SECRET.c.name)
)


def _sealed(session: Reader, environment_id: str, names: Sequence[str] | None) -> Any:
    bound = {"of_environment": environment_id}
    if names is None:
        return session.connection().execute(_ALL, bound)
    these = {f"name_{place}": name for place, name in enumerate(names)}
    return session.connection().execute(_named(len(names)), bound | these)


@lru_cache(maxsize=64)
def _named(count: int) -> Select[Any]:
    """The same of so many names: a list to be IN would be written into the statement anew each time."""
    names = [bindparam(f"name_{place}", type_=_SECRET.c.name.type) for place in range(count)]
    return _ALL.where(_SECRET.c.name.in_(names))


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
