"""Give an environment a new key pair and seal its values anew, while runs go on.

A process of its own opens the values and has no database; this one has the database and no value. A rotation that was
cut off has no effect: the next one starts with a new key pair and deletes what it left.
"""

from collections.abc import Callable, Collection, Sequence

from sqlmodel import Session, select

from executor.boundary.supervision import Zygote
from executor.errors import VersionsBroken
from executor.keys.resealing import NOBODY, ROTATED, Witness, resealing_process
from executor.models import Receipt, Run
from executor.schemas.keys import Rotated
from executor.settings import Settings
from secretstore import vault
from secretstore.bundle import SealedItem
from secretstore.database import Database
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.vault import Actor, KeyPairView

_NAMED = 5  # versions that do not open, in an error

Tell = Callable[[str, int], None]
"""Called at each step: `begun` with the new generation, `resealed` with the count so far, `flipping`, `flipped`."""


def rotate(
    settings: Settings,
    db: Database,
    project: str,
    environment: str,
    *,
    actor: Actor,
    pins: Pins,
    drop_broken: bool = False,
    tell: Tell = lambda step, count: None,
    zygote: Zygote | None = None,
    witness: Witness = NOBODY,
) -> Rotated:
    """Make an environment's next key pair, seal every kept version to it beside the old ones, and make it current.

    Runs get the old generation until the flip, the new one after it. Killed anywhere, it can be run again.

    Args:
        settings: where the key service is.
        pins: the key pairs this user remembers; the new one is added.
        drop_broken: leave versions behind that do not open, instead of giving up.
        tell: called with the progress.
        zygote: the worker's, which forks the process that opens; without it one is started.
        witness: told of what is opened.

    Raises:
        KeyChanged: the current key pair is not the one remembered.
        KeyOperationFailed: the key service does not unwrap or wrap, or the sealing process ended.
        VersionsBroken: some versions do not open; the old key pair stays current.
        RotationOvertaken: another rotation or a deletion came in between.
    """
    begun = vault.sealing_key(db, project, environment, pins=pins)
    with resealing_process(begun, ROTATED, witness, zygote) as process:
        rotation = process.rotate(settings)
        successor = rotation.successor
        discarded = vault.add_successor(db, rotation, actor=actor)
        tell("begun", successor.generation)
        # Most values are sealed anew here, while runs and writers go on; the flip is left with what they changed.
        broken: dict[tuple[str, int], str] = {}
        count = 0
        for items in vault.unresealed(db, rotation):
            witness.given(items)
            sealed = list(zip(items, process.reseal(items), strict=True))
            failed = [item for item, anew in sealed if anew is None]
            broken |= {(item.secret_id, item.version): f"{item.name} {item.version}" for item in failed}
            count += vault.add_resealed(db, rotation, [(item, anew) for item, anew in sealed if anew is not None])
            tell("resealed", count)
        names = sorted(broken.values())
        if names and not drop_broken:
            vault.discard_successor(db, rotation, actor=actor)
            listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            raise VersionsBroken(project=project, environment=environment, count=len(names), names=listed)
        tell("flipping", count)
        late: list[SealedItem] = []
        done: list[Rotated] = []

        def reseal(left: Sequence[SealedItem]) -> list[bytes | None]:
            late.extend(left)
            return process.reseal(left)

        def also(session: Session, carried: int) -> None:
            done.append(
                Rotated(
                    generation=successor.generation,
                    fingerprint=successor.fingerprint,
                    previous=begun.pair.fingerprint,
                    resealed=count + carried,
                    left_behind=tuple(names),
                    discarded=discarded,
                )
            )
            witness.given_late(session, late)
            witness.committing(session, done[-1])

        vault.flip(db, rotation, reseal, actor=actor, dropped=broken.keys(), also=also)
        tell("flipped", done[-1].resealed)
    # Outside the database's transaction: if this fails, the voucher still leads from the old pin to the new pair.
    successor = rotation.successor
    ids = begun.place.project_id, begun.place.environment_id
    pins.remember(project, environment, Pin(*ids, successor.generation, successor.fingerprint))
    return done[-1]


def destroy_unused(
    db: Database, actor: Actor, skipped: Callable[[str, Exception], None] = lambda place, problem: None
) -> list[KeyPairView]:
    """Destroy the private halves of past generations that no run in flight was given.

    `skipped` is called with an environment where this fails, and why; the others go on.
    """
    return vault.destroy_unused_keys(db, in_use, actor=actor, skipped=skipped)


def in_use(session: Session) -> Collection[tuple[str, int]]:
    """Return the generations that runs in flight were given, by their receipts: environment's id and number."""
    query = select(Receipt.environment_id, Receipt.generation).where(
        Run.state == "running", Receipt.run_id == Run.id, Receipt.attempt == Run.attempt
    )
    return set(session.exec(query.distinct()))
