"""Key pairs in the database: listed, trusted, rewrapped, destroyed. Nothing here opens anything."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.database import Database
from secretstore.errors import KeyUnreadable, RowUnreadable
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.sealing import PublicKey, fingerprint
from secretstore.timestamps import utc_now
from secretstore.vault.key_pairs import key_succession
from secretstore.vault.lookup import within
from secretstore.views import KeyPairView, view_of

InUse = Callable[[Session], Collection[tuple[str, int]]]
"""Returns the environments' generations that runs in flight were given: id and number."""


@dataclass(frozen=True)
class PlacedKey:
    """A key pair and where it belongs."""

    place: KeyPlace
    pair: WrappedKeyPair


def list_keys(db: Database, project: str, environment: str | None = None) -> list[KeyPairView]:
    """Return the key pairs of an environment, or of all of a project's, by environment and generation.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        query = (
            select(Project, Environment, KeyPair)
            .where(
                Project.id == Environment.project_id,
                KeyPair.environment_id == Environment.id,
                within(session, project, environment),
            )
            .order_by(col(Environment.name), col(KeyPair.generation))
        )
        return [_view(*row) for row in session.exec(query)]


def trust_key(db: Database, project: str, environment: str, given: str, *, pins: Pins) -> Pin:
    """Remember an environment's current key pair, whose fingerprint a person has compared; see `Pins.trust`.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        FingerprintWrong, KeyChanged, KnownKeysUnusable: as `Pins.trust`.
    """
    return pins.trust(project, environment, key_succession(db, project, environment), given)


def keys_to_rewrap(db: Database, project: str | None = None, environment: str | None = None) -> list[PlacedKey]:
    """Return the key pairs whose private half is kept, with their places: of an environment, a project, or all.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        query = select(Project, Environment, KeyPair).where(
            Environment.project_id == Project.id,
            KeyPair.environment_id == Environment.id,
            col(KeyPair.wrapped_private_key).is_not(None),
            KeyPair.generation <= Environment.generation,
        )
        if project is not None:
            query = query.where(within(session, project, environment))
        rows = session.exec(query.order_by(col(Project.name), col(Environment.name), col(KeyPair.generation)))
        return [placed_key(*row) for row in rows]


def placed_key(project: Project, environment: Environment, pair: KeyPair) -> PlacedKey:
    """Return a row's key pair and where it belongs."""
    return PlacedKey(
        KeyPlace(project.name, project.id, environment.name, environment.id),
        WrappedKeyPair(
            public_key=pair.public_key,
            fingerprint=pair.fingerprint,
            generation=pair.generation,
            key_service=pair.key_service,
            wrapped=pair.wrapped_private_key or b"",
        ),
    )


def replace_wrapping(
    db: Database,
    key: PlacedKey,
    key_service: str,
    wrapped: bytes,
    *,
    actor: Actor,
    also: Callable[[Session], None] = lambda session: None,
) -> bool:
    """Replace the wrapping of a private key; return False if somebody else has.

    Neither the public half nor a sealed value is touched. `also` is called in the transaction.
    """
    with db.writing() as session:
        changed = session.execute(
            update(KeyPair)
            .where(
                col(KeyPair.environment_id) == key.place.environment_id,
                col(KeyPair.generation) == key.pair.generation,
                col(KeyPair.wrapped_private_key) == key.pair.wrapped,
            )
            .values(wrapped_private_key=wrapped, key_service=key_service)
            .returning(col(KeyPair.generation))
        ).first()
        if changed is None:
            return False
        detail = {"generation": key.pair.generation, "from": key.pair.key_service, "to": key_service}
        project = session.get_one(Project, key.place.project_id)
        append(session, project, actor, Act("key.rewrap", key.place.environment, detail))
        also(session)
        return True


def destroy_unused_keys(
    db: Database,
    in_use: InUse,
    *,
    actor: Actor,
    skipped: Callable[[str, Exception], None] = lambda place, problem: None,
) -> list[KeyPairView]:
    """Destroy the private halves of past generations that nothing uses, and the values sealed only to them.

    The rows stay: a public half and a voucher prove where the generations after it come from.

    Args:
        in_use: called while the environment is held, so that no run is given anything the answer leaves out.
        skipped: called with an environment where this fails, and why; the others go on.

    Returns:
        The key pairs whose private halves are gone.
    """
    past = (
        select(Environment.project_id, Environment.id, Project.name, Environment.name)
        .where(
            Environment.project_id == Project.id,
            KeyPair.environment_id == Environment.id,
            KeyPair.generation < Environment.generation,
            col(KeyPair.wrapped_private_key).is_not(None),
        )
        .distinct()
    )
    with db.reading() as session:
        places = list(session.exec(past))
    # One transaction for each, so that one that is in use or damaged keeps none of the others.
    destroyed: list[KeyPairView] = []
    for project_id, environment_id, project, environment in places:
        try:
            with db.writing() as session:
                done = _destroy_unused(session, project_id, environment_id, in_use, actor)
        except (RowUnreadable, DBAPIError) as problem:
            skipped(f"{project}/{environment}", problem)
        else:
            destroyed += done
    if destroyed:
        db.wipe()
    return destroyed


def _destroy_unused(
    session: Session, project_id: str, environment_id: str, in_use: InUse, actor: Actor
) -> list[KeyPairView]:
    project = session.get(Project, project_id)
    environment = session.exec(
        select(Environment).where(Environment.id == environment_id).with_for_update(key_share=True)
    ).first()
    if project is None or environment is None:  # deleted meanwhile, and the keys with it
        return []
    used = in_use(session)
    pairs = session.exec(
        select(KeyPair).where(
            KeyPair.environment_id == environment.id,
            KeyPair.generation < environment.generation,
            col(KeyPair.wrapped_private_key).is_not(None),
        )
    ).all()
    destroyed = []
    for pair in pairs:
        if (environment.id, pair.generation) in used:
            continue
        pair.wrapped_private_key, pair.destroyed_at = None, utc_now()
        delete_versions(session, environment, col(SecretVersion.generation) == pair.generation)
        detail = {"generation": pair.generation, "fingerprint": pair.fingerprint}
        append(session, project, actor, Act("key.destroy", environment.name, detail))
        destroyed.append(_view(project, environment, pair))
    return destroyed


def delete_versions(session: Session, environment: Environment, which: ColumnElement[bool]) -> None:
    """Delete those versions of an environment's secrets that meet a condition."""
    ids = select(Secret.id).where(Secret.environment_id == environment.id)
    session.execute(
        delete(SecretVersion)
        .where(col(SecretVersion.secret_id).in_(ids), which)
        .execution_options(synchronize_session=False)
    )


def _view(project: Project, environment: Environment, pair: KeyPair) -> KeyPairView:
    if pair.wrapped_private_key is None:
        state = "destroyed"
    elif pair.generation == environment.generation:
        state = "current"
    else:
        state = "pending" if pair.generation > environment.generation else "kept"
    try:
        found = fingerprint(PublicKey.from_bytes(pair.public_key))  # of the key itself: the row may claim another
    except KeyUnreadable:
        found = "unreadable"
    return view_of(
        KeyPairView,
        pair,
        project=project.name,
        environment=environment.name,
        fingerprint=found,
        state=state,
        pin=str(Pin(project.id, environment.id, pair.generation, found)),
    )
