"""Runs that no worker can take: after a while they fail, and say what no worker offers.

The while is the run's own, and no capable worker was seen in it: one that is restarted, or too busy, keeps a run
waiting.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, or_, select

from executor.runs import needs, workers
from executor.runs.conditions import NOT_CANCELLED, RUN, claimable
from executor.runs.settling import give_up
from executor.runs.spec import LONGEST, Offer
from executor.schemas.workers import WorkerView
from secretstore.database import Database, clock

SETTLED = 60.0
"""Seconds after which a janitor may take it that every worker has come back that was stopped together with its own."""

_SOME = 200  # runs at a time


def end_unserved(
    db: Database, patience: float, *, watched: float = SETTLED, run_id: str | None = None
) -> list[tuple[str, str]]:
    """End runs that no worker could have taken for their `--queue-timeout`, or for `patience` seconds.

    Returns id and sentence of each. Any janitor does it for all runs, once it has `watched` for a while; where no
    worker lives to be one, a follower may do it for the run it follows.
    """
    ended = []
    alive = workers.list_workers(db, alive_only=True)
    offers = _offers(alive)
    for seconds in _timeouts(db, offers):
        # Rows are not always of our writing: what is no number of seconds is nothing that somebody asked for.
        limit = seconds if isinstance(seconds, int | float) and 0 < seconds < LONGEST else patience
        if min(limit, SETTLED) > watched:
            continue
        mine = RUN.c.queue_timeout.is_(None) if seconds is None else RUN.c.queue_timeout == seconds
        since = func.coalesce(RUN.c.not_before, RUN.c.rung_at)
        nobodys = _nobodys(offers, db.now(), run_id)
        late = needs.asking(db, *nobodys, mine, since <= db.after(-limit), most=_SOME)
        seen = workers.list_workers(db, within=limit) if late else []
        for run in late:
            if needs.unmet(run, seen):
                said = f"for {_seconds(limit)} {'; '.join(needs.unmet(run, alive))}"
                if give_up(db, run.id, said):
                    ended.append((run.id, said))
    return ended


def end_in_vain(db: Database, alive: list[WorkerView], run_id: str | None = None) -> list[tuple[str, str]]:
    """End runs that no worker can ever take, where all are on one machine, as these are. Id and sentence of each.

    What depends on how a worker is started, as its queues, may come yet. All have one SEALRUN_KEYS there; only a worker
    asks for it, and for all runs, since its own heartbeat is fresh.
    """
    offers = _offers(alive)
    waiting = needs.asking(db, *_nobodys(offers, db.now(), run_id), most=_SOME) if _timeouts(db, offers) else []
    found = ((run.id, needs.in_vain(run, alive, keys=run_id is None)) for run in waiting)
    return [(run, said) for run, said in found if said is not None and give_up(db, run, said)]


_Offers = frozenset[Offer]


def _offers(alive: list[WorkerView]) -> _Offers:
    return frozenset(replace(workers.offer_of(worker), worker="") for worker in alive if not worker.closed)


def _timeouts(db: Database, offers: _Offers) -> Sequence[float | None]:
    """The queue timeouts of runs that none of these workers can take: most of the time there are none."""
    with db.reading() as session:
        found = session.connection().execute(_of_nobody(db.dialect, offers), {"now": db.from_now()})
        return found.scalars().all()


@lru_cache(maxsize=64)
def _of_nobody(dialect: str, offers: _Offers) -> Select[Any]:
    return select(RUN.c.queue_timeout).where(*_nobodys(offers, clock(dialect, "now"))).distinct()


def _nobodys(offers: _Offers, now: ColumnElement[Any], run_id: str | None = None) -> list[ColumnElement[bool]]:
    """Runs, or one, that wait and that none of these workers can take."""
    taken = or_(false(), *(needs.suits(offer) for offer in offers))
    return [claimable(now), NOT_CANCELLED, ~taken, *([RUN.c.id == run_id] if run_id is not None else [])]


def _seconds(number: float) -> str:
    return f"{number:g} second" + ("" if number == 1 else "s")
