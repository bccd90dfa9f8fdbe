"""AWS credentials, for a process that has an environment: found by botocore's chain once, and renewed in time.

The one-shot processes that call AWS KMS are handed what is current. They never walk the chain themselves, and the
process that did can then take the credentials out of its environment.
"""

import functools
import logging
import os
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies_environment

from secretstore.errors import LibraryMissing
from secretstore.key_service import Credentials

logger = logging.getLogger("sealrun")

CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
)
"""What is itself a credential; the other variables of AWS say where one is."""


class AwsCredentials:
    """The credentials of this process."""

    def __init__(self, patience: float, renewal: float = 30.0) -> None:
        """Begin to look for them.

        Args:
            patience: seconds after which `current` no longer waits for a chain that is slow. To import botocore takes
                a busy machine longer than some of them, and is not counted.
            renewal: seconds between two looks at credentials that end; botocore renews them some 15 minutes before.

        Raises:
            LibraryMissing: botocore is not installed.
        """
        if find_spec("botocore") is None:
            raise LibraryMissing("AWS KMS needs botocore, which is not installed", hint="pip install 'sealrun[aws]'")
        self._environ = dict(os.environ)
        self._renewal = renewal
        self._patience, self._until = patience, 0.0
        self._asked = threading.Event()
        self._looked = threading.Event()
        self._current: Credentials | None = None
        self._provider: str | None = None
        # A chain may end at a server that does not answer, and a renewal too: nobody else waits for it.
        threading.Thread(target=self._keep, name="sealrun-aws", daemon=True).start()

    @property
    def current(self) -> Credentials | None:
        """As they are now; None where none were found."""
        self._wait()
        return self._current

    @property
    def provider(self) -> str | None:
        """The name of the link of the chain that had them, as botocore calls it."""
        self._wait()
        return self._provider

    def _wait(self) -> None:
        self._asked.wait()
        self._looked.wait(max(self._until - time.monotonic(), 0))

    def _keep(self) -> None:
        found: Any = None
        while True:
            try:
                found = found or self._session().get_credentials()
                if found is not None:
                    frozen = found.get_frozen_credentials()
                    self._current = Credentials(frozen.access_key, frozen.secret_key, frozen.token)
                    self._provider = found.method
            except Exception as error:  # noqa: BLE001  # each link has errors of its own, whose text may quote anything
                logger.warning("AWS credentials could not be had: %s", type(error).__name__)
            self._asked.set()
            self._looked.set()
            if found is not None and not hasattr(found, "refresh_needed"):
                return
            time.sleep(self._renewal)

    def _session(self) -> Any:
        session = _chain(self._environ)
        if not self._asked.is_set():
            self._until = time.monotonic() + self._patience
            self._asked.set()
        return session


@functools.cache
def aws_credentials(patience: float) -> AwsCredentials:
    """The credentials of this process, which are looked for at the first call.

    Raises:
        LibraryMissing: botocore is not installed.
    """
    return AwsCredentials(patience)


def network() -> dict[str, str]:
    """The way from this process to AWS, if it is a special one; see `secretstore.key_service.KeyAccess`."""
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    proxies = {scheme: url for scheme, url in getproxies_environment().items() if scheme in ("http", "https", "no")}
    return {**proxies, **({"ca_bundle": bundle} if bundle else {})}


def _chain(environ: Mapping[str, str]) -> Any:
    """botocore's session; two of its links are given an environment that stays as it was when this process began."""
    import botocore.session
    from botocore.credentials import ContainerProvider, EnvProvider

    session = botocore.session.Session()
    links = session.get_component("credential_provider")
    for link in (EnvProvider(environ=environ), ContainerProvider(environ=environ)):
        links.insert_before(link.METHOD, link)
    return session
