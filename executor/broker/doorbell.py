"""The doorbell: the one task, whose message carries a run's id and nothing else."""

import logging
import re
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger("sealrun")

TASK = "executor.execute"

_RUN_ID = re.compile("[0-9a-f]{32}")


class Life(Protocol):
    """A worker that takes runs; a started one is kept on its application as `sealrun_life`."""

    @property
    def queues(self) -> Collection[str]:
        """The queues that it serves."""

    def execute(self, run_id: str) -> None:
        """Claim and execute a run."""


def register(app: "Celery") -> None:
    """Add the task to an application."""

    # Celery ships no types.
    @app.task(name=TASK, ignore_result=True, acks_late=False, shared=False)  # type: ignore[untyped-decorator]
    def execute(run_id: str) -> None:
        """Claim and execute a run; a repeated, late or unknown id changes nothing."""
        life: Life | None = getattr(app, "sealrun_life", None)
        if life is not None and is_run_id(run_id):
            life.execute(run_id)


def is_run_id(value: Any) -> bool:
    """Whether this could be the id of a run; whether there is one only the database knows."""
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None


def queues_of_this_slot() -> Collection[str]:
    """The queues of the worker that this code is a task of; none where it is no task, or its worker takes no runs."""
    celery = sys.modules.get("celery._state")
    task = celery.get_current_worker_task() if celery is not None else None
    life: Life | None = getattr(task.app, "sealrun_life", None) if task is not None else None
    return () if life is None else life.queues


def ring(app: "Celery", run_id: str, queue: str) -> bool:
    """Tell the workers that a run waits; False if the broker does not take the message, whatever for."""
    try:
        app.send_task(TASK, [run_id], queue=queue, ignore_result=True, retry=False, serializer="json")
    except Exception as error:  # noqa: BLE001  # each transport has errors of its own, and the run is accepted
        logger.debug("no bell for run %s: %s", run_id, type(error).__name__)
        return False
    return True
