"""Delete what runs left: of old ones, or of those that are named. Their rows, receipts and audit events stay."""

from collections.abc import Callable, Sequence

from executor.errors import RequestUnclear
from executor.operations.deployment import Deployment
from executor.people import pruning as people_pruning
from executor.records import history, room
from executor.runs import retention
from executor.runs.retention import Pruning
from executor.schemas.pruning import NamedRuns, OldRuns, Prunable, Pruned
from executor.schemas.runs import RunView
from executor.source import bundles
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import InUse

Tell = Callable[[int], None]
"""Called with the number of runs that are done."""


def look(at: Deployment, who: Actor, asked: OldRuns) -> Prunable:
    """What `prune` would delete.

    Raises:
        UnknownProject: there is none of this name.
    """
    return room.prunable(at.db, _old(at, who, asked))


def prune(at: Deployment, who: Actor, asked: OldRuns, tell: Tell = lambda done: None) -> Pruned:
    """Delete what old runs left, a part at a time. Who stops it finds the rest by saying it again.

    Raises:
        UnknownProject: there is none of this name.
    """
    return _pruned(at, _old(at, who, asked), tell)


def require_over(at: Deployment, who: Actor, asked: NamedRuns) -> Sequence[RunView]:
    """Check that `delete` would not refuse, for a door that asks before it deletes; the runs, each once.

    Raises:
        UnknownRun: one of them is none, or the beginning of several.
        ProjectDeleted: the project of one is deleted: what it left goes with it, or comes back.
        InUse: one is not over.
    """
    if not asked.runs:
        raise RequestUnclear("no run is named")
    project_id = vault.get_project(at.db, asked.project).id if asked.project is not None else None
    ids = dict.fromkeys(history.find(at.db, reference, project_id) for reference in asked.runs)
    found = [history.show(at.db, run_id) for run_id in ids]
    for run in found:
        if not run.over:
            raise InUse(
                "run {run} is not over: it is {state}; nothing was deleted",
                run=run.id[:8],
                state=run.state,
                hint=f"cancel it first: sealrun runs cancel {run.id[:8]}",
            )
    return found


def delete(at: Deployment, who: Actor, asked: NamedRuns, tell: Tell = lambda done: None) -> Pruned:
    """Delete what these runs left.

    Raises:
        UnknownRun, ProjectDeleted, InUse: as `require_over`; nothing is deleted.
    """
    found = require_over(at, who, asked)
    already = tuple(run.id for run in found if run.pruned_at is not None)
    ids = [run.id for run in found if run.pruned_at is None]
    return _pruned(at, retention.these(ids, by=who), tell).model_copy(update={"already": already})


def forget_expired(at: Deployment, who: Actor) -> int:
    """Delete sessions, tokens, codes, answers and reservations that have expired; returns how many rows.

    Raises:
        DatabaseForbids: this user of the database may not, as it is no server's.
    """
    return people_pruning.prune(at.db) + vault.prune_reservations(at.db)


def _old(at: Deployment, who: Actor, asked: OldRuns) -> Pruning:
    project_id = vault.get_project(at.db, asked.project).id if asked.project is not None else None
    return retention.older(
        at.db, asked.older_than, by=who, keep_failed=asked.keep_failed, project_id=project_id, listed_only=True
    )


def _pruned(at: Deployment, pruning: Pruning, tell: Tell) -> Pruned:
    done = 0
    for step in retention.prune(at.db, pruning):
        done += step
        if step:
            tell(done)
    gone = 0
    while some := bundles.delete_unused(at.db):
        gone += some
    return Pruned(runs=done, bundles=gone, given_back=at.db.give_back())
