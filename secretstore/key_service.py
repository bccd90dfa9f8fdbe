"""The interface of a key service, and what passes between one and its users."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Wraps(Protocol):
    """What making a key pair needs of a key service: no secret of a local key, and of AWS KMS `Encrypt` alone."""

    @property
    def id(self) -> str:
        """The service and its key, as `local:0123456789abcdef`."""

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Return the private key wrapped for this context."""


class KeyService(Wraps, Protocol):
    """Wraps and unwraps private keys; the context is authenticated, and must be the same both times."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return the private key, or raise a `SecretStoreError` that says why not."""

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: "KeyService") -> bytes:
        """Return the same private key wrapped by `under`, for the same context."""


@dataclass(frozen=True)
class KeyPlace:
    """Where a key pair belongs: ids decide, names make an IAM policy readable."""

    project: str
    project_id: str
    environment: str
    environment_id: str


@dataclass(frozen=True)
class WrappedKeyPair:
    """A key pair as it is stored: the public half readable, the private half wrapped."""

    public_key: bytes = field(repr=False)
    fingerprint: str
    generation: int
    key_service: str
    wrapped: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON, bytes in hexadecimal."""
        return vars(self) | {"public_key": self.public_key.hex(), "wrapped": self.wrapped.hex()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "WrappedKeyPair":
        """Read what `to_json` wrote."""
        raw = {name: bytes.fromhex(document[name]) for name in ("public_key", "wrapped")}
        return cls(**{**document, **raw})


@dataclass(frozen=True)
class Credentials:
    """AWS credentials at one moment."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KeyAccess:
    """What a process needs to reach a key service. It travels to one-shot processes as JSON."""

    keys: str
    """`StoreSettings.keys`."""

    timeout: float = 10.0
    """Seconds for a whole call of AWS KMS."""

    credentials: Credentials | None = field(default=None, repr=False)
    """AWS's; None if there are none, or none are needed."""

    network: Mapping[str, str] = field(default_factory=dict, repr=False)
    """A special way to AWS: `ca_bundle`, and proxies by scheme, whose URLs may hold a password."""

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "KeyAccess":
        """Read what `to_json` wrote."""
        credentials = document.get("credentials")
        return cls(**{**document, "credentials": credentials and Credentials(**credentials)})
