"""What must happen though nobody asks: settle lost runs, ring bells that were not heard, clear up orphan workspaces."""

import contextlib
import os
from pathlib import Path

from celery import Celery

from executor import runs
from executor.runs import Offer
from executor.submit import ring
from executor.supervisor import clearing, workspace
from secretstore.database import Database

_UNHEARD = 2.0  # seconds a bell may go unanswered while this worker has nothing to do


def settle_lost(db: Database) -> int:
    """End or give back runs whose worker is gone; returns how many."""
    return len(runs.end_lost(db))


def ring_again(db: Database, app: Celery, offer: Offer, free_slots: int, unheard: float = _UNHEARD) -> int:
    """Ring for runs this worker could take and has slots for; called only while it is idle, so nothing piles up."""
    waiting = runs.unclaimed(db, offer, unheard, free_slots) if free_slots > 0 else []
    return sum(ring(app, run_id, queue) for run_id, queue in waiting)


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


def _owner(place: Path) -> int | None:
    """The user id that was lent to the run; its folders have it, and what holds them has not."""
    for folder in ("home", "tmp", "output"):
        with contextlib.suppress(OSError):
            return os.lstat(place / folder).st_uid
    return None
