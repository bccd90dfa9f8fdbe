"""What this worker can open: its key services, and what these refused a moment ago."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from executor.schemas.workers import Refusal
from secretstore.errors import KmsUnavailable
from secretstore.settings import StoreSettings

_ALONE = 300.0  # seconds that an environment is left to others; credentials, policies and settings are mended by people
_AWAY = 30.0  # the same where the key service was away: that passes by itself


class Openings:
    """Shared by the threads of a worker."""

    def __init__(self, store: StoreSettings, ask: Callable[[], tuple[str, ...] | None]) -> None:
        """Nothing is asked yet.

        Args:
            store: which key services there are.
            ask: tells their patterns (`secretstore.keyring.offered`), from another process, which reads the key files.
        """
        self._files = store.key_files
        self._ask = ask
        self._asking = threading.Lock()
        self._seen: list[tuple[int, ...] | None] | None = None
        self._known: tuple[str, ...] = ("*",)
        self._refused: dict[str, tuple[float, Refusal]] = {}

    @property
    def key_services(self) -> tuple[str, ...]:
        """Patterns of the key services it has; asked for anew when a key file came, went or is another."""
        with self._asking:
            seen = [_look(path) for file in self._files for path in (file.parent, file)]
            if seen != self._seen and (told := self._ask()) is not None:
                self._seen, self._known = seen, told
            return self._known

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


def _look(path: Path) -> tuple[int, ...] | None:
    """What changes with a file's content or rights, without opening it; of a folder, its rights."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    own = (found.st_ino, found.st_mode, found.st_uid)
    return own if os.path.isdir(path) else (*own, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
