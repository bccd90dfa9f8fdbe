"""What this worker can open: its key services, and what these refused a moment ago."""

import time

from executor.schemas.workers import Refusal
from secretstore import keyring
from secretstore.errors import KmsUnavailable
from secretstore.key_service import KeyAccess

_ALONE = 300.0  # seconds that an environment is left to others; credentials, policies and settings are mended by people
_AWAY = 30.0  # the same where the key service was away: that passes by itself
_ANY_FILE = "local:*"  # what a key file that cannot be read stands for: an opening says what is wrong with it


class Openings:
    """Shared by the threads of a worker; each of its writes is one assignment."""

    def __init__(self, keys: str) -> None:
        self._access = KeyAccess(keys)
        self._refused: dict[str, tuple[float, Refusal]] = {}

    @property
    def key_services(self) -> tuple[str, ...]:
        """Patterns of the key services it has; a key file may come, go or be another at any time."""
        return keyring.offered(self._access, unread=_ANY_FILE)

    @property
    def refused(self) -> dict[str, Refusal]:
        """The environments that it leaves to others at this moment, by id."""
        now = time.monotonic()
        return {environment: told for environment, (until, told) in list(self._refused.items()) if until > now}

    def leave(self, environment: str, told: Refusal, code: str) -> float:
        """Leave an environment to others after its key service refused with this code; returns for how many seconds."""
        seconds = _AWAY if code == KmsUnavailable.code else _ALONE
        self._refused[environment] = (time.monotonic() + seconds, told)
        return seconds

    def try_again(self, environment: str) -> None:
        """Leave it to nobody any more."""
        self._refused.pop(environment, None)
