"""While a run waits: start a worker where that is ours to do, else say when one was last seen."""

import os
import socket
import sys
import time

from executor import workers
from executor.celery_app import QUEUE
from executor.cli import screen
from executor.cli.standby import IDLE, Standby
from executor.settings import Settings
from executor.workers import WorkerView
from secretstore.database import Database

_LOOK = 0.5  # seconds between two looks for a worker
_QUIET = 0.3  # seconds before the line on a terminal appears; most runs begin sooner
_PATIENCE = 2.0  # seconds before a missing worker is worth a word


class Waiting:
    """What a follower does about a run that nobody has taken yet."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings = settings
        self._db = db
        self._standby = Standby(settings)
        self._began = time.monotonic()
        self._looked_at = -_LOOK
        self._told = False
        self._line = ProgressLine()

    def look(self) -> None:
        """Called again and again while the run is pending.

        Raises:
            StandbyFailed: the worker that was started has ended with an error.
        """
        waited = time.monotonic() - self._began
        if waited - self._looked_at >= _LOOK:
            self._looked_at = waited
            self._mind_workers(waited)
        if waited >= _QUIET:
            self._line.show(f"waiting for a worker … {waited:.0f} s")

    def over(self) -> None:
        """The run has begun, or nobody watches it any more."""
        self._line.clear()

    def start_worker(self) -> None:
        """Start one now if it is ours to start and none is alive."""
        if self._settings.embedded and not live_workers(self._db) and self._standby.ensure():
            self._line.clear()
            screen.say(
                f"no worker was running: started one, which ends after {IDLE} idle seconds (log: {self._standby.log})"
            )

    def _mind_workers(self, waited: float) -> None:
        if self._settings.embedded:
            self.start_worker()
        elif waited >= _PATIENCE and not self._told and not live_workers(self._db):
            self._told = True
            self._line.clear()
            screen.say(f"{unseen(self._db)}; the run waits (start one: sealrun worker)", "yellow")


def live_workers(db: Database) -> list[WorkerView]:
    """Workers that take runs of this machine and live."""
    return [worker for worker in _ours(workers.list_workers(db, alive_only=True)) if _has_process(worker.pid)]


def unseen(db: Database) -> str:
    """Since when no worker was seen, as a sentence."""
    seen = _ours(workers.list_workers(db))
    if not seen:
        return "no worker for this machine has been seen yet"
    last = seen[0].seen_at
    return f"no worker for this machine has been seen since {screen.moment(last)}, {screen.ago(last)}"


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


def _ours(found: list[WorkerView]) -> list[WorkerView]:
    host = socket.gethostname()
    return [worker for worker in found if worker.host == host and QUEUE in worker.queues]


def _has_process(pid: int) -> bool:
    """A worker that was killed a moment ago still has a fresh heartbeat."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
