"""The doorbell: the one task, whose message carries a run's id and nothing else."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celery import Celery

TASK = "executor.execute"


class Life(Protocol):
    """A worker that takes runs; a started one is kept on its application as `sealrun_life`."""

    def execute(self, run_id: str) -> None:
        """Claim and execute a run."""


def register(app: "Celery") -> None:
    """Add the task to an application."""

    # Celery ships no types.
    @app.task(name=TASK, ignore_result=True, acks_late=False, shared=False)  # type: ignore[untyped-decorator]
    def execute(run_id: str) -> None:
        """Claim and execute a run; a repeated, late or unknown id changes nothing."""
        life: Life | None = getattr(app, "sealrun_life", None)
        if life is not None and isinstance(run_id, str):
            life.execute(run_id)


def ring(app: "Celery", run_id: str, queue: str) -> bool:
    """Tell the workers that a run waits; False if the broker does not take the message."""
    from kombu.exceptions import OperationalError  # a door that only reads runs need not wait for it

    try:
        app.send_task(TASK, [run_id], queue=queue, ignore_result=True, retry=False, serializer="json")
    except (OperationalError, OSError):
        return False
    return True
