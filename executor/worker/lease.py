"""The lease of one attempt while this worker has it: renewed in time, with the deadline that follows from it.

Whoever takes time between a run's claim and its end is given the keeper: it says whether the attempt goes on.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator

from executor import runs
from executor.errors import SupervisorLost
from executor.runs import GateShut, Lease, StaleToken
from executor.worker.health import Leaving
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable

_LOOK = 0.05  # seconds between two looks at what is waited for
_AGAIN = 1.0  # seconds after which a database that was away is asked again


def clock() -> int:
    """CLOCK_BOOTTIME in nanoseconds, which goes on while the machine sleeps: as the database's clock does."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class LeaseKeeper:
    """Renews a lease every third of its length, and says whether the attempt is stale, cancelled or fine."""

    def __init__(
        self, db: Database, lease: Lease, cancelled: Collection[str], since: int, leaving: Leaving | None = None
    ) -> None:
        """The lease was claimed a moment ago.

        Args:
            db: where it is renewed.
            lease: the lease.
            cancelled: the runs of this worker that somebody asked to cancel; it grows while the run goes on.
            since: what `clock` said before the claim was sent.
            leaving: whether the worker stops.
        """
        self.lease = lease
        self.deadline = self._deadline(since)
        """The moment of CLOCK_BOOTTIME, in nanoseconds, at which the supervisor ends the run if it hears no other."""
        self.held_up: str | None = None
        """Why the run's output waits, for who follows it: told with the lease, and at once when that changes."""
        self.trouble: str | None = None
        """Why the lease could not be renewed the last time."""
        self._told: str | None = None
        self._db = db
        self._cancelled = cancelled
        self._leaving = leaving or Leaving()
        self._renew_at = time.monotonic() + lease.seconds / 3

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel the run."""
        return self.lease.run_id in self._cancelled

    @property
    def left(self) -> bool:
        """Whether the worker stops, and its runs are to end now."""
        return self._leaving.now

    def check(self) -> None:
        """Before the gate: go on, with the lease renewed if that is due.

        Raises:
            GateShut: the run was cancelled.
            StaleToken: a later claim has taken it over.
            SupervisorLost: the worker stops.
        """
        if self.cancelled:
            raise GateShut
        if self.left:
            raise SupervisorLost("its worker was stopped")
        self.tend()

    def wait(self, done: Callable[[], bool]) -> None:
        """Before the gate: look again and again until something is done.

        Raises:
            GateShut, StaleToken, SupervisorLost: as of `check`.
        """
        while not done():
            self.check()
            time.sleep(_LOOK)

    def tend(self) -> bool:
        """Renew the lease if that is due; whether there is a new deadline.

        Raises:
            StaleToken: a later claim has taken the run over.
        """
        return (time.monotonic() >= self._renew_at or self.held_up != self._told) and self.renew()

    def renew(self) -> bool:
        """Hold the lease for its length from now; False where the database is away, and it will be tried again.

        Raises:
            StaleToken: a later claim has taken the run over.
        """
        self._told = self.held_up
        try:
            with self.renewing():
                if not runs.renew(self._db, self.lease, self.held_up).held:
                    raise StaleToken
        except DatabaseUnavailable as problem:
            self.trouble = str(problem)
            # Not renewed, as far as anybody knows: the supervisor ends the run at the deadline it has.
            self._renew_at = time.monotonic() + _AGAIN
            return False
        self.trouble = None
        return True

    @contextlib.contextmanager
    def renewing(self) -> Iterator[None]:
        """What is done in this context renews the lease, too, unless it raises; the gate does."""
        # Measured before anything is sent: the supervisor's end comes before the lease's.
        since, begun = clock(), time.monotonic()
        yield
        self.deadline = self._deadline(since)
        self._renew_at = begun + self.lease.seconds / 3

    def _deadline(self, since: int) -> int:
        margin = max(self.lease.seconds * 0.2, 1.0)
        return since + int((self.lease.seconds - margin) * 1e9)
