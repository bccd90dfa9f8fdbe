"""What must happen though nobody asks.

Lost runs, unheard bells, retries, runs that nobody can take, runs kept long enough, unlinked audit events, past keys,
deleted projects, reservations, expired sessions and tokens, leftovers.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery

from executor import runs
from executor.broker.doorbell import ring
from executor.keys import rotation
from executor.people.pruning import prune
from executor.records.live import refuse_live
from executor.runs import Offer, retention, unserved, workers
from executor.sandbox import clearing, workspace
from executor.source import bundles
from executor.worker import python_cache
from secretstore import audit, vault
from secretstore.database import Database
from secretstore.vault import Actor

logger = logging.getLogger("sealrun")

_UNHEARD = 2.0  # seconds a bell may go unanswered while this worker has nothing to do
_DELETING = 2.0  # seconds spent on old runs at a time


def settle_lost(db: Database) -> int:
    """End or give back runs whose worker is gone; returns how many."""
    return len(runs.end_lost(db, _tell("run %s could not be settled: %s")))


def ring_again(db: Database, app: Celery, offer: Offer, free_slots: int, unheard: float = _UNHEARD) -> int:
    """Ring for runs this worker could take and has slots for; called only while it is idle, so nothing piles up."""
    waiting = runs.unclaimed(db, offer, unheard, free_slots) if free_slots > 0 else []
    return sum(ring(app, run_id, queue) for run_id, queue in waiting)


def ring_due(db: Database, app: Celery) -> int:
    """Ring for retries whose delay is over, whoever can take them; returns how many."""
    return sum(ring(app, run_id, queue) for run_id, queue in runs.end_delays(db))


def ring_next(db: Database, app: Celery, project_id: str, offer: Offer) -> bool:
    """A run of a project with a limit is over: ring for the one whose turn it is now, if there is one."""
    waiting = runs.next_of(db, project_id, offer)
    return waiting is not None and ring(app, *waiting)


def end_unserved(db: Database, patience: float, watched: float) -> int:
    """End runs that no worker could have taken for their time, or for `patience` seconds; returns how many."""
    return len(unserved.end_unserved(db, patience, watched=watched))


def end_in_vain(db: Database) -> int:
    """End runs that no worker of this machine can ever take, where all workers are on it; returns how many."""
    return len(unserved.end_in_vain(db, workers.list_workers(db, alive_only=True)))


def delete_old(db: Database, age: float, actor: Actor) -> int:
    """Delete what runs left that have been over for so many seconds, a bounded part; returns of how many. 0 keeps all.

    So goes what is left of destroyed projects, and of runs that somebody began with who was killed.
    """
    until, deleted = time.monotonic() + _DELETING, 0
    what = [retention.unfinished(db, by=actor), retention.of_destroyed(db, by=actor)]
    if age:
        what.append(retention.older(db, age, by=actor))
        retention.forget_workers(db, age)
    for pruning in what:
        for done in retention.prune(db, pruning):
            deleted += done
            if time.monotonic() > until:
                return deleted
    return deleted


def destroy_deleted(db: Database, actor: Actor) -> int:
    """Destroy what is sealed in projects that were deleted, once their days are over; returns how many."""
    skipped = _tell("project %s could not be destroyed yet: %s")
    return len(vault.destroy_due(db, actor=actor, refuse_if=refuse_live, skipped=skipped))


def forget_expired(db: Database) -> int:
    """Delete sessions, tokens, codes and other answers that have expired; returns how many rows."""
    return prune(db)


def destroy_unused_keys(db: Database, actor: Actor) -> int:
    """Destroy what a rotation left of past key pairs once no run in flight was given them; returns how many."""
    return len(rotation.destroy_unused(db, actor, _tell("past key pairs of %s could not be destroyed: %s")))


def delete_reservations(db: Database) -> int:
    """Delete what was reserved for values that nobody stored; returns how many."""
    return vault.prune_reservations(db)


def delete_unused_bundles(db: Database) -> int:
    """Delete uploaded source that no run refers to; returns how many."""
    return bundles.delete_unused(db)


def prune_cache(root: Path, limit: int) -> int:
    """Keep the worker's cache within `limit` bytes, and clear what killed builders left; returns how many went."""
    return python_cache.sweep(root) + python_cache.prune(root, limit)


def link_audit(db: Database) -> int:
    """Link the audit events that runs left waiting into their projects' chains; returns how many."""
    return audit.link_waiting(db, skipped=_tell("audit events of project id %s go on waiting: %s"))


def clear_orphans(root: Path) -> int:
    """End what is left of runs whose worker, zygote and supervisor died together, and remove their places."""
    cleared = 0
    for place in workspace.orphans(root):
        if not os.path.lexists(place):
            continue
        owner = _owner(place)
        if owner is None or owner == os.geteuid():
            clearing.clear_orphan(place, None)
        else:
            # The id may have been lent to another run since; only while it is held here is all that has it an orphan.
            with workspace.reserved(owner) as ours:
                clearing.clear_orphan(place, owner if ours else None)
        cleared += 1
    return cleared


def _tell(sentence: str) -> Callable[[str, Exception], None]:
    """Logs what was passed over, and why; the statements had names and ids in them, so that the reason has no value."""
    return lambda which, problem: logger.warning(sentence, which, getattr(problem, "orig", problem))


def _owner(place: Path) -> int | None:
    """The user id that was lent to the run; its folders have it, and what holds them has not."""
    for folder in ("home", "tmp", "output"):
        with contextlib.suppress(OSError):
            return os.lstat(place / folder).st_uid
    return None
