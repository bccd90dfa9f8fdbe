"""Accept a run: row, commit, then ring. A bell that fails to ring is not a failed submit."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from executor import runs
from executor.broker.doorbell import ring
from executor.errors import NeverServed, StandbyFailed
from executor.models import RunSpec
from executor.runs import needs
from executor.schemas.run_operations import Submitted
from executor.settings import Settings
from executor.submission import standby
from executor.submission.standby import Standby
from secretstore.database import Database

if TYPE_CHECKING:
    from celery import Celery


def accept(
    db: Database, settings: Settings, app: Callable[[], "Celery"], spec: RunSpec, actor: str, waiting: Standby
) -> Submitted:
    """Accept a run and tell the workers; start one if no broker is configured and none is alive.

    Raises:
        KeyTaken: its idempotency key belongs to a run that is not the same.
        NeverServed: a worker of this machine lives, and none can ever take the run; it was not accepted.
        WorkerUnsupported: no worker can be started here; the run was not accepted.
        BrokerUnavailable: there is no broker to start; the run was not accepted.
    """
    if not settings.embedded:
        return submit(db, app(), spec, actor)
    if live := needs.live_workers(settings, db):
        if (why := needs.in_vain(spec, live)) is not None:
            raise NeverServed(why=why)
        return submit(db, app(), spec, actor)
    standby.check_can_start()
    # Nobody would hear a bell: the worker that is started looks for waiting runs before anything else.
    run_id, new = runs.accept(db, spec, actor)
    try:
        started = waiting.ensure()
    except StandbyFailed:  # the worker that an earlier run started has failed: start another for this run
        started = waiting.ensure()
    return Submitted(run_id, rung=True, new=new, started=started)


def submit(db: Database, app: "Celery", spec: RunSpec, actor: str) -> Submitted:
    """Accept a run and tell the workers.

    Raises:
        KeyTaken: its idempotency key belongs to a run that is not the same.
    """
    run_id, new = runs.accept(db, spec, actor)
    # Also if it was submitted before: that submitter may have ended before it rang.
    return Submitted(run_id, ring(app, run_id, spec.queue), new)
