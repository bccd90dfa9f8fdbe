"""For which run a bell is taken: for its own, or where many wait for the one whose project's turn it is."""

import threading
import time
from datetime import timedelta

from executor.models import Run
from executor.runs import Lease, Offer
from executor.runs.turns import LATE, Turn, project_of, turns
from secretstore.database import Database

_REMEMBERED = 1000  # projects


class Turns:
    """What a worker remembers of its projects' turns; its threads share it.

    A bell stands for one run's slot, not for one run: what is taken out of turn has its own bell behind it, and that
    one is good for a run that was passed over.
    """

    def __init__(self) -> None:
        self.behind = False
        """Bells come late: there are runs that wait for others to be over."""
        self._took: dict[str, float] = {}  # when a project last had its turn
        self._lock = threading.Lock()

    def first(self, db: Database, offer: Offer, run_id: str) -> str:
        """The run that this worker is to take when the bell of `run_id` has rung."""
        if not self.behind:
            return run_id
        waiting = turns(db, offer)
        self.behind = any(turn.late for turn in waiting)
        chosen = self._choose(waiting)
        return run_id if chosen is None or chosen.project_id == project_of(db, run_id) else chosen.run_id

    def instead(self, db: Database, offer: Offer) -> str | None:
        """A run that waits, for a bell whose own is not to be had: it was taken out of turn, or is over."""
        chosen = self._choose([turn for turn in turns(db, offer) if turn.late])
        return None if chosen is None else chosen.run_id

    def took(self, run: Run, lease: Lease) -> None:
        """A run was claimed a moment ago."""
        assert run.lease_until is not None
        waited = run.lease_until - timedelta(seconds=lease.seconds) - run.rung_at  # both by the database's clock
        self.behind = self.behind or waited.total_seconds() > LATE
        self._note(run.project_id)

    def _choose(self, waiting: list[Turn]) -> Turn | None:
        """A project with the fewest runs at work; of several the one that has waited for its turn the longest."""
        if not waiting:
            return None
        with self._lock:
            chosen = min(waiting, key=lambda turn: (turn.running, self._took.get(turn.project_id, 0.0)))
        self._note(chosen.project_id)
        return chosen

    def _note(self, project_id: str) -> None:
        with self._lock:
            self._took[project_id] = time.monotonic()
            if len(self._took) > _REMEMBERED:
                del self._took[min(self._took, key=lambda one: self._took[one])]
