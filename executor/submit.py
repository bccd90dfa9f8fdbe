"""Accept a run: row, commit, then ring. A bell that fails to ring is not a failed submit."""

from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import OperationalError

from executor import runs
from executor.runs import RunSpec
from executor.tasks import TASK
from secretstore.database import Database


@dataclass(frozen=True)
class Submitted:
    """An accepted run. `rung` is False where the broker could not be told; workers look for such runs themselves."""

    run_id: str
    rung: bool


def submit(db: Database, app: Celery, spec: RunSpec, actor: str) -> Submitted:
    """Accept a run and tell the workers."""
    run_id = runs.create(db, spec, actor)
    return Submitted(run_id, ring(app, run_id, spec.queue))


def ring(app: Celery, run_id: str, queue: str) -> bool:
    """Tell the workers that a run waits; False where the broker does not take the message."""
    try:
        app.send_task(TASK, [run_id], queue=queue, ignore_result=True, retry=False, serializer="json")
    except (OperationalError, OSError):
        return False
    return True
