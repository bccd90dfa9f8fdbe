"""THE ONLY WAY OUT: the one module that turns sealed values into plaintext.

It is imported by the executor's opener, a process that hands the values over and exits, and by nothing else.
It imports the standard library and `cryptography` only, so that the opener stays small.
"""

from collections.abc import Iterator

from secretstore.bundle import SealedBundle, SealedItem
from secretstore.errors import DoesNotOpen, SealBroken
from secretstore.keyring import KeyService, wrapping_context
from secretstore.sealing import Binding, PrivateKey, open_


def reveal(service: KeyService, bundle: SealedBundle) -> Iterator[tuple[SealedItem, bytes]]:
    """Opens every item of a bundle, in its order: one unwrap for all of them, and none for an empty bundle.

    Raises:
        SealBroken: When a value was altered, moved or swapped; it names project, environment and secret.
        SecretStoreError: When the key service cannot unwrap the private key, and why.
    """
    if not bundle.items:
        return
    context = wrapping_context(bundle.project_id, bundle.environment_id, bundle.fingerprint)
    private = PrivateKey.from_bytes(service.unwrap(bundle.wrapped, context))
    for item in bundle.items:
        yield item, _open(private, bundle, item)


def _open(private: PrivateKey, bundle: SealedBundle, item: SealedItem) -> bytes:
    binding = Binding(bundle.project_id, bundle.environment_id, item.secret_id, item.name, item.version)
    try:
        return open_(private, item.sealed, binding)
    except DoesNotOpen:
        raise SealBroken(project=bundle.project, environment=bundle.environment, name=item.name) from None
