"""The key services of the settings: which one wraps or unwraps a private key, and moving keys between them."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from secretstore import sealing
from secretstore.aws_kms import AwsKms, is_alias, key_id, prepare
from secretstore.errors import KeyServiceMissing, SecretStoreError, WrapBroken
from secretstore.key_service import KeyAccess, KeyPlace, KeyService, WrappedKeyPair
from secretstore.local_keys import LocalKeys
from secretstore.settings import KeySpec, key_specs

_RECORDED = re.compile(r"(?:local|aws-kms):[A-Za-z0-9:/_-]{1,300}")


def key_service(access: KeyAccess, recorded: str | None = None) -> KeyService:
    """Return one of the key services of `access`.

    Args:
        recorded: the `key_service` of a wrapped key pair, for the service that unwraps it. Without it, the first
            service of the list, which wraps new keys.

    Raises:
        KeyServiceMissing: the list is invalid, which is not quoted, or none of it can have wrapped that pair.
    """
    specs = _specs(access)
    return _service(_opening(specs, recorded) if recorded is not None else specs[0], access)


def opens(access: KeyAccess, recorded: str) -> bool:
    """Whether one of the services may unwrap what `recorded` wrapped, as far as we know without calling it."""
    try:
        return any(fits(pattern, recorded) for pattern in offered(access))
    except KeyServiceMissing:
        return False


def offered(access: KeyAccess, unread: str | None = None) -> tuple[str, ...]:
    """Return patterns of the recorded services that these may be, as far as we know without calling any.

    A `*` stands for anything: the region and account of a KMS key, and which key an alias leads to.

    Args:
        access: the services.
        unread: the pattern for a key file that cannot be read at this moment; without it there is none.

    Raises:
        KeyServiceMissing: the list is invalid.
    """
    return tuple(dict.fromkeys(pattern for spec in _specs(access) for pattern in _patterns(spec, unread)))


def _patterns(spec: KeySpec, unread: str | None) -> Iterator[str]:
    if spec.kind == "aws-kms":
        key = key_id(spec.place)
        yield from ("aws-kms:*",) if is_alias(spec.place) else (f"aws-kms:*:key/{key}", f"aws-kms:{key}")
        return
    try:
        yield LocalKeys(Path(spec.place)).id
    except SecretStoreError:
        if unread is not None:
            yield unread


def fits(pattern: str, recorded: str) -> bool:
    """Whether a recorded service is one of a pattern."""
    head, star, tail = pattern.partition("*")
    if not star:
        return recorded == head
    return len(recorded) >= len(head + tail) and recorded.startswith(head) and recorded.endswith(tail)


def warm_up(access: KeyAccess) -> None:
    """Load all that a call of AWS KMS needs, so that the forks of this process share it; no connection is made.

    Raises:
        LibraryMissing, KmsError: botocore or its certificates cannot be loaded.
    """
    for spec in _specs(access):
        if spec.kind == "aws-kms":
            prepare(spec.region, spec.endpoint_url, access.network).rehearse()


def _specs(access: KeyAccess) -> tuple[KeySpec, ...]:
    try:
        return key_specs(access.keys)
    except (ValueError, TypeError):
        raise KeyServiceMissing(
            "SEALRUN_KEYS lists no valid key service", hint="give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"
        ) from None


def _service(spec: KeySpec, access: KeyAccess) -> "LocalKeys | AwsKms":
    if spec.kind == "local":
        return LocalKeys(Path(spec.place))
    return AwsKms(
        spec.place,
        region=spec.region,
        endpoint_url=spec.endpoint_url,
        credentials=access.credentials,
        timeout=access.timeout,
        network=access.network,
    )


def _opening(specs: tuple[KeySpec, ...], recorded: str) -> KeySpec:
    """Return the recorded service, or one of its kind that may be it.

    SEALRUN_KEYS names the key, not the row: whoever writes to the database cannot bring a key of their own.
    """
    kind, _, mark = recorded.partition(":")
    same = [spec for spec in specs if spec.kind == kind]
    if not same:
        known = recorded if _RECORDED.fullmatch(recorded) else "a key service of an unknown kind"
        raise KeyServiceMissing(recorded=known)
    if len(same) == 1:
        return same[0]
    exact = [spec for spec in same if _names(spec, recorded, mark)]
    aliases = [spec for spec in same if spec.kind == "aws-kms" and is_alias(spec.place)]
    return (exact or aliases or same)[0]


def _names(spec: KeySpec, recorded: str, mark: str) -> bool:
    if spec.kind == "aws-kms":
        return key_id(spec.place) == key_id(mark)
    try:
        return LocalKeys(Path(spec.place)).id == recorded
    except SecretStoreError:
        return False


def generate_wrapped(service: KeyService, place: KeyPlace, generation: int) -> WrappedKeyPair:
    """Make an environment's key pair and wraps its private half.

    The private key stays in this process as plaintext until it ends: call this only in a one-shot, hardened one.
    """
    private = sealing.generate_private_key()
    wrapped = service.wrap(private.to_bytes(), wrapping_context(place, private.fingerprint))
    return WrappedKeyPair(
        public_key=private.public_key().to_bytes(),
        fingerprint=private.fingerprint,
        generation=generation,
        key_service=service.id,
        wrapped=wrapped,
    )


def rewrap_pair(access: KeyAccess, place: KeyPlace, pair: WrappedKeyPair) -> WrappedKeyPair | None:
    """Return a key pair with its private half wrapped by the first key service, None if that has wrapped it.

    Between two KMS keys, KMS does it. Otherwise the private key stays in this process as plaintext until it ends: call
    this only in a one-shot, hardened one.

    Raises:
        KeyServiceMissing: none of the key services can have wrapped it.
        WrapBroken: it is not the private half of this pair.
        SecretStoreError: a key service cannot unwrap or wrap, and why.
    """
    if _names(_specs(access)[0], pair.key_service, pair.key_service.partition(":")[2]):
        return None
    old, new = key_service(access, pair.key_service), key_service(access)
    context = wrapping_context(place, pair.fingerprint)
    if isinstance(old, AwsKms) and isinstance(new, AwsKms):
        wrapped = old.rewrap(pair.wrapped, context, new)
    else:
        private = old.unwrap(pair.wrapped, context)
        if sealing.PrivateKey.from_bytes(private).fingerprint != pair.fingerprint:
            raise WrapBroken
        # The old wrapping is about to be replaced: make sure that the new one opens.
        wrapped = new.wrap(private, context)
        if isinstance(new, LocalKeys) and new.unwrap(wrapped, context) != private:
            raise WrapBroken
    # An alias may lead to the same key; KMS has told which one it is only now.
    return None if new.id == pair.key_service else replace(pair, key_service=new.id, wrapped=wrapped)


def wrapping_context(place: KeyPlace, fingerprint: str) -> dict[str, str]:
    """Return what a wrapped key is bound to; with AWS KMS an IAM policy can test each entry."""
    return {
        "sealrun:project": place.project,
        "sealrun:project-id": place.project_id,
        "sealrun:environment": place.environment,
        "sealrun:environment-id": place.environment_id,
        "sealrun:fingerprint": fingerprint,
    }
