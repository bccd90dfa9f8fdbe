"""What a key service is, and what passes between one and whoever uses it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class KeyService(Protocol):
    """Wraps and unwraps private keys; the context is authenticated, and must be the same both times."""

    @property
    def id(self) -> str:
        """Which key of which service, as in `local:0123456789abcdef`."""

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Return the private key wrapped for this context."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return the private key, or raises a `SecretStoreError` that says why not."""

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: "KeyService") -> bytes:
        """Return the same private key wrapped by `under`, for the same context."""


@dataclass(frozen=True)
class KeyPlace:
    """Where a key pair belongs: ids decide, names are what an IAM policy is readable by."""

    project: str
    project_id: str
    environment: str
    environment_id: str


@dataclass(frozen=True)
class WrappedKeyPair:
    """A key pair as it is stored: the public half in the open, the private half wrapped."""

    public_key: bytes = field(repr=False)
    fingerprint: str
    generation: int
    key_service: str
    wrapped: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it, its bytes in hexadecimal."""
        return vars(self) | {"public_key": self.public_key.hex(), "wrapped": self.wrapped.hex()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "WrappedKeyPair":
        """Read what `to_json` wrote."""
        raw = {name: bytes.fromhex(document[name]) for name in ("public_key", "wrapped")}
        return cls(**{**document, **raw})


@dataclass(frozen=True)
class Credentials:
    """AWS credentials as they are at one moment."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KeyAccess:
    """What a process needs to reach a key service. It travels to one-shot processes as JSON."""

    keys: str
    """What `StoreSettings.keys` says."""

    timeout: float = 10.0
    """Seconds that a call of AWS KMS may take as a whole."""

    credentials: Credentials | None = field(default=None, repr=False)
    """AWS's, as they are at this moment; None where none were found, or none are needed."""

    network: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The way to AWS, if it is a special one: `ca_bundle`, and proxies by scheme, whose URLs may hold a password."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "KeyAccess":
        """Read what `to_json` wrote."""
        credentials = document.get("credentials")
        return cls(**{**document, "credentials": credentials and Credentials(**credentials)})
