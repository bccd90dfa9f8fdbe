"""Attempts that a worker's key service refused before anything was opened: another worker's may open.

Such a run is given back, and the worker leaves its environment to others for a while. It goes round once: where every
worker that could take it has been refused, the last one ends it. That one leaves the environment to nobody, as there is
nobody, so that the next run finds out whether somebody has mended it. Of two that are refused at the same moment each
may leave it to the other: both see that soon (`left_to_nobody`), and the run remembers who has had it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlmodel import col, select

from executor.models import Attempt, Run
from executor.runs import needs, workers
from executor.runs.conditions import claimable
from executor.runs.spec import Lease
from executor.schemas.workers import Refusal
from secretstore.database import Database

_SOME = 200  # runs, or attempts, that are looked at


@dataclass(frozen=True)
class Others:
    """Whether a worker is left that was not refused, and what those said that were, by name."""

    left: bool
    said: Mapping[str, str]


def others(db: Database, lease: Lease, me: str) -> Others:
    """Look who is left for a run that the key service of the worker `me` refused to open."""
    live = [worker for worker in workers.list_workers(db, alive_only=True) if worker.name != me]
    tried = {name: said for name, said in _tried(db, lease) if name != me}
    for run in needs.asking(db, col(Run.id) == lease.run_id):
        could = needs.able(run, live)
        said = {worker.name: why for worker in could if (why := needs.refused_by(run, worker)) is not None}
        return Others(any(worker.name not in {*said, *tried} for worker in could), tried | said)
    return Others(False, tried)


def _tried(db: Database, lease: Lease) -> Iterator[tuple[str, str]]:
    """The workers that this run has come back from, since it was accepted or last failed; and what was said."""
    of = (Attempt.run_id == lease.run_id, col(Attempt.number) < lease.attempt)
    with db.reading() as session:
        made = session.exec(
            select(Attempt.state, Attempt.worker, Attempt.message)
            .where(*of)
            .order_by(col(Attempt.number).desc())
            .limit(_SOME)
        ).all()
    for state, worker, message in made:
        if state not in ("refused", "lost"):
            return
        if state == "refused":
            yield worker, message or ""


def left_to_nobody(db: Database, me: str, mine: Mapping[str, Refusal]) -> set[str]:
    """Of the environments that the worker `me` leaves to others, those with a run that no other could take."""
    waiting = needs.asking(
        db,
        claimable(db.now()),
        col(Run.environment_id).in_(mine),
        col(Run.cancel_requested_at).is_(None),
        most=_SOME,
    )
    found = workers.list_workers(db, alive_only=True) if waiting else []
    return {
        run.environment_id
        for run in waiting
        if (could := needs.able(run, found))
        and any(worker.name == me for worker in could)
        and all(worker.name == me or needs.refused_by(run, worker) is not None for worker in could)
    }
