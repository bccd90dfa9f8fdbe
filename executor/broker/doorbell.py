"""The doorbell: the one task, whose message carries a run's id and nothing else."""

import logging
import re
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger("sealrun")

TASK = "executor.execute"

_RUN_ID = re.compile("[0-9a-f]{32}")
_NO_CALLS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
"""The last part of a task's body: nothing is to be called when it ends."""


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
    return ring_all(app, [(run_id, queue)]) == 1


def ring_all(app: "Celery", waiting: Iterable[tuple[str, str]]) -> int:
    """Tell the workers of runs, id and queue each, over one connection; how many the broker took before it refused one.

    Each run has a message, however many there are: that is what spreads them over the slots of all workers, and costs
    less than a hundredth of a run (benchmarks/bell.py).

    The message is put together here and not by `send_task`, which takes twice the time: what it adds (a rendering of
    the arguments, the sender's name, room for chains and chords) no worker of ours reads. It is a task's message all
    the same, of Celery's protocol 2: https://docs.celeryq.dev/en/stable/internals/protocol.html
    """
    rung = 0
    run_id = ""
    try:
        with app.producer_or_acquire() as producer:
            for run_id, queue in waiting:
                producer.publish(
                    [[run_id], {}, _NO_CALLS],
                    serializer="json",
                    exchange="",  # every queue is bound to it by its name
                    routing_key=queue,
                    # Declared once per connection: RabbitMQ drops what is sent to a queue that is not there.
                    declare=[app.amqp.queues[queue]],
                    headers={"lang": "py", "task": TASK, "id": str(uuid4()), "retries": 0, "ignore_result": True},
                    delivery_mode=2,  # a broker that keeps its queues on a disk keeps this, too
                    retry=False,
                )
                rung += 1
    except Exception as error:  # noqa: BLE001  # each transport has errors of its own, and the runs are accepted
        logger.debug("no bell for run %s: %s", run_id, type(error).__name__)
    return rung
