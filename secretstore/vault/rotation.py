"""Rotation: a new key pair for an environment, and everything sealed anew, while runs go on. Nothing here can open one.

A rotation calls `sealing_key`, `add_successor`, then `unresealed` and `add_resealed` until little is left, then `flip`.
Re-sealed values lie beside the old rows, so that runs read the generation they know until the flip, and the next one
after it. A rotation that was cut off has no effect: its key pair is made in the process that re-seals and is never
taken from the database, where somebody could have put one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import delete, insert, tuple_
from sqlalchemy import select as select_rows
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from secretstore.audit import Act, Actor, append
from secretstore.bundle import SealedItem
from secretstore.database import Database
from secretstore.errors import RotationOvertaken, SealBroken
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.models import Environment, KeyPair, Project, Secret, SecretVersion
from secretstore.pins import Pins
from secretstore.sealing import PublicKey, fingerprint
from secretstore.vault.environments import key_pair_row
from secretstore.vault.key_pairs import known_pair
from secretstore.vault.keys import PlacedKey, delete_versions, placed_key
from secretstore.vault.lookup import find_place, hold_environment, hold_project, take_environment
from secretstore.vault.sealed import FETCHED

BATCH = 100
"""Rows re-sealed in one transaction. The longest value takes 256 KiB sealed, so a batch fits in a frame."""

_Version = tuple[str, int]
# A copy under another generation keeps who set the version and when. SQLModel makes __table__.
_NAME = "its_name"
_ALL_BUT_SEALED = [column for column in SecretVersion.__table__.columns if column.name != "sealed"]  # type: ignore[attr-defined]

Reseal = Callable[[Sequence[SealedItem]], Sequence[bytes | None]]
"""Takes values sealed to the old key pair and returns them sealed to the next; None for one that does not open."""


@dataclass(frozen=True)
class Rotation:
    """A rotation under way: the pair that secrets are sealed to now, and its successor."""

    place: KeyPlace
    pair: WrappedKeyPair
    successor: WrappedKeyPair
    voucher: bytes = field(repr=False)


def sealing_key(db: Database, project: str, environment: str, *, pins: Pins) -> PlacedKey:
    """Return the key pair to replace, which must be the one this user remembers.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
        KeyChanged: the key pair is not the one remembered.
    """
    with db.reading() as session:
        place, found = find_place(session, project, environment)
        pair = known_pair(session, place, found, pins)
        key = placed_key(place, found, pair)
        known = fingerprint(PublicKey.from_bytes(pair.public_key))  # the row may claim another
        return replace(key, pair=replace(key.pair, fingerprint=known))


def add_successor(db: Database, rotation: Rotation, *, actor: Actor) -> str | None:
    """Add the next generation's key pair, which nothing uses before the flip.

    A pair that is there already, from a rotation that was cut off or put there by somebody, is deleted with everything
    sealed to it.

    Returns:
        The fingerprint that the deleted key pair claimed to have.

    Raises:
        RotationOvertaken: the current key pair is no longer the rotation's.
    """
    with db.writing() as session:
        project, environment = _held(session, rotation, hold_environment)
        discarded = _discard_above(session, project, environment, actor)
        session.add(key_pair_row(environment.id, rotation.successor, actor, rotation.voucher))
        return discarded


def discard_successor(db: Database, rotation: Rotation, *, actor: Actor) -> None:
    """Take back a successor that will not become current, with everything sealed to it.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
    """
    with db.writing() as session:
        project, environment = _held(session, rotation, hold_environment)
        _successor_row(session, rotation)
        _discard_above(session, project, environment, actor)


def unresealed(db: Database, rotation: Rotation) -> Iterator[list[SealedItem]]:
    """Yield all versions sealed to the old key pair, in batches, each read in a transaction of its own.

    Versions that are set meanwhile may be missed: the flip carries them over.
    """
    after = ""
    while True:
        with db.reading() as session:
            # Walk the index of names, and fetch the heavy rows by primary key only: a batch then costs the same at the
            # start and at the end, whatever statistics PostgreSQL has of these tables.
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
        # A secret has several versions, so that one lot of names may need several batches.
        for start in range(0, len(versions), BATCH):
            with db.reading() as session:
                if items := _sealed(session, rotation, names, versions[start : start + BATCH]):
                    yield items


def add_resealed(db: Database, rotation: Rotation, resealed: Iterable[tuple[SealedItem, bytes]]) -> int:
    """Store re-sealed versions beside the old ones, except those deleted meanwhile; return how many.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
    """
    with db.writing() as session:
        _, environment = _held(session, rotation, hold_environment)
        _successor_row(session, rotation)
        return _add(session, environment, rotation, resealed)


def flip(
    db: Database,
    rotation: Rotation,
    reseal: Reseal,
    *,
    actor: Actor,
    dropped: Collection[_Version] = (),
    also: Callable[[Session, int], None] = lambda session, carried: None,
) -> int:
    """Make the successor current, in one transaction in which no run is given anything.

    Versions sealed to the old key pair meanwhile are carried over first.

    Args:
        rotation: its own data about the successor replaces what the row says.
        reseal: re-seals what is left.
        dropped: versions that do not open and are left behind.
        also: called in the transaction, with how many versions were carried over.

    Returns:
        How many versions were carried over.

    Raises:
        RotationOvertaken: another rotation took over, or the place was deleted.
        SealBroken: a version that is left does not open.
    """
    successor = rotation.successor
    with db.writing() as session:
        project, environment = _held(session, rotation, take_environment)
        pair = _successor_row(session, rotation)
        # From here on nobody else writes, so one pass over what is left finds everything.
        carried, after = 0, None
        while items := _left_to_reseal(session, rotation, after):
            after = (items[-1].secret_id, items[-1].version)
            left = [item for item in items if (item.secret_id, item.version) not in dropped]
            done = [(item, _intact(rotation, item, sealed)) for item, sealed in zip(left, reseal(left), strict=True)]
            carried += _add(session, environment, rotation, done)
        # Whoever can write to the database may have changed the row since it was added.
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
        append(session, project, actor, Act("key.rotate", environment.name, detail))
        also(session, carried)
        return carried


def _discard_above(session: Session, project: Project, environment: Environment, actor: Actor) -> str | None:
    above = (col(KeyPair.environment_id) == environment.id, col(KeyPair.generation) > environment.generation)
    found = session.exec(select(KeyPair.fingerprint, KeyPair.generation).where(*above)).first()
    # Versions may be there without their pair, if somebody put them there.
    delete_versions(session, environment, col(SecretVersion.generation) > environment.generation)
    session.execute(delete(KeyPair).where(*above).execution_options(synchronize_session=False))
    if found is None:
        return None
    detail = {"fingerprint": found[0], "generation": found[1]}
    append(session, project, actor, Act("key.discard", environment.name, detail))
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


def _successor_row(session: Session, rotation: Rotation) -> KeyPair:
    pair = session.get(KeyPair, (rotation.place.environment_id, rotation.successor.generation))
    if pair is None or pair.wrapped_private_key != rotation.successor.wrapped:
        raise RotationOvertaken(project=rotation.place.project, environment=rotation.place.environment)
    return pair


def _sealed(
    session: Session, rotation: Rotation, names: Mapping[str, str], versions: Collection[_Version]
) -> list[SealedItem]:
    query = select(SecretVersion.secret_id, SecretVersion.version, FETCHED).where(
        # SQLite uses no index for pairs, and would read the whole table.
        col(SecretVersion.secret_id).in_({secret_id for secret_id, _ in versions}),
        tuple_(col(SecretVersion.secret_id), col(SecretVersion.version)).in_(versions),
        SecretVersion.generation == rotation.pair.generation,
    )
    return [SealedItem(key, names[key], version, sealed) for key, version, sealed in session.exec(query)]


def _left_to_reseal(session: Session, rotation: Rotation, after: _Version | None) -> list[SealedItem]:
    """Return a batch of versions that are not sealed to the successor yet, in the order of their ids."""
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
    given = {(item.secret_id, item.version): (item.name, sealed) for item, sealed in resealed}
    if not given:
        return 0
    query = select_rows(*_ALL_BUT_SEALED, col(Secret.name).label(_NAME)).where(
        col(SecretVersion.secret_id).in_({secret_id for secret_id, _ in given}),
        col(SecretVersion.secret_id) == Secret.id,
        col(Secret.environment_id) == environment.id,
        col(SecretVersion.generation).in_((rotation.pair.generation, rotation.successor.generation)),
    )
    rows = [dict(row) for row in session.execute(query).mappings()]
    generation = rotation.successor.generation
    there = {(row["secret_id"], row["version"]) for row in rows if row["generation"] == generation}
    copies = []
    for row in rows:
        version, name = (row["secret_id"], row["version"]), row.pop(_NAME)
        # What was sealed for a name that the secret has no more would not open: the flip seals it for the one it has.
        if version in given and version not in there and given[version][0] == name:
            copies.append(row | {"generation": generation, "sealed": given[version][1]})
    if copies:
        session.execute(insert(SecretVersion), copies)
    return len(copies)


def _intact(rotation: Rotation, item: SealedItem, sealed: bytes | None) -> bytes:
    if sealed is None:
        raise SealBroken(project=rotation.place.project, environment=rotation.place.environment, name=item.name)
    return sealed
