"""What unwraps private keys, to open what is sealed or to move a key to another key service.

Only processes that may hold a private key import it: the opener, and the one-shot process that wraps keys anew.
"""

import re
from dataclasses import replace

from secretstore import sealing
from secretstore.aws_kms import AwsKms, is_alias
from secretstore.errors import KeyServiceMissing, WrapBroken
from secretstore.key_service import KeyAccess, KeyPlace, KeyService, WrappedKeyPair, Wraps
from secretstore.keyring import names, service, specs, wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.settings import KeySpec

_RECORDED = re.compile(r"(?:local|aws-kms):[A-Za-z0-9:/_-]{1,300}")


def unwrapping(access: KeyAccess, recorded: str) -> KeyService:
    """Return the one of the key services of `access` that unwraps what `recorded` wrapped.

    Raises:
        KeyServiceMissing: the list is invalid, which is not quoted, or none of it can have wrapped that pair.
    """
    return service(_opening(specs(access), recorded), access)


def _opening(specs: tuple[KeySpec, ...], recorded: str) -> KeySpec:
    """Return the recorded service, or one of its kind that may be it.

    SEALRUN_KEYS names the key, not the row: whoever writes to the database cannot bring a key of their own.
    """
    kind = recorded.partition(":")[0]
    same = [spec for spec in specs if spec.kind == kind]
    if not same:
        known = recorded if _RECORDED.fullmatch(recorded) else "a key service of an unknown kind"
        raise KeyServiceMissing(recorded=known)
    if len(same) == 1:
        return same[0]
    exact = [spec for spec in same if names(spec, recorded)]
    aliases = [spec for spec in same if spec.kind == "aws-kms" and is_alias(spec.place)]
    return (exact or aliases or same)[0]


def check_wrapping(by: Wraps, place: KeyPlace, pair: WrappedKeyPair) -> None:
    """Unwrap a pair that was just wrapped, where this process can: before what it replaces is given up.

    It cannot with a public file alone, and asks no key of AWS KMS: that would take `Decrypt`.

    Raises:
        WrapBroken: another private half comes out.
        SecretStoreError: it does not unwrap, and why. A public file may be another key's than the key file beside it.
    """
    if isinstance(by, LocalKeys) and by.may_unwrap:
        private = by.unwrap(pair.wrapped, wrapping_context(place, pair.fingerprint))
        if sealing.PrivateKey.from_bytes(private).fingerprint != pair.fingerprint:
            raise WrapBroken


def rewrap_pair(access: KeyAccess, place: KeyPlace, pair: WrappedKeyPair) -> WrappedKeyPair | None:
    """Return a key pair with its private half wrapped by the first key service, None if that has wrapped it.

    Between two KMS keys, KMS does it. Otherwise the private key stays in this process as plaintext until it ends: call
    this only in a one-shot, hardened one.

    Raises:
        KeyServiceMissing: none of the key services can have wrapped it.
        WrapBroken: it is not the private half of this pair.
        SecretStoreError: a key service cannot unwrap or wrap, and why.
    """
    if names(specs(access)[0], pair.key_service):
        return None
    old, new = unwrapping(access, pair.key_service), service(specs(access)[0], access)
    context = wrapping_context(place, pair.fingerprint)
    if isinstance(old, AwsKms) and isinstance(new, AwsKms):
        wrapped = old.rewrap(pair.wrapped, context, new)
    else:
        private = old.unwrap(pair.wrapped, context)
        if sealing.PrivateKey.from_bytes(private).fingerprint != pair.fingerprint:
            raise WrapBroken
        wrapped = new.wrap(private, context)
        check_wrapping(new, place, replace(pair, wrapped=wrapped))
    # An alias may lead to the same key; KMS has told which one it is only now.
    return None if new.id == pair.key_service else replace(pair, key_service=new.id, wrapped=wrapped)
