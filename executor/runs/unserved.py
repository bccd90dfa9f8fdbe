"""Runs that no worker can take: after a while they fail, and say what no worker offers.

The while is the run's own, and no capable worker was seen in it: one that is restarted, or too busy, keeps a run
waiting.
"""

from dataclasses import replace

from sqlalchemy import ColumnElement, false, func, or_
from sqlmodel import col, select

from executor.models import Run
from executor.runs import needs, workers
from executor.runs.conditions import claimable
from executor.runs.settling import give_up
from executor.runs.spec import LONGEST
from executor.schemas.workers import WorkerView
from secretstore.database import Database

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
    one = [col(Run.id) == run_id] if run_id is not None else []
    nobodys = [claimable(db.now()), col(Run.cancel_requested_at).is_(None), ~_taken_by(alive), *one]
    with db.reading() as session:
        own = session.exec(select(Run.queue_timeout).where(*nobodys).distinct()).all()
    for seconds in own:
        # Rows are not always of our writing: what is no number of seconds is nothing that somebody asked for.
        limit = seconds if isinstance(seconds, int | float) and 0 < seconds < LONGEST else patience
        if min(limit, SETTLED) > watched:
            continue
        mine = col(Run.queue_timeout).is_(None) if seconds is None else col(Run.queue_timeout) == seconds
        since = func.coalesce(Run.not_before, Run.rung_at)
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
    one = [col(Run.id) == run_id] if run_id is not None else []
    nobodys = [claimable(db.now()), col(Run.cancel_requested_at).is_(None), ~_taken_by(alive), *one]
    waiting = needs.asking(db, *nobodys, most=_SOME)
    found = ((run.id, needs.in_vain(run, alive, keys=run_id is None)) for run in waiting)
    return [(run, said) for run, said in found if said is not None and give_up(db, run, said)]


def _taken_by(alive: list[WorkerView]) -> ColumnElement[bool]:
    """One of these workers can take the run."""
    offers = {replace(workers.offer_of(worker), worker="") for worker in alive if not worker.closed}
    return or_(false(), *(needs.suits(offer) for offer in offers))


def _seconds(number: float) -> str:
    return f"{number:g} second" + ("" if number == 1 else "s")
