"""Workers: which serve this machine, and what is done for a run that waits for one."""

from sqlmodel import col

from executor.broker.doorbell import queues_of_this_slot
from executor.errors import WaitRefused
from executor.models import Run
from executor.operations.deployment import Deployment
from executor.runs import needs, unserved, workers
from executor.schemas.run_operations import ThatRun
from executor.schemas.workers import Attended, Listed, OfQueue, Serving, Those
from executor.settings import QUEUE
from secretstore.audit import Actor

_ANY = OfQueue(queue=QUEUE)
_LATELY = 3600.0  # seconds after which a worker that is gone is history


def list_(at: Deployment, who: Actor, asked: Those) -> list[Listed]:
    """Workers, the latest seen first, with the runs that each executes."""
    found = workers.list_workers(at.db, within=None if asked.every else _LATELY)
    leased = workers.leased(at.db)
    return [Listed(one, tuple(leased.get(one.name, ())) if one.alive else ()) for one in found]


def serving(at: Deployment, who: Actor, asked: OfQueue = _ANY) -> Serving:
    """Workers that take what is submitted on this machine to a queue, and when the latest of them was seen."""
    live = needs.live_workers(at.settings, at.db, asked.queue)
    of_queue = [
        one for one in workers.list_workers(at.db) if one.host == at.settings.host and asked.queue in one.queues
    ]
    return Serving(at.settings.host, asked.queue, tuple(live), of_queue[0].seen_at if of_queue else None)


def check_may_wait(at: Deployment, who: Actor, asked: ThatRun) -> None:
    """Refuse to wait for a run in the slot that it may need: in a Celery task whose worker serves the run's queue.

    Raises:
        WaitRefused: this is such a task, whether another worker can take the run or not.
    """
    if queues := queues_of_this_slot():
        with at.db.reading() as session:
            run = session.get(Run, asked.run)
        if run is not None and run.queue in queues:
            raise WaitRefused(run=run.id[:8], queue=run.queue)


def attend(at: Deployment, who: Actor, asked: ThatRun) -> Attended | None:
    """Do for a run that waits what is left to its follower, and say what no live worker offers; None once it began.

    With nothing configured a worker is started where none lives, and a run that none can ever take is ended. Elsewhere
    workers end what nobody can take in time, for each other's runs, too; where none lives, it is done here.

    Raises:
        StandbyFailed: the worker that was started has ended with an error.
    """
    with at.db.reading() as session:
        run = session.get(Run, asked.run)
    if run is None or run.state != "pending":
        return None
    embedded = at.settings.embedded
    ours = needs.live_workers(at.settings, at.db) if embedded else []
    started = embedded and not ours and at.standby.ensure()
    if ours and unserved.end_in_vain(at.db, ours, run.id):
        return None
    live = workers.list_workers(at.db, alive_only=True)
    missing = None
    if live or not embedded:
        if not live:
            unserved.end_unserved(at.db, at.settings.queue_timeout, run_id=run.id)
        for needing in needs.asking(at.db, col(Run.id) == run.id):
            missing = needs.waiting_for(needing, live)
    return Attended(started, missing, bool(live), run.host, serving(at, who, OfQueue(queue=run.queue)))
