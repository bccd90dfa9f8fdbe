"""What a one-shot process needs to reach the key service: it starts with an empty environment."""

import os
from pathlib import Path

from executor.keys.aws_credentials import CREDENTIAL_VARIABLES, aws_credentials, network
from executor.sandbox import kernel
from executor.settings import BROKER_URL, Settings
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess
from secretstore.local_keys import LocalKeys
from secretstore.settings import DATABASE_URL, KeySpec


def key_access(settings: Settings) -> KeyAccess:
    """Return what these settings give access to at this moment.

    That is the paths of local keys, and with AWS KMS this process's credentials, which the first call looks for and
    waits for as long as a call of KMS may take.

    Raises:
        LibraryMissing: AWS KMS is among the key services, but botocore is not installed.
    """
    store = settings.store
    if not store.uses_kms:
        return KeyAccess(store.keys)
    credentials = aws_credentials(store.kms_timeout).current
    return KeyAccess(store.keys, store.kms_timeout, credentials, network())


def key_services(settings: Settings) -> tuple[str, ...]:
    """Return the key services of these settings as they may be shown: `local:FINGERPRINT`, `aws-kms:KEY`."""
    return tuple(map(_shown, settings.store.key_specs))


def _shown(spec: KeySpec) -> str:
    if spec.kind != "local":
        return f"{spec.kind}:{spec.place}"
    try:
        return LocalKeys(Path(spec.place)).id
    except SealrunError:
        return "local:?"  # runs with secrets say what is wrong with it


def empty_environment(settings: Settings) -> None:
    """Remove AWS's credentials from this process's environment, and other passwords from the copy that /proc shows.

    Call it after `key_access`, which finds the credentials; renewing them takes no environment.
    """
    if settings.store.uses_kms:
        for name in CREDENTIAL_VARIABLES:
            os.environ.pop(name, None)
        kernel.blank_environment(CREDENTIAL_VARIABLES)
    # A team's own code in the worker may read these, so they stay in os.environ.
    kernel.blank_environment((DATABASE_URL.name, BROKER_URL.name))
