"""What a worker knows of its own health: whether it can take runs, and why not."""

import time
from dataclasses import dataclass

from executor.runs.workers import SILENCE
from executor.schemas.workers import TOLD_TO_STOP
from executor.worker import descriptors
from executor.worker.storage import Storage

DEAF = 15.0
"""Seconds without a turn of Celery's loop after which the broker is not heard: the loop turns only while it is."""


@dataclass
class Leaving:
    """A worker that is told to stop lets its runs go on, for some time or for as long as they take.

    `since` is when it was told, `now` whether what still runs is to end. Signal handlers set them: they take no lock.
    """

    since: float | None = None
    now: bool = False


@dataclass
class Health:
    """When this worker was last well, by the monotonic clock, for each thing that it needs to take runs."""

    leaving: Leaving
    storage: Storage | None = None
    begun: bool = False
    beaten: float = 0.0
    turned: float | None = None
    """None where Celery has no loop for this broker."""

    def why(self) -> str | None:
        """Why no run can be taken now; None where nothing is wrong."""
        now = time.monotonic()
        if self.leaving.since is not None:
            return TOLD_TO_STOP
        if not self.begun or self.storage is None:
            return "it is starting, or waits for its broker"
        if self.storage.closed is not None:
            return self.storage.closed
        if (lack := descriptors.short()) is not None:
            return lack
        if now - self.beaten > SILENCE:
            trouble = f": {self.storage.trouble}" if self.storage.trouble else ""
            return f"no heartbeat has reached its database for {now - self.beaten:.0f} s{trouble}"
        if self.turned is not None and now - self.turned > DEAF:
            return f"it has not heard its broker for {now - self.turned:.0f} s"
        return None
