"""What a one-shot process is handed so that it can reach the key service; its own environment is empty."""

import os

from executor.keys.aws_credentials import CREDENTIAL_VARIABLES, aws_credentials, network
from executor.sandbox import kernel
from executor.settings import BROKER_URL, Settings
from secretstore.key_service import KeyAccess
from secretstore.settings import DATABASE_URL


def key_access(settings: Settings) -> KeyAccess:
    """What these settings give access to, as of this moment.

    With local keys alone that is their paths. With AWS KMS it is this process's credentials too, which the first call
    looks for, and waits for as long as KMS may take.

    Raises:
        LibraryMissing: AWS KMS is among the key services, and botocore is not installed.
    """
    store = settings.store
    if not store.uses_kms:
        return KeyAccess(store.keys)
    credentials = aws_credentials(store.kms_timeout).current
    return KeyAccess(store.keys, store.kms_timeout, credentials, network())


def empty_environment(settings: Settings) -> None:
    """Take AWS's credentials out of this process's environment, and its other passwords out of what /proc shows of it.

    Call it after `key_access`, which has found the credentials by then; they are renewed without an environment.
    """
    if settings.store.uses_kms:
        for name in CREDENTIAL_VARIABLES:
            os.environ.pop(name, None)
        kernel.blank_environment(CREDENTIAL_VARIABLES)
    # A team's own code may read these in its worker, so they stay for it.
    kernel.blank_environment((DATABASE_URL.name, BROKER_URL.name))
