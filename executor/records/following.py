"""Look at a run again and again until it is over: nothing of its output is lost or comes twice.

A database that goes away is waited for, and reading goes on from where it stopped.
"""

import time
from collections.abc import Collection, Iterator, Sequence

from executor.records import history, logs
from executor.schemas.output import BEGINNING, Place, StoredPiece
from executor.schemas.run_operations import Look
from executor.schemas.runs import OVER
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable

PATIENCE = 600.0
"""Seconds for which a database that is away is waited for."""

_SHORTEST, _LONGEST = 0.004, 0.1  # seconds between two looks
_SHARE = 0.15  # of the time since something happened: what comes soon is seen soon
_AWAY_PAUSE = 0.5  # seconds between two tries at a database that is away


class Following:
    """A run that somebody follows: one look after another, each behind the one before."""

    def __init__(
        self,
        db: Database,
        run_id: str,
        after: Place = BEGINNING,
        *,
        streams: Collection[str] | None = None,
        at_a_time: int = logs.AT_A_TIME,
    ) -> None:
        """Begin behind a place; nothing is read yet.

        Args:
            db: where the run is.
            run_id: its id in full.
            after: what is known already.
            streams: whose output; None for all, none for the state alone.
            at_a_time: pieces of a look at most.
        """
        self.pause = _SHORTEST
        """Seconds until the next look is worth while."""
        self.over = False
        """Whether the run is over, and all of its output was looked at."""
        self._db, self._run_id, self._streams, self._at_a_time = db, run_id, streams, at_a_time
        self._place, self._seen, self._retried = after, "", 0
        self._lost_to: str | None = None
        self._away_since: float | None = None
        self._happened = time.monotonic()

    def look(self) -> Look:
        """Look once.

        Raises:
            UnknownRun: there is none of this id.
            DatabaseUnavailable: the database was away for longer than `PATIENCE`.
        """
        try:
            # The state first: what is logged before an outcome is committed is then in what is read next.
            state, self._retried, held_up, lost = history.standing(self._db, self._run_id)
            if lost and self._lost_to is None:
                self._lost_to = history.lost_to(self._db, self._run_id).get(self._run_id)
            pieces: Sequence[StoredPiece] = ()
            if self._streams != ():
                pieces, self._place = logs.read(
                    self._db, self._run_id, self._place, self._at_a_time, streams=self._streams
                )
        except DatabaseUnavailable:
            now = time.monotonic()
            self._away_since = self._away_since or now
            if now - self._away_since > PATIENCE:
                raise
            self.pause = _AWAY_PAUSE
            return Look(self._seen, (), self._place, away=True, retried=self._retried)
        now = time.monotonic()
        if pieces or state != self._seen or self._away_since:
            self._happened = now
        self.pause = min(max(_SHORTEST, (now - self._happened) * _SHARE), _LONGEST)
        self._seen, self._away_since = state, None
        self.over = state in OVER and len(pieces) < self._at_a_time
        lost_to = self._lost_to if lost else None
        return Look(state, pieces, self._place, retried=self._retried, held_up=held_up, lost_to=lost_to)


def looks(
    db: Database,
    run_id: str,
    after: Place = BEGINNING,
    *,
    streams: Collection[str] | None = None,
    until: float | None = None,
) -> Iterator[Look]:
    """One look after another until the run is over, or until this moment of the monotonic clock; sleeps in between.

    Raises:
        UnknownRun, DatabaseUnavailable: as of `Following.look`.
    """
    following = Following(db, run_id, after, streams=streams)
    while True:
        yield following.look()
        now = time.monotonic()
        if following.over or (until is not None and now >= until):
            return
        time.sleep(following.pause if until is None else min(following.pause, until - now))
