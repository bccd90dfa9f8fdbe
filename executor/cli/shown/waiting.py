"""While a run waits: start a worker where that is ours to do, else say at once what no live worker offers."""

import os
import sys
import time

from executor.cli.shown import screen
from executor.runs import needs, unserved, workers
from executor.runs.needs import Asking, live_workers
from executor.settings import QUEUE, Settings
from executor.submission.standby import IDLE, Standby
from secretstore.database import Database

_LOOK = 0.5  # seconds between two looks for a worker
_QUIET = 0.3  # seconds before the line on a terminal appears; most runs begin sooner


class Waiting:
    """What a follower does about a run that nobody has taken yet."""

    def __init__(
        self, settings: Settings, db: Database, run: Asking, run_id: str | None, standby: Standby | None = None
    ) -> None:
        """Nothing is looked at yet; without a `run_id` the run is not accepted yet either."""
        self.run_id = run_id
        self._settings = settings
        self._run = run
        self._db = db
        self._standby = standby or Standby(settings)
        self._began = time.monotonic()
        self._looked_at = -_LOOK
        self._told: str | None = None
        self._started_at: float | None = None
        self._line = ProgressLine()

    def look(self) -> None:
        """Called again and again while the run is pending.

        Raises:
            StandbyFailed: the worker that was started has ended with an error.
        """
        waited = time.monotonic() - self._began
        if waited - self._looked_at >= _LOOK:
            self._looked_at = waited
            self._start_worker()
            self._tell_what_is_missing()
        if waited >= _QUIET:
            self._line.show(f"waiting for a worker … {waited:.0f} s")

    def over(self) -> None:
        """The run has begun, or nobody watches it any more."""
        self._line.clear()

    def tell_started(self) -> None:
        """A worker was started just now; it goes without saying where it replaces one that ended of being idle."""
        now, before = time.monotonic(), self._started_at
        self._started_at = now
        if before is not None and now - before > IDLE:
            return
        self._line.clear()
        screen.say(
            f"no worker was running: started one, which ends after {IDLE} idle seconds (log: {self._standby.log})"
        )

    def _start_worker(self) -> None:
        """If it is ours to start, and none is alive."""
        if self._settings.embedded and not live_workers(self._settings, self._db) and self._standby.ensure():
            self.tell_started()

    def _tell_what_is_missing(self) -> None:
        """Once, and again when it is something else."""
        live = workers.list_workers(self._db, alive_only=True)
        if self._settings.embedded and not live:
            return  # one is on its way
        if not live and self.run_id is not None:
            unserved.end_unserved(self._db, self._settings.queue_timeout, run_id=self.run_id)  # nobody else would
        missing = needs.waiting_for(self._run, live)
        if missing is not None and missing != self._told:
            self._line.clear()
            screen.say(self._sentence(missing, bool(live)), "yellow")
        self._told = missing

    def _sentence(self, missing: str, lives: bool) -> str:
        queue = self._run.queue
        start = "sealrun worker" + (f" -Q {queue}" if queue != QUEUE else "")
        if self._run.host is None and not lives:
            return f"waiting: {missing} (start one: {start})"
        if self._run.host != self._settings.host or live_workers(self._settings, self._db, queue):
            return f"waiting: {missing}"
        return f"{unseen(self._settings, self._db, queue)}; the run waits (start one: {start})"


def unseen(settings: Settings, db: Database, queue: str = QUEUE) -> str:
    """Since when no worker was seen, as a sentence; with the name that has to be the same on both sides."""
    seen = [one for one in workers.list_workers(db) if one.host == settings.host and queue in one.queues]
    which = f"for this machine ({settings.host})" + (f" and the queue {queue}" if queue != QUEUE else "")
    if not seen:
        return f"no worker {which} has been seen yet"
    last = seen[0].seen_at
    return f"no worker {which} has been seen since {screen.moment(last)}, {screen.ago(last)}"


class ProgressLine:
    """A line on a terminal that is written over; nothing elsewhere."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._text = ""

    def show(self, text: str) -> None:
        """Write it over the one before."""
        if self._on_terminal and text != self._text:
            self._text = text
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for what is to stay."""
        if self._text:
            self._text = ""
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
