"""Accept a run: row, commit, then ring. A bell that fails to ring is not a failed submit."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from executor import runs
from executor.broker.tasks import TASK
from executor.errors import StandbyFailed
from executor.models import RunSpec
from executor.runs.needs import live_workers
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
    """Accept a run and tell the workers; where nothing is configured and none lives, start one.

    Raises:
        KeyTaken: its idempotency key belongs to a run of another target or environment.
        WorkerUnsupported, BrokerUnavailable: none can be started here; the run was not accepted.
    """
    if not settings.embedded or live_workers(settings, db):
        return submit(db, app(), spec, actor)
    standby.check_can_start()
    # Nobody hears a bell yet: the worker that is started looks for waiting runs before anything else.
    run_id, new = runs.accept(db, spec, actor)
    try:
        started = waiting.ensure()
    except StandbyFailed:  # of the one that an earlier run had started: this run gets another
        started = waiting.ensure()
    return Submitted(run_id, rung=True, new=new, started=started)


def submit(db: Database, app: "Celery", spec: RunSpec, actor: str) -> Submitted:
    """Accept a run and tell the workers.

    Raises:
        KeyTaken: its idempotency key belongs to a run of another target or environment.
    """
    run_id, new = runs.accept(db, spec, actor)
    # Also for an earlier one: whoever submitted it may have ended before it rang.
    return Submitted(run_id, ring(app, run_id, spec.queue), new)


def ring(app: "Celery", run_id: str, queue: str) -> bool:
    """Tell the workers that a run waits; False where the broker does not take the message."""
    from kombu.exceptions import OperationalError  # who only looks at runs need not wait for it

    try:
        app.send_task(TASK, [run_id], queue=queue, ignore_result=True, retry=False, serializer="json")
    except (OperationalError, OSError):
        return False
    return True
