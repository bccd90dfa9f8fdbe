"""Key pairs as the database has them: listed, followed by a new generation, rewrapped, destroyed.

Nothing here opens anything. A rotation goes `sealing_key`, `add_successor`, then `unresealed` and `add_resealed`
until little is left, then `flip`. What it re-seals stands beside the old rows, so that runs read the generation they
know until the flip, and the next one after it. One that was cut off leaves nothing that counts: the key pair of a
rotation is made in the process that re-seals and never taken from the database, where somebody could have put one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, delete, insert, tuple_, update
from sqlalchemy import select as select_rows
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from secretstore.audit import Actor, append
from secretstore.bundle import SealedItem
from secretstore.database import Database
from secretstore.errors import FingerprintWrong, KeyUnreadable, RotationOvertaken, RowUnreadable, SealBroken
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.pins import Pin, Pins, current_pin
from secretstore.sealing import PublicKey, fingerprint
from secretstore.timestamps import utc_now
from secretstore.vault.places import (
    find_environment,
    find_project,
    hold_environment,
    hold_project,
    take_environment,
)
from secretstore.vault.sealed import FETCHED
from secretstore.views import KeyPairView

BATCH = 100
"""Rows re-sealed in one transaction. The longest value takes 256 KiB sealed, so a batch fits in a frame."""

_LEAST_FINGERPRINT = 16
_Version = tuple[str, int]
# A copy under another generation keeps who set the version and when.
_ALL_BUT_SEALED = [column for column in SecretVersion.__table__.columns if column.name != "sealed"]  # type: ignore[attr-defined]


def list_keys(db: Database, project: str, environment: str | None = None) -> list[KeyPairView]:
    """Return the key pairs of an environment, or of all of a project's, by environment and generation.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = select(Environment, KeyPair).where(
            Environment.project_id == place.id, KeyPair.environment_id == Environment.id
        )
        if environment is not None:
            query = query.where(Environment.id == find_environment(session, place, environment).id)
        rows = session.exec(query.order_by(col(Environment.name), col(KeyPair.generation)))
        return [_view(place, *row) for row in rows]


def trust_key(db: Database, project: str, environment: str, given: str, *, pins: Pins) -> Pin:
    """Remember an environment's current key pair, whose fingerprint a person has compared and gives.

    Args:
        given: the fingerprint, in full or its first 16 digits or more.
        pins: where it is remembered.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        FingerprintWrong: fewer digits are given.
        FingerprintWrong: it is another key pair's.
        KeyChanged: the current key pair cannot be read.
    """
    with db.reading() as session:
        place = find_project(session, project)
        _, now = current_pin(session, place, find_environment(session, place, environment))
    wanted = given.strip().lower().removesuffix("…")
    shown = given if given.isascii() and given.isalnum() and len(given) <= 64 else "what was given"
    if len(wanted) < _LEAST_FINGERPRINT:
        raise FingerprintWrong(
            "{given} is too short to tell key pairs apart, and nothing was recorded",
            given=shown,
            least=_LEAST_FINGERPRINT,
            hint=f"give the fingerprint you were told in full, or its first {_LEAST_FINGERPRINT} digits or more",
        )
    if not now.fingerprint.startswith(wanted):
        raise FingerprintWrong(project=project, environment=environment, found=now.fingerprint, given=shown)
    pins.remember(project, environment, now)
    return now


@dataclass(frozen=True)
class PlacedKey:
    """A key pair and where it belongs."""

    place: KeyPlace
    pair: WrappedKeyPair


@dataclass(frozen=True)
class Rotation:
    """A rotation under way: the pair that secrets are sealed to now, and the one that follows."""

    place: KeyPlace
    pair: WrappedKeyPair
    successor: WrappedKeyPair
    voucher: bytes = field(repr=False)


Reseal = Callable[[Sequence[SealedItem]], Sequence[bytes | None]]
"""Takes values sealed to the old key pair and returns them sealed to the next; None for one that does not open."""


def sealing_key(db: Database, project: str, environment: str, *, pins: Pins) -> PlacedKey:
    """Return the key pair to be followed, which has to be the one known to who rotates.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged: the key pair is not the one known here.
    """
    with db.reading() as session:
        place = find_project(session, project)
        found = find_environment(session, place, environment)
        pair = pins.sealing_key(session, place, found)
        known = fingerprint(PublicKey.from_bytes(pair.public_key))  # the row may claim another
        return PlacedKey(_place(place, found), replace(_wrapped(pair), fingerprint=known))


def add_successor(db: Database, rotation: Rotation, *, actor: Actor) -> str | None:
    """Enter the next generation's key pair, which nothing uses before the flip.

    What stands there from a rotation that was cut off, or was put there, goes with all that was sealed to it.

    Returns:
        The fingerprint that a discarded key pair claimed to have.

    Raises:
        RotationOvertaken: the current key pair is not the rotation's any more.
    """
    successor = rotation.successor
    with db.writing() as session:
        project, environment = _held(session, rotation, hold_environment)
        discarded = _discard_above(session, project, environment, actor)
        session.add(
            KeyPair(
                environment_id=environment.id,
                generation=successor.generation,
                public_key=successor.public_key,
                fingerprint=successor.fingerprint,
                key_service=successor.key_service,
                wrapped_private_key=successor.wrapped,
                voucher=rotation.voucher,
                created_by=actor.name,
            )
        )
        return discarded


def discard_successor(db: Database, rotation: Rotation, *, actor: Actor) -> None:
    """Take back a successor that is not going to be current, with all that was sealed to it.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
    """
    with db.writing() as session:
        project, environment = _held(session, rotation, hold_environment)
        _insist_on_successor(session, rotation)
        _discard_above(session, project, environment, actor)


def unresealed(db: Database, rotation: Rotation) -> Iterator[list[SealedItem]]:
    """Yield all versions sealed to the old key pair, in batches, each read in a transaction of its own.

    What is set meanwhile may be missed: the flip carries it over.
    """
    after = ""
    while True:
        with db.reading() as session:
            # Along the index of names, and what is heavy by its primary key alone: whatever the statistics that
            # PostgreSQL has of these tables, if any, a batch costs the same at the start and at the end.
            secrets = session.exec(
                select(Secret.id, Secret.name)
                .where(Secret.environment_id == rotation.place.environment_id, col(Secret.name) > after)
                .order_by(col(Secret.name))
                .limit(BATCH)
            ).all()
            versions = session.exec(
                select(SecretVersion.secret_id, SecretVersion.version).where(
                    col(SecretVersion.secret_id).in_([secret_id for secret_id, _ in secrets]),
                    SecretVersion.generation == rotation.pair.generation,
                )
            ).all()
        if not secrets:
            return
        names = dict(secrets)
        after = secrets[-1][1]
        for start in range(0, len(versions), BATCH):
            with db.reading() as session:
                if items := _sealed(session, rotation, names, versions[start : start + BATCH]):
                    yield items


def add_resealed(db: Database, rotation: Rotation, resealed: Iterable[tuple[SealedItem, bytes]]) -> int:
    """Store re-sealed versions beside the old ones, those excepted that are gone meanwhile; returns how many.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
    """
    with db.writing() as session:
        _, environment = _held(session, rotation, hold_environment)
        _insist_on_successor(session, rotation)
        return _add(session, environment, rotation, resealed)


def flip(db: Database, rotation: Rotation, reseal: Reseal, *, actor: Actor, dropped: Collection[_Version] = ()) -> int:
    """Make the successor current, in one transaction in which no run is given anything.

    What was sealed to the old key pair meanwhile is carried over first.

    Args:
        rotation: the rotation, whose own words about the successor replace what the row says.
        reseal: re-seals what is left.
        dropped: versions that do not open and are left behind.

    Returns:
        How many versions were carried over.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
        SealBroken: one that is left does not open.
    """
    successor = rotation.successor
    with db.writing() as session:
        project, environment = _held(session, rotation, take_environment)
        pair = _insist_on_successor(session, rotation)
        carried, after = 0, None
        while items := _left_to_reseal(session, rotation, after):
            after = (items[-1].secret_id, items[-1].version)
            left = [item for item in items if (item.secret_id, item.version) not in dropped]
            done = [(item, _intact(rotation, item, sealed)) for item, sealed in zip(left, reseal(left), strict=True)]
            carried += _add(session, environment, rotation, done)
        pair.public_key, pair.fingerprint = successor.public_key, successor.fingerprint
        pair.wrapped_private_key, pair.voucher = successor.wrapped, rotation.voucher
        environment.generation = successor.generation
        detail = {
            "fingerprint": successor.fingerprint,
            "generation": successor.generation,
            "key_service": successor.key_service,
            "previous_fingerprint": rotation.pair.fingerprint,
            "left_behind": len(dropped),
        }
        _record(session, project, actor, "key.rotate", environment.name, detail)
        return carried


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
            place = find_project(session, project)
            query = query.where(Project.id == place.id)
            if environment is not None:
                query = query.where(Environment.id == find_environment(session, place, environment).id)
        rows = session.exec(query.order_by(col(Project.name), col(Environment.name), col(KeyPair.generation)))
        return [PlacedKey(_place(place, found), _wrapped(pair)) for place, found, pair in rows]


def replace_wrapping(db: Database, key: PlacedKey, key_service: str, wrapped: bytes, *, actor: Actor) -> bool:
    """Put a private key wrapped anew in the place of the same key's old wrapping; False where that has changed.

    Neither the public half nor a sealed value is touched.
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
        append(
            session,
            key.place.project_id,
            key.place.project,
            actor=actor,
            action="key.rewrap",
            subject=key.place.environment,
            detail=detail,
        )
        return True


InUse = Callable[[Session], Collection[tuple[str, int]]]
"""Tells, in the caller's transaction, which environments' generations runs in flight were given: id and number."""


def destroy_unused_keys(
    db: Database,
    in_use: InUse,
    *,
    actor: Actor,
    skipped: Callable[[str, Exception], None] = lambda place, problem: None,
) -> list[KeyPairView]:
    """Destroy the private halves of past generations that nothing uses, and what is sealed to them alone.

    The rows stay: a public half and a voucher prove where the generations after it come from.

    Args:
        in_use: asked while the environment is held, so that no run is given anything the answer leaves out.
        skipped: told of an environment where it cannot be done or recorded, and why; the others go on.

    Returns:
        The key pairs whose private halves are gone.
    """
    past = (
        select(Project.name, Environment.name)
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
    destroyed: list[KeyPairView] = []
    for project, environment in places:
        try:
            with db.writing() as session:
                done = _destroy_unused(session, project, environment, in_use, actor)
        except (RowUnreadable, DBAPIError) as problem:
            skipped(f"{project}/{environment}", problem)
        else:
            destroyed += done
    if destroyed:
        db.wipe()
    return destroyed


def _destroy_unused(session: Session, project: str, environment: str, in_use: InUse, actor: Actor) -> list[KeyPairView]:
    place = session.exec(select(Project).where(Project.name == project)).first()
    if place is None:
        return []
    found = session.exec(
        select(Environment)
        .where(Environment.project_id == place.id, Environment.name == environment)
        .with_for_update(key_share=True)
    ).first()
    if found is None:
        return []
    used = in_use(session)
    pairs = session.exec(
        select(KeyPair).where(
            KeyPair.environment_id == found.id,
            KeyPair.generation < found.generation,
            col(KeyPair.wrapped_private_key).is_not(None),
        )
    ).all()
    destroyed = []
    for pair in pairs:
        if (found.id, pair.generation) in used:
            continue
        pair.wrapped_private_key, pair.destroyed_at = None, utc_now()
        _delete_versions(session, found, col(SecretVersion.generation) == pair.generation)
        detail = {"generation": pair.generation, "fingerprint": pair.fingerprint}
        _record(session, place, actor, "key.destroy", found.name, detail)
        destroyed.append(_view(place, found, pair))
    return destroyed


def _discard_above(session: Session, project: Project, environment: Environment, actor: Actor) -> str | None:
    above = col(KeyPair.generation) > environment.generation
    mine = col(KeyPair.environment_id) == environment.id
    found = session.exec(select(KeyPair.fingerprint, KeyPair.generation).where(mine, above)).first()
    # Rows can stand there without their pair, where somebody put them.
    _delete_versions(session, environment, col(SecretVersion.generation) > environment.generation)
    session.execute(delete(KeyPair).where(mine, above).execution_options(synchronize_session=False))
    if found is None:
        return None
    detail: dict[str, object] = {"fingerprint": found[0], "generation": found[1]}
    _record(session, project, actor, "key.discard", environment.name, detail)
    return found[0]


def _held(
    session: Session, rotation: Rotation, hold: Callable[[Session, Project, str], Environment]
) -> tuple[Project, Environment]:
    """Return the rotation's place, held, if its key pair is still the one it started from."""
    place = rotation.place
    project = hold_project(session, place.project)
    environment = hold(session, project, place.environment)
    if (environment.id, environment.generation) != (place.environment_id, rotation.pair.generation):
        raise RotationOvertaken(project=place.project, environment=place.environment)
    return project, environment


def _insist_on_successor(session: Session, rotation: Rotation) -> KeyPair:
    pair = session.get(KeyPair, (rotation.place.environment_id, rotation.successor.generation))
    if pair is None or pair.wrapped_private_key != rotation.successor.wrapped:
        raise RotationOvertaken(project=rotation.place.project, environment=rotation.place.environment)
    return pair


def _sealed(
    session: Session, rotation: Rotation, names: Mapping[str, str], versions: Collection[_Version]
) -> list[SealedItem]:
    query = select(SecretVersion.secret_id, SecretVersion.version, FETCHED).where(
        # SQLite finds nothing by pairs alone, and would read the whole table.
        col(SecretVersion.secret_id).in_({secret_id for secret_id, _ in versions}),
        tuple_(col(SecretVersion.secret_id), col(SecretVersion.version)).in_(versions),
        SecretVersion.generation == rotation.pair.generation,
    )
    return [SealedItem(key, names[key], version, sealed) for key, version, sealed in session.exec(query)]


def _left_to_reseal(session: Session, rotation: Rotation, after: _Version | None) -> list[SealedItem]:
    """A batch of versions that are not sealed to the successor yet, in the order of their ids."""
    done = aliased(SecretVersion)
    there = select(done.version).where(
        done.secret_id == SecretVersion.secret_id,
        done.version == SecretVersion.version,
        done.generation == rotation.successor.generation,
    )
    query = (
        select(Secret.id, Secret.name, SecretVersion.version)
        .where(
            Secret.environment_id == rotation.place.environment_id,
            SecretVersion.secret_id == Secret.id,
            SecretVersion.generation == rotation.pair.generation,
            ~there.exists(),
        )
        .order_by(col(SecretVersion.secret_id), col(SecretVersion.version))
        .limit(BATCH)
    )
    if after is not None:
        query = query.where(tuple_(col(SecretVersion.secret_id), col(SecretVersion.version)) > after)
    rows = session.exec(query).all()
    found = _sealed(session, rotation, {key: name for key, name, _ in rows}, [(key, n) for key, _, n in rows])
    return sorted(found, key=lambda item: (item.secret_id, item.version))


def _add(
    session: Session, environment: Environment, rotation: Rotation, resealed: Iterable[tuple[SealedItem, bytes]]
) -> int:
    given = {(item.secret_id, item.version): sealed for item, sealed in resealed}
    if not given:
        return 0
    query = select_rows(*_ALL_BUT_SEALED).where(
        col(SecretVersion.secret_id).in_({secret_id for secret_id, _ in given}),
        col(SecretVersion.secret_id) == Secret.id,
        col(Secret.environment_id) == environment.id,
        col(SecretVersion.generation).in_((rotation.pair.generation, rotation.successor.generation)),
    )
    rows = [dict(row) for row in session.execute(query).mappings()]
    generation = rotation.successor.generation
    there = {(row["secret_id"], row["version"]) for row in rows if row["generation"] == generation}
    copies = [
        row | {"generation": generation, "sealed": given[version]}
        for row in rows
        if (version := (row["secret_id"], row["version"])) in given and version not in there
    ]
    if copies:
        session.execute(insert(SecretVersion), copies)
    return len(copies)


def _intact(rotation: Rotation, item: SealedItem, sealed: bytes | None) -> bytes:
    if sealed is None:
        raise SealBroken(project=rotation.place.project, environment=rotation.place.environment, name=item.name)
    return sealed


def _delete_versions(session: Session, environment: Environment, which: ColumnElement[bool]) -> None:
    mine = select(Secret.id).where(Secret.environment_id == environment.id)
    session.execute(
        delete(SecretVersion)
        .where(col(SecretVersion.secret_id).in_(mine), which)
        .execution_options(synchronize_session=False)
    )


def _record(
    session: Session, project: Project, actor: Actor, action: str, subject: str, detail: dict[str, object]
) -> None:
    append(session, project.id, project.name, actor=actor, action=action, subject=subject, detail=detail)


def _place(project: Project, environment: Environment) -> KeyPlace:
    return KeyPlace(project.name, project.id, environment.name, environment.id)


def _wrapped(pair: KeyPair) -> WrappedKeyPair:
    return WrappedKeyPair(
        public_key=pair.public_key,
        fingerprint=pair.fingerprint,
        generation=pair.generation,
        key_service=pair.key_service,
        wrapped=pair.wrapped_private_key or b"",
    )


def _view(project: Project, environment: Environment, pair: KeyPair) -> KeyPairView:
    if pair.wrapped_private_key is None:
        state = "destroyed"
    elif pair.generation == environment.generation:
        state = "current"
    else:
        state = "pending" if pair.generation > environment.generation else "kept"
    try:
        mark = fingerprint(PublicKey.from_bytes(pair.public_key))  # of what is sealed to, not what the row claims
    except KeyUnreadable:
        mark = "unreadable"
    return KeyPairView(
        project=project.name,
        environment=environment.name,
        generation=pair.generation,
        fingerprint=mark,
        state=state,
        key_service=pair.key_service,
        created_at=pair.created_at,
        created_by=pair.created_by,
        destroyed_at=pair.destroyed_at,
    )
