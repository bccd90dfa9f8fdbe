"""Key pairs and local key files. Nothing here has room for a private key, wrapped or not."""

from executor.schemas.places import InEnvironment, Input, Output


class NewKeyFile(Input):
    """Where a local key file is to be; there must be no file yet."""

    path: str


class KeyFile(Output):
    """A local key file, its public file, and the id of the key."""

    path: str
    public_path: str
    id: str


class SigningKeyFile(Output):
    """The file of a server's signing key, and the key's public half, as workers name it in SEALRUN_SIGNERS."""

    path: str
    signer: str


class KeyRotation(InEnvironment):
    """An environment that gets a new key pair; with `drop_broken`, versions that do not open are left behind."""

    drop_broken: bool = False


class Rotated(Output):
    """What a rotation did."""

    generation: int
    fingerprint: str
    previous: str
    resealed: int
    left_behind: tuple[str, ...]
    """Names and versions that did not open, as in `API_KEY 3`."""

    discarded: str | None
    """The fingerprint that a pending key pair claimed which was there before."""

    previous_destroyed: bool = False
    """Whether the old private key is gone; else it is kept while runs may use it."""


class Rewrapping(Input):
    """Which private keys to wrap anew; those of all projects where none is named."""

    project: str | None = None
    environment: str | None = None


class RewrappedKey(Output):
    """A private key that was wrapped anew, from one key service to another."""

    project: str
    environment: str
    generation: int
    from_key_service: str
    to_key_service: str


class Rewrapped(Output):
    """The private keys that were wrapped anew, and of how many."""

    keys: tuple[RewrappedKey, ...]
    of: int


class KeyTrust(InEnvironment):
    """The fingerprint that a person has compared, in full or its first 16 digits or more."""

    fingerprint: str


class KnownKey(Output):
    """An environment's key pair as it is remembered."""

    generation: int
    fingerprint: str


class Trusted(Output):
    """The key pair that is remembered, and another one that was known before."""

    project: str
    environment: str
    now: KnownKey
    before: KnownKey | None = None
