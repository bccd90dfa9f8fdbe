"""AWS credentials of a process that has an environment: botocore's chain finds them once and renews them in time.

The one-shot processes that call AWS KMS receive the current ones. They never walk the chain themselves, and this
process can then remove the credentials from its environment.
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
"""The variables that are credentials; AWS's other variables say where to find them."""


class AwsCredentials:
    """The credentials of this process."""

    def __init__(self, patience: float, renewal: float = 30.0) -> None:
        """Start to look for them.

        Args:
            patience: seconds that `current` waits for a slow chain; importing botocore, which may take a busy machine
                longer, does not count.
            renewal: seconds between two looks at credentials that expire; botocore renews them 15 minutes before.

        Raises:
            LibraryMissing: botocore is not installed.
        """
        if find_spec("botocore") is None:
            raise LibraryMissing(what="AWS KMS", library="botocore", extra="aws")
        self._environ = dict(os.environ)
        self._renewal = renewal
        self._patience, self._until = patience, 0.0
        self._asked = threading.Event()
        self._looked = threading.Event()
        self._current: Credentials | None = None
        self._provider: str | None = None
        # Its own thread: the chain and a renewal may call a server that does not answer.
        threading.Thread(target=self._keep, name="sealrun-aws", daemon=True).start()

    @property
    def current(self) -> Credentials | None:
        """The current credentials; None if there are none."""
        self._wait()
        return self._current

    @property
    def provider(self) -> str | None:
        """The link of the chain that had them, by botocore's name."""
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
            except Exception as error:  # noqa: BLE001  # each link has its own errors, whose text may quote anything
                logger.warning("no AWS credentials: %s", type(error).__name__)
            self._asked.set()
            self._looked.set()
            if found is not None and not hasattr(found, "refresh_needed"):
                return
            time.sleep(self._renewal)

    def _session(self) -> Any:
        session = _chain(self._environ)
        # The import is done: from here on the patience counts.
        if not self._asked.is_set():
            self._until = time.monotonic() + self._patience
            self._asked.set()
        return session


@functools.cache
def aws_credentials(patience: float) -> AwsCredentials:
    """Return the credentials of this process; the first call starts to look for them.

    Raises:
        LibraryMissing: botocore is not installed.
    """
    return AwsCredentials(patience)


def network() -> dict[str, str]:
    """Return the special way from this process to AWS, if any; see `secretstore.key_service.KeyAccess`."""
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    proxies = {scheme: url for scheme, url in getproxies_environment().items() if scheme in ("http", "https", "no")}
    return {**proxies, **({"ca_bundle": bundle} if bundle else {})}


def _chain(environ: Mapping[str, str]) -> Any:
    """Return botocore's session; the two links that read variables get the environment this process started with."""
    import botocore.session
    from botocore.credentials import ContainerProvider, EnvProvider

    session = botocore.session.Session()
    links = session.get_component("credential_provider")
    for link in (EnvProvider(environ=environ), ContainerProvider(environ=environ)):
        links.insert_before(link.METHOD, link)
    return session
