"""The one task: a run's id is all a message may carry."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celery import Celery

TASK = "executor.execute"


class Life(Protocol):
    """A worker that takes runs; one that has begun stands at its application."""

    def execute(self, run_id: str) -> None:
        """Claim and execute a run."""


def register(app: "Celery") -> None:
    """Add the task to an application."""

    @app.task(name=TASK, ignore_result=True, acks_late=False, shared=False)  # type: ignore[untyped-decorator]
    def execute(run_id: str) -> None:
        """Claim and execute a run; a repeated, late or unknown id changes nothing."""
        life: Life | None = getattr(app, "sealrun_life", None)
        if life is not None and isinstance(run_id, str):
            life.execute(run_id)
