"""Key services wrap the private keys of environments, and are the only ones that can unwrap them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from secretstore import sealing
from secretstore.errors import KeyServiceUnavailable, KeyServiceUnknown
from secretstore.local_keys import LocalKeys


class KeyService(Protocol):
    """Wraps and unwraps private keys; the context is authenticated, and must be the same both times."""

    @property
    def id(self) -> str:
        """Which key of which service, as in `local:0123456789abcdef`."""

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Returns the private key wrapped for this context."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Returns the private key, or raises a `SecretStoreError` that says why not."""

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: "KeyService") -> bytes:
        """Returns the same private key wrapped by `under`, for the same context."""


@dataclass(frozen=True)
class WrappedKeyPair:
    """A key pair as it is stored: the public half in the open, the private half wrapped."""

    public_key: bytes = field(repr=False)
    fingerprint: str
    generation: int
    key_service: str
    wrapped: bytes = field(repr=False)


def key_service(spec: str) -> KeyService:
    """Returns the key service a setting names.

    Args:
        spec: `local:PATH`, the path of a local key file.

    Raises:
        KeyServiceUnknown: When it names none; it is not quoted.
        KeyServiceUnavailable: When this version has not got that kind of service.
    """
    kind, _, place = spec.partition(":")
    if kind == "local" and place:
        return LocalKeys(Path(place))
    if kind == "aws-kms":
        raise KeyServiceUnavailable(kind=kind)
    raise KeyServiceUnknown


def generate_wrapped(service: KeyService, project_id: str, environment_id: str, generation: int) -> WrappedKeyPair:
    """Makes an environment's key pair and wraps its private half.

    The private key is plaintext in this process until it ends: call this in a one-shot, hardened one only.
    """
    private = sealing.generate_private_key()
    wrapped = service.wrap(private.to_bytes(), wrapping_context(project_id, environment_id, private.fingerprint))
    return WrappedKeyPair(
        public_key=private.public_key().to_bytes(),
        fingerprint=private.fingerprint,
        generation=generation,
        key_service=service.id,
        wrapped=wrapped,
    )


def wrapping_context(project_id: str, environment_id: str, fingerprint: str) -> dict[str, str]:
    """Returns what a wrapped key is bound to; with AWS KMS an IAM policy can test each of these."""
    return {
        "sealrun:project": project_id,
        "sealrun:environment": environment_id,
        "sealrun:fingerprint": fingerprint,
    }
