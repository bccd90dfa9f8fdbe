"""THE ONLY WAY OUT: the one module that turns sealed values into plaintext.

Only the executor's opener imports it, a process that hands the values over and exits. It imports only the standard
library and `cryptography`, so that the opener stays small.
"""

from collections.abc import Iterable, Iterator

from secretstore.bundle import SealedBundle, SealedItem
from secretstore.errors import DoesNotOpen, SealBroken, WrapBroken
from secretstore.key_service import KeyPlace, KeyService, WrappedKeyPair, Wraps
from secretstore.keyring import generate_wrapped, wrapping_context
from secretstore.sealing import Binding, PrivateKey, PublicKey, open_, seal, succession
from secretstore.unwrapping import check_wrapping


def reveal(service: KeyService, bundle: SealedBundle) -> Iterator[tuple[SealedItem, bytes]]:
    """Open every item of a bundle, in its order: one unwrap for all of them, and none for an empty bundle.

    Raises:
        SealBroken: a value was altered, moved or swapped.
        WrapBroken: the private half does not have the bundle's fingerprint, which the receipt records.
        SecretStoreError: the key service cannot unwrap the private key.
    """
    if not bundle.items:
        return
    context = wrapping_context(bundle.place, bundle.fingerprint)
    private = PrivateKey.from_bytes(service.unwrap(bundle.wrapped, context))
    if private.fingerprint != bundle.fingerprint:
        raise WrapBroken
    for item in bundle.items:
        yield item, _open(private, bundle, item)


class Resealer:
    """Seals to a new key pair, made here, what is sealed to the old one.

    The successor never comes from outside: whoever can write to the database could have put their own pair there.
    """

    def __init__(self, old: KeyService, new: Wraps, place: KeyPlace, pair: WrappedKeyPair) -> None:
        """Unwrap the pair's private half, make its successor and have the pair vouch for it.

        Args:
            old: the key service that unwraps the pair.
            new: the key service that wraps the successor.
            pair: the pair to replace.

        Raises:
            WrapBroken: the private half does not have the pair's fingerprint.
            SecretStoreError: a key service cannot unwrap or wrap.
        """
        self._private = _unwrapped(old, place, pair)
        self._place = place
        self.successor = generate_wrapped(new, place, pair.generation + 1)
        check_wrapping(new, place, self.successor)
        self._public = PublicKey.from_bytes(self.successor.public_key)
        self.voucher = self._private.vouch(
            succession(
                place.project_id,
                place.environment_id,
                pair.generation,
                pair.fingerprint,
                self.successor.generation,
                self.successor.fingerprint,
            )
        )

    def reseal(self, items: Iterable[SealedItem]) -> Iterator[bytes | None]:
        """Yield each item, sealed anew for its own place, name and version; None for one that does not open."""
        for item in items:
            binding = Binding(
                self._place.project_id, self._place.environment_id, item.secret_id, item.name, item.version
            )
            try:
                value = open_(self._private, item.sealed, binding)
            except DoesNotOpen:
                yield None
            else:
                yield seal(self._public, self.successor.generation, value, binding)


class Renamer:
    """Seals to the same key pair, for another name, what is sealed for one."""

    def __init__(self, service: KeyService, place: KeyPlace, pair: WrappedKeyPair, name: str) -> None:
        """Unwrap the pair's private half, which gives the public one, too.

        Args:
            service: the key service that unwraps the pair.
            place: where it belongs.
            pair: the pair.
            name: the new name.

        Raises:
            WrapBroken: the private half does not have the pair's fingerprint.
            SecretStoreError: the key service cannot unwrap.
        """
        self._private = _unwrapped(service, place, pair)
        self._place, self._generation, self._name = place, pair.generation, name

    def reseal(self, items: Iterable[SealedItem]) -> Iterator[bytes | None]:
        """Yield each item, sealed anew for the new name; None for one that does not open."""
        for item in items:
            of_environment = (self._place.project_id, self._place.environment_id, item.secret_id)
            try:
                value = open_(self._private, item.sealed, Binding(*of_environment, item.name, item.version))
            except DoesNotOpen:
                yield None
            else:
                renamed = Binding(*of_environment, self._name, item.version)
                yield seal(self._private.public_key(), self._generation, value, renamed)


def _unwrapped(service: KeyService, place: KeyPlace, pair: WrappedKeyPair) -> PrivateKey:
    private = PrivateKey.from_bytes(service.unwrap(pair.wrapped, wrapping_context(place, pair.fingerprint)))
    if private.fingerprint != pair.fingerprint:
        raise WrapBroken
    return private


def _open(private: PrivateKey, bundle: SealedBundle, item: SealedItem) -> bytes:
    binding = Binding(bundle.project_id, bundle.environment_id, item.secret_id, item.name, item.version)
    try:
        return open_(private, item.sealed, binding)
    except DoesNotOpen:
        raise SealBroken(project=bundle.project, environment=bundle.environment, name=item.name) from None
