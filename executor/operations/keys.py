"""Key pairs: listed, rotated, wrapped anew, trusted; and local key files. Nothing here shows a private key."""

from collections.abc import Callable, Sequence
from pathlib import Path

from executor.jobs import claims, reading
from executor.keys import rewrapping, rotation, signing
from executor.operations.deployment import Deployment
from executor.schemas.jobs import JobView
from executor.schemas.keys import (
    KeyFile,
    KeyRotation,
    KeyTrust,
    KnownKey,
    NewKeyFile,
    Rewrapped,
    RewrappedKey,
    Rewrapping,
    Rotated,
    SigningKeyFile,
    Trusted,
)
from executor.schemas.places import InEnvironment, InProject
from secretstore import vault
from secretstore.audit import Actor
from secretstore.key_files import create_local_key
from secretstore.local_keys import LocalKeys
from secretstore.pin import Pin
from secretstore.succession import Succession
from secretstore.views import KeyPairView


def list_(at: Deployment, who: Actor, asked: InProject) -> Sequence[KeyPairView]:
    """The key pairs of an environment, or of all of a project's, by environment and generation.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.list_keys(at.db, asked.project, asked.environment)


def succession(at: Deployment, who: Actor, asked: InEnvironment) -> Succession:
    """All generations of an environment's key pair up to the current one: who seals checks for themselves.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.key_succession(at.db, asked.project, asked.environment)


def create_file(asked: NewKeyFile) -> KeyFile:
    """Make a local key: a key file that unwraps, and its public file that wraps alone. Settings name it afterwards.

    Raises:
        AlreadyExists: there is one of the two.
        KeyFileUnusable: it cannot be written.
    """
    path = Path(asked.path).absolute()
    create_local_key(path)
    keys = LocalKeys(path)
    return KeyFile(path=str(path), public_path=str(keys.public_path), id=keys.id)


def create_signing_key(asked: NewKeyFile) -> SigningKeyFile:
    """Make a server's signing key. No deployment is touched: settings name it afterwards.

    Raises:
        AlreadyExists: there is a file.
        KeyFileUnusable: it cannot be written.
    """
    path = Path(asked.path).absolute()
    return SigningKeyFile(path=str(path), signer=str(signing.create_signing_key(path)))


def rotate(at: Deployment, who: Actor, asked: KeyRotation) -> Rotated:
    """Give an environment a new key pair and seal all versions of its secrets to it, while runs go on.

    The old private key is destroyed, unless runs in flight were given it.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
        KeyChanged: the current key pair is not the one known to who asks.
        KeyOperationFailed: the key service does not unwrap or wrap.
        VersionsBroken: some versions do not open; the old key pair stays current.
        RotationOvertaken: another rotation or a deletion came in between.
    """
    place = asked.project, asked.environment
    done = rotation.rotate(at.settings, at.db, *place, actor=who, pins=at.pins, drop_broken=asked.drop_broken)
    destroyed = rotation.destroy_unused(at.db, who)
    return done.model_copy(
        update={"previous_destroyed": any((pair.project, pair.environment) == place for pair in destroyed)}
    )


def rewrap(
    at: Deployment, who: Actor, asked: Rewrapping, tell: Callable[[RewrappedKey], None] = lambda key: None
) -> Rewrapped:
    """Wrap private keys anew with the first key service, where another one has wrapped them.

    Args:
        at: the deployment.
        who: who asks.
        asked: which keys.
        tell: is told of each key as it is done: of those before a failure nothing else is heard.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
        KeyOperationFailed: a key could not be wrapped anew; all that can be are, before.
    """
    keys = vault.keys_to_rewrap(at.db, asked.project, asked.environment)
    return rewrapping.rewrap(at.settings, at.db, keys, actor=who, tell=tell)


def submit_rotation(at: Deployment, who: Actor, asked: KeyRotation) -> JobView:
    """Have a worker do what `rotate` does: its id and state, and what it waits for if no live worker could do it.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    environment = vault.get_environment(at.db, asked.project, asked.environment)
    job = claims.submit(at.db, "rotate", environment, {"drop_broken": asked.drop_broken}, actor=who, key=at.signing_key)
    return reading.show(at.db, asked.project, job)


def submit_rewrap(at: Deployment, who: Actor, asked: InProject) -> Sequence[JobView]:
    """Have workers do what `rewrap` does, to the first of the key services that they have: a job for each environment.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    named = [one.name for one in vault.list_environments(at.db, asked.project)]
    found = [
        vault.get_environment(at.db, asked.project, name)
        for name in (named if asked.environment is None else [asked.environment])
    ]
    jobs = [claims.submit(at.db, "rewrap", environment, {}, actor=who, key=at.signing_key) for environment in found]
    return [reading.show(at.db, asked.project, job) for job in jobs]


def trust(at: Deployment, who: Actor, asked: KeyTrust) -> Trusted:
    """Remember an environment's key pair, whose fingerprint a person has compared.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
        FingerprintWrong: it is another key pair's, or too short.
        KeyChanged: the current key pair cannot be read.
    """
    before = at.pins.known(asked.project, asked.environment)
    now = vault.trust_key(at.db, asked.project, asked.environment, asked.fingerprint, pins=at.pins)
    changed = _known(before) if before is not None and before != now else None
    return Trusted(project=asked.project, environment=asked.environment, now=_known(now), before=changed)


def _known(pin: Pin) -> KnownKey:
    return KnownKey(generation=pin.generation, fingerprint=pin.fingerprint)
