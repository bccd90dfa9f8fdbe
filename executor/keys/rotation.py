"""Give an environment a new key pair and seal its values anew, while runs go on.

A process of its own opens the values and has no database; this one has the database and no value. A rotation that was
cut off has no effect: the next one starts with a new key pair and deletes what it left.
"""

import contextlib
import socket
from base64 import b64decode
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any

from sqlmodel import Session, select

from executor.boundary.supervision import Zygote
from executor.boundary.wire import Kind, Receiver, WireBroken, send
from executor.errors import KeyOperationFailed, VersionsBroken
from executor.keys.access import key_access
from executor.models import Receipt, Run
from executor.schemas.keys import Rotated
from executor.settings import Settings
from secretstore import vault
from secretstore.bundle import SealedItem, items_to_json
from secretstore.database import Database
from secretstore.key_service import WrappedKeyPair
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.vault import Actor, KeyPairView, PlacedKey

_PATIENCE = 180.0  # seconds for a key service to unwrap and wrap; a call of AWS KMS may take 60
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
) -> Rotated:
    """Make an environment's next key pair, seal every kept version to it beside the old ones, and make it current.

    Runs get the old generation until the flip, the new one after it. Killed anywhere, it can be run again.

    Args:
        settings: where the key service is.
        pins: the key pairs this user remembers; the new one is added.
        drop_broken: leave versions behind that do not open, instead of giving up.
        tell: called with the progress.

    Raises:
        KeyChanged: the current key pair is not the one remembered.
        KeyOperationFailed: the key service does not unwrap or wrap, or the sealing process ended.
        VersionsBroken: some versions do not open; the old key pair stays current.
        RotationOvertaken: another rotation or a deletion came in between.
    """
    begun = vault.sealing_key(db, project, environment, pins=pins)
    with _zygote() as zygote, zygote.resealer() as channel:
        process = _Process(channel, begun)
        rotation = process.begin(settings)
        discarded = vault.add_successor(db, rotation, actor=actor)
        tell("begun", rotation.successor.generation)
        # Most values are sealed anew here, while runs and writers go on; the flip is left with what they changed.
        broken: dict[tuple[str, int], str] = {}
        count = 0
        for items in vault.unresealed(db, rotation):
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
        count += vault.flip(db, rotation, process.reseal, actor=actor, dropped=broken.keys())
        tell("flipped", count)
    # Outside the database's transaction: if this fails, the voucher still leads from the old pin to the new pair.
    successor = rotation.successor
    ids = begun.place.project_id, begun.place.environment_id
    pins.remember(project, environment, Pin(*ids, successor.generation, successor.fingerprint))
    return Rotated(
        generation=successor.generation,
        fingerprint=successor.fingerprint,
        previous=begun.pair.fingerprint,
        resealed=count,
        left_behind=tuple(names),
        discarded=discarded,
    )


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


@contextlib.contextmanager
def _zygote() -> Any:
    zygote = Zygote()
    zygote.start()
    try:
        yield zygote
    finally:
        zygote.stop()


class _Process:
    """The process that holds the old private key, behind its channel: only ciphertext comes back."""

    def __init__(self, channel: socket.socket, begun: PlacedKey) -> None:
        self._channel = channel
        self._answers = Receiver(channel)
        self._begun = begun

    def begin(self, settings: Settings) -> vault.Rotation:
        """Let it make the successor."""
        place, pair = self._begun.place, self._begun.pair
        request = {"access": key_access(settings).to_json(), "place": asdict(place), "pair": pair.to_json()}
        answer = self._ask(Kind.ROTATE, request, Kind.SUCCESSOR)
        successor, voucher = WrappedKeyPair.from_json(answer["pair"]), bytes.fromhex(answer["voucher"])
        return vault.Rotation(place, pair, successor, voucher)

    def reseal(self, items: Sequence[SealedItem]) -> list[bytes | None]:
        """Let it seal values anew; None for one that does not open."""
        if not items:
            return []
        answer = self._ask(Kind.RESEAL, items_to_json(items), Kind.RESEALED)
        return [b64decode(one) if one is not None else None for one in answer["sealed"]]

    def _ask(self, kind: Kind, document: Any, wanted: Kind) -> Any:
        try:
            send(self._channel, kind, document)
            frame = self._answers.receive(_PATIENCE)
        except (OSError, WireBroken):  # OSError includes a time-out
            frame = None
        if frame is not None and frame.kind is wanted:
            return frame.json()
        said = frame.json() if frame is not None and frame.kind is Kind.NOT_OPENED else {}
        why = said.get("message", "the sealing process ended, or did not answer")
        raise KeyOperationFailed(
            "the key pair of {project}/{environment} was not rotated: {why}",
            project=self._begun.place.project,
            environment=self._begun.place.environment,
            why=why,
            hint=said.get("hint"),
        )
