"""Look at a run again and again until it is over: nothing of its output is lost or comes twice.

A database that goes away is waited for, and reading goes on from where it stopped.
"""

import time
from collections.abc import Collection, Iterator

from executor.records import history, logs
from executor.schemas.output import BEGINNING, Place
from executor.schemas.run_operations import Look
from executor.schemas.runs import OVER
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable

PATIENCE = 600.0
"""Seconds for which a database that is away is waited for."""

_SHORTEST, _LONGEST = 0.004, 0.1  # seconds between two looks
_SHARE = 0.15  # of the time since something happened: what comes soon is seen soon
_AWAY_PAUSE = 0.5  # seconds between two tries at a database that is away


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
        UnknownRun: there is none of this id.
        DatabaseUnavailable: the database was away for longer than `PATIENCE`.
    """
    place, seen, retried, away_since, happened = after, "", 0, None, time.monotonic()
    lost_to: str | None = None
    while True:
        now = time.monotonic()
        try:
            # The state first: what is logged before an outcome is committed is then in what is read next.
            state, retried, held_up, lost = history.standing(db, run_id)
            lost_to = (lost_to or history.lost_to(db, run_id).get(run_id)) if lost else None
            pieces, place = logs.read(db, run_id, place, streams=streams) if streams != () else ([], place)
        except DatabaseUnavailable:
            away_since = away_since or now
            if now - away_since > PATIENCE:
                raise
            look, pause = Look(seen, (), place, away=True, retried=retried), _AWAY_PAUSE
        else:
            if pieces or state != seen or away_since:
                happened = now
            pause = min(max(_SHORTEST, (now - happened) * _SHARE), _LONGEST)
            look, seen, away_since = (
                Look(state, pieces, place, retried=retried, held_up=held_up, lost_to=lost_to),
                state,
                None,
            )
        yield look
        if not look.away and look.state in OVER and len(look.pieces) < logs.AT_A_TIME:
            return
        now = time.monotonic()
        if until is not None and now >= until:
            return
        time.sleep(pause if until is None else min(pause, until - now))
