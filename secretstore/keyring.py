"""The key services of the settings: what wraps a private key, and what each may open. Nothing here unwraps one."""

from collections.abc import Iterator
from pathlib import Path

from secretstore import sealing
from secretstore.aws_kms import AwsKms, is_alias, key_id, prepare
from secretstore.errors import KeyServiceMissing, PublicHalfOnly, SecretStoreError
from secretstore.key_service import KeyAccess, KeyPlace, WrappedKeyPair, Wraps
from secretstore.local_keys import LocalKeys
from secretstore.settings import KeySpec, key_specs


def wrapping(access: KeyAccess) -> Wraps:
    """Return the key service that wraps new keys: the first of the list.

    Raises:
        KeyServiceMissing: the list is invalid, which is not quoted.
    """
    return service(specs(access)[0], access)


def opens(access: KeyAccess, recorded: str) -> bool:
    """Whether one of the services may unwrap what `recorded` wrapped, as far as we know without calling it."""
    try:
        return any(fits(pattern, recorded) for pattern in offered(access))
    except KeyServiceMissing:
        return False


def lists(access: KeyAccess, recorded: str) -> bool:
    """Whether one of the services is the recorded one by its name or its public half, be it able to unwrap or not."""
    return any(names(spec, recorded) for spec in specs(access))


def offered(access: KeyAccess, unread: str | None = None) -> tuple[str, ...]:
    """Return patterns of the recorded services that these may be, as far as we know without calling any.

    A `*` stands for anything: the region and account of a KMS key, and which key an alias leads to.

    Args:
        access: the services.
        unread: the pattern for a key file that cannot be read at this moment; without it there is none.

    Raises:
        KeyServiceMissing: the list is invalid.
    """
    return tuple(dict.fromkeys(pattern for spec in specs(access) for pattern in _patterns(spec, unread)))


def _patterns(spec: KeySpec, unread: str | None) -> Iterator[str]:
    if spec.kind == "aws-kms":
        key = key_id(spec.place)
        yield from ("aws-kms:*",) if is_alias(spec.place) else (f"aws-kms:*:key/{key}", f"aws-kms:{key}")
        return
    try:
        yield LocalKeys(Path(spec.place)).opening_id
    except PublicHalfOnly:
        return
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
    for spec in specs(access):
        if spec.kind == "aws-kms":
            prepare(spec.region, spec.endpoint_url, access.network).rehearse()


def specs(access: KeyAccess) -> tuple[KeySpec, ...]:
    """Return the key services of `access`, in their order.

    Raises:
        KeyServiceMissing: the list is invalid, which is not quoted.
    """
    try:
        return key_specs(access.keys)
    except (ValueError, TypeError):
        raise KeyServiceMissing(
            "SEALRUN_KEYS lists no valid key service", hint="give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"
        ) from None


def service(spec: KeySpec, access: KeyAccess) -> "LocalKeys | AwsKms":
    """Return one of them; nothing is read or called yet."""
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


def names(spec: KeySpec, recorded: str) -> bool:
    """Whether this service wraps what is recorded as `recorded`."""
    if spec.kind == "aws-kms":
        return key_id(spec.place) == key_id(recorded.partition(":")[2])
    try:
        return LocalKeys(Path(spec.place)).id == recorded
    except SecretStoreError:
        return False


def generate_wrapped(service: Wraps, place: KeyPlace, generation: int) -> WrappedKeyPair:
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


def wrapping_context(place: KeyPlace, fingerprint: str) -> dict[str, str]:
    """Return what a wrapped key is bound to; with AWS KMS an IAM policy can test each entry."""
    return {
        "sealrun:project": place.project,
        "sealrun:project-id": place.project_id,
        "sealrun:environment": place.environment,
        "sealrun:environment-id": place.environment_id,
        "sealrun:fingerprint": fingerprint,
    }
