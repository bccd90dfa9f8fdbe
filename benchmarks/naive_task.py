"""The task that sealrun is measured beside: see `others/stored`."""

import os
import sys
from pathlib import Path

from celery import Celery

sys.path.append(str(Path(__file__).resolve().parent / "others"))

from stored import run_job


def make_app(broker: str, queue: str) -> Celery:
    """The application of a worker that serves this queue, and of whoever submits to it."""
    made = Celery("naive", broker=broker)
    made.conf.update(
        task_ignore_result=True,
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    return made


if "BENCH_BROKER" in os.environ:  # in the worker
    app = make_app(os.environ["BENCH_BROKER"], os.environ["BENCH_QUEUE"])
    app.task(run_job, name="run_job")
