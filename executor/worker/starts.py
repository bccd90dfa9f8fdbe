"""Attempts that are being started: what prints without end lets them go first."""

import contextlib
import threading
from collections.abc import Iterator

GIVE_WAY = 0.05
"""Seconds for which what goes on without end lets others go first, at a time."""


class Starts:
    """Which attempts of this worker have not reached their program yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now: set[str] = set()

    @contextlib.contextmanager
    def one(self, run_id: str) -> Iterator[None]:
        """From here on one is being started, until it is `over`, at the latest where the context ends."""
        with self._changed:
            self._now.add(run_id)
        try:
            yield
        finally:
            self.over(run_id)

    def over(self, run_id: str) -> None:
        """It has reached its program, or never will."""
        if run_id in self._now:
            with self._changed:
                self._now.discard(run_id)
                self._changed.notify_all()

    def let_go_first(self, seconds: float) -> None:
        """Wait while something is being started, for at most so many seconds."""
        if self._now:
            with self._changed:
                self._changed.wait_for(lambda: not self._now, seconds)
