"""The process that opens values and seals each anew: it has the private key and no database, and we the reverse.

And what is told of such an act while it goes on: by hand nobody is told, a job keeps a receipt.
"""

import contextlib
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlmodel import Session

from executor.boundary.supervision import Resealing, Zygote
from executor.boundary.wire import Kind, Receiver, WireBroken, send
from executor.errors import KeyOperationFailed, PlanRefused
from executor.keys.access import key_access
from executor.settings import Settings
from secretstore import vault
from secretstore.bundle import SealedItem, items_to_json
from secretstore.errors import of_key_service
from secretstore.key_service import WrappedKeyPair
from secretstore.vault import PlacedKey

_LOST = "the sealing process ended, or did not answer"
_PATIENCE = 180.0  # seconds for a key service to unwrap and wrap; a call of AWS KMS may take 60
_ENDING = 20.0  # seconds for the process to end once it is told to
ROTATED = "the key pair of {project}/{environment} was not rotated: {why}"
RENAMED = "the secret of {project}/{environment} was not renamed: {why}"


class Witness:
    """Told of what is opened, before it is, and in the transaction that makes it count. This one keeps nothing."""

    @property
    def plan(self) -> Mapping[str, Any]:
        """What the process that opens is told of who has accepted the act: see `plans.check_resealing`."""
        return {}

    def opening(self, key: PlacedKey) -> None:
        """A private key is about to be unwrapped."""

    def opened(self, key: PlacedKey) -> None:
        """It was."""

    def not_opened(self, key: PlacedKey, why: str) -> None:
        """It was not."""

    def given(self, items: Sequence[SealedItem]) -> None:
        """These versions are about to be opened."""

    def given_late(self, session: Session, items: Sequence[SealedItem]) -> None:
        """These were opened in this transaction, as they had been set meanwhile."""

    def committing(self, session: Session, done: Any) -> None:
        """The act is done if this transaction is committed.

        Raises:
            StaleToken: somebody else has taken the act over; nothing is to be committed.
        """

    def dropped(self) -> None:
        """The process that held the private key has ended."""


NOBODY = Witness()


class ResealingProcess:
    """The process that holds an environment's private key, behind its channel: only ciphertext comes back."""

    def __init__(self, resealing: Resealing, key: PlacedKey, failure: str, witness: Witness) -> None:
        self._resealing = resealing
        self._channel = resealing.channel
        self._answers = Receiver(resealing.channel)
        self._key = key
        self._failure = failure
        self._witness = witness

    def rotate(self, settings: Settings) -> vault.Rotation:
        """Let it unwrap the pair and make its successor.

        Raises:
            KeyOperationFailed: it cannot, and why.
        """
        answer = self._begin(Kind.ROTATE, settings, Kind.SUCCESSOR)
        successor, voucher = WrappedKeyPair.from_json(answer["pair"]), bytes.fromhex(answer["voucher"])
        return vault.Rotation(self._key.place, self._key.pair, successor, voucher)

    def rename(self, settings: Settings, name: str) -> None:
        """Let it unwrap the pair, to seal values for another name.

        Raises:
            KeyOperationFailed: it cannot, and why.
        """
        self._begin(Kind.RENAME, settings, Kind.OPENED, name=name)

    def reseal(self, items: Sequence[SealedItem]) -> list[bytes | None]:
        """Let it seal values anew; None for one that does not open."""
        if not items:
            return []
        answer = self._ask(Kind.RESEAL, items_to_json(items), Kind.RESEALED).json()
        return [b64decode(one) if one is not None else None for one in answer["sealed"]]

    def _begin(self, kind: Kind, settings: Settings, wanted: Kind, **more: str) -> Any:
        place, pair = self._key.place, self._key.pair
        self._witness.opening(self._key)
        request = {"access": key_access(settings).to_json(), "place": asdict(place), "pair": pair.to_json(), **more}
        request["plan"] = dict(self._witness.plan)
        try:
            frame = self._ask(kind, request, wanted)
        except KeyOperationFailed as error:
            if error.names["why"] is not _LOST:
                self._witness.not_opened(self._key, str(error))
            raise
        except PlanRefused as error:
            self._witness.not_opened(self._key, str(error))
            raise
        self._witness.opened(self._key)
        return frame.json() if frame.payload else {}

    def _ask(self, kind: Kind, document: Any, wanted: Kind) -> Any:
        try:
            send(self._channel, kind, document)
            frame = self._answers.receive(_PATIENCE)
        except (OSError, WireBroken):  # OSError includes a time-out
            frame = None
        if frame is not None and frame.kind is wanted:
            return frame
        said = frame.json() if frame is not None and frame.kind is Kind.NOT_OPENED else {}
        if said.get("error") == PlanRefused.code:
            raise PlanRefused("{said}", said=said["message"])
        elsewhere = said.get("unopened") and of_key_service(said["error"])
        raise KeyOperationFailed(
            self._failure,
            project=self._key.place.project,
            environment=self._key.place.environment,
            why=said.get("message", _LOST),
            lost=not said,
            hint=said.get("hint"),
            unopened=said["error"] if elsewhere else None,
        )

    def end(self) -> None:
        """Let it end, and tell the witness once it has."""
        if self._resealing.end(_ENDING):
            self._witness.dropped()


@contextlib.contextmanager
def resealing_process(
    key: PlacedKey, failure: str, witness: Witness, zygote: Zygote | None = None
) -> Iterator[ResealingProcess]:
    """A process for one act, which has ended when the context has.

    Args:
        key: the key pair that it is to unwrap.
        failure: the sentence for what goes wrong.
        witness: what is told.
        zygote: the worker's, to fork it; without one, one is started for it.

    Raises:
        ZygoteFailed: it could not be started.
    """
    with contextlib.ExitStack() as ending:
        if zygote is None:
            zygote = Zygote()
            zygote.start()
            ending.callback(zygote.stop)
        process = ResealingProcess(ending.enter_context(zygote.resealer()), key, failure, witness)
        ending.callback(process.end)
        yield process
