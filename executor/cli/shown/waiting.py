"""While a run waits: start a worker where that is ours to do, else say at once what no live worker offers."""

import os
import sys
import time

from executor.cli.here import Here
from executor.cli.shown import screen
from executor.operations import workers
from executor.schemas.run_operations import ThatRun
from executor.schemas.workers import Attended, Serving
from executor.settings import QUEUE
from executor.submission.standby import IDLE

_FIRST, _LOOK = 0.15, 0.5  # seconds until a worker is looked for, and between two looks: most runs are taken sooner
_QUIET = 0.3  # seconds before the line on a terminal appears; most runs begin sooner


class Waiting:
    """What a follower does about a run that nobody has taken yet."""

    def __init__(self, at: Here, run_id: str) -> None:
        """Nothing is looked at yet."""
        self._at = at
        self._run = ThatRun(run=run_id)
        self._began = time.monotonic()
        self._looked_at = _FIRST - _LOOK
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
            if (attended := self._at.ask(workers.attend, self._run)) is not None:
                self._tell(attended)
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
        standby = getattr(self._at.at, "standby", None)  # of a server it is on the server's machine
        log = "" if standby is None else f" (log: {standby.log})"
        screen.say(f"no worker was running: started one, which ends after {IDLE} idle seconds{log}")

    def _tell(self, attended: Attended) -> None:
        """What was done, and what is missing: once, and again when it is something else."""
        if attended.started:
            self.tell_started()
        if attended.missing is not None and attended.missing != self._told:
            self._line.clear()
            screen.say(_sentence(attended, attended.missing), "yellow")
        self._told = attended.missing


def _sentence(attended: Attended, missing: str) -> str:
    serving, missing = attended.serving, screen.printable(missing)
    start = "sealrun worker" + (f" -Q {serving.queue}" if serving.queue != QUEUE else "")
    if attended.host is None and not attended.lives:
        return f"waiting: {missing} (start one: {start})"
    if attended.host != serving.host or serving.live:
        return f"waiting: {missing}"
    return f"{unseen(serving)}; the run waits (start one: {start})"


def unseen(serving: Serving) -> str:
    """Since when no worker was seen, as a sentence; with the name that has to be the same on both sides."""
    of_queue = f" and the queue {serving.queue}" if serving.queue != QUEUE else ""
    which = f"for this machine ({screen.printable(serving.host)}){of_queue}"
    if serving.seen_at is None:
        return f"no worker {which} has been seen yet"
    return f"no worker {which} has been seen since {screen.moment(serving.seen_at)}, {screen.ago(serving.seen_at)}"


class ProgressLine:
    """A line on a terminal that is written over; nothing elsewhere."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._text = ""

    def show(self, text: str) -> None:
        """Write it over the one before."""
        if self._on_terminal and text != self._text:
            self._text = text
            sys.stderr.write(f"\r\x1b[2K{screen.printable(text)}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for what is to stay."""
        if self._text:
            self._text = ""
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
