"""Wrap private keys anew with the first key service, where another one has wrapped them; each counts for itself."""

from collections.abc import Callable, Sequence
from functools import partial

from executor.keys.creation import rewrapped
from executor.keys.resealing import NOBODY, Witness
from executor.schemas.keys import Rewrapped, RewrappedKey
from executor.settings import Settings
from secretstore import vault
from secretstore.database import Database
from secretstore.vault import Actor, PlacedKey

_NOT_NEEDED = "the first key service has wrapped it already"


def rewrap(
    settings: Settings,
    db: Database,
    keys: Sequence[PlacedKey],
    *,
    actor: Actor,
    before: Sequence[RewrappedKey] = (),
    tell: Callable[[RewrappedKey], None] = lambda key: None,
    witness: Witness = NOBODY,
) -> Rewrapped:
    """Wrap these private keys anew. Killed anywhere, it can be run again: what is done stays, and is not done twice.

    Args:
        settings: where the key services are.
        keys: which ones.
        actor: who asks.
        before: those that an earlier try has done.
        tell: is told of each key as it is done: of those before a failure nothing else is heard.
        witness: told of what is opened.

    Raises:
        KeyOperationFailed: a key could not be wrapped anew; all that can be are, before.
    """
    done = list(before)
    left = {key.pair.generation: key for key in keys}
    for key in keys:
        witness.opening(key)
    try:
        for key, pair in rewrapped(settings, keys):
            witness.opened(left.pop(key.pair.generation, key))
            one = RewrappedKey(
                project=key.place.project,
                environment=key.place.environment,
                generation=pair.generation,
                from_key_service=key.pair.key_service,
                to_key_service=pair.key_service,
            )
            so_far = Rewrapped(keys=(*done, one), of=len(keys))
            if vault.replace_wrapping(
                db,
                key,
                pair.key_service,
                pair.wrapped,
                actor=actor,
                also=partial(witness.committing, done=so_far),
            ):
                done.append(one)
                tell(one)
        for key in left.values():
            witness.not_opened(key, _NOT_NEEDED)
    finally:
        witness.dropped()  # the processes had ended before each answer was read
        if len(done) > len(before):
            db.wipe()
    return Rewrapped(keys=tuple(done), of=len(keys))
