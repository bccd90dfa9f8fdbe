"""The worker of `celery -A executor.celery_app worker`, with our own words around it."""

import logging
import os
import signal
import sys
import warnings
from typing import Any

from celery import signals
from celery.apps.worker import Worker as CeleryWorker
from celery.exceptions import SecurityWarning
from celery.utils.nodenames import default_nodename, host_format

from executor.celery_app import make_app
from executor.cli.shown import screen
from executor.settings import Settings, read_here


def serve(
    *,
    concurrency: int | None,
    queue: str,
    name: str | None,
    level: int,
    idle_exit: float | None,
    standby_lock: int | None,
) -> int:
    """Execute runs until stopped; the exit code."""
    settings = read_here()
    _log_to_stderr(level)
    celery = make_app(settings)
    if idle_exit is not None:
        celery.conf.sealrun_idle_exit = idle_exit
    if standby_lock is not None:
        os.set_inheritable(standby_lock, False)
        celery.conf.sealrun_standby_lock = standby_lock
    _greet(settings)
    program = _Worker(
        app=celery,
        hostname=host_format(default_nodename(name)),
        concurrency=concurrency,
        queues=queue,
        loglevel=level,
        quiet=True,
    )
    program.start()
    life = getattr(celery, "sealrun_life", None)
    # Celery ends with 1 at a second signal; who sent it wanted just that.
    return 0 if life is not None and life.leaving.since is not None else program.exitcode or 0


class _Worker(CeleryWorker):  # type: ignore[misc]  # Celery ships no types
    """Celery's program without its banner and its warning about root, which is answered by a user id for each run."""

    def on_before_init(self, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            super().on_before_init(**options)

    def install_platform_tweaks(self, worker: Any) -> None:
        super().install_platform_tweaks(worker)
        # Celery would start itself again, with arguments it does not have; a hang-up is an end like TERM's.
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))


def _greet(settings: Settings) -> None:
    broker = "the embedded broker" if settings.broker_url is None else "the configured broker"
    screen.say(f"sealrun worker: {broker}, runs in {settings.workspaces}")
    if os.geteuid() == 0:
        first, last = settings.run_uids.start, settings.run_uids.stop - 1
        screen.say(f"sealrun worker: started as root, so each run is lent a user id of its own, {first} to {last}")


def _log_to_stderr(level: int) -> None:
    """Plain lines; of Celery only what is wrong, as its own lines speak of tasks and not of runs."""
    signals.setup_logging.connect(_nothing, weak=False)
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"
    )
    if level != logging.DEBUG:
        for theirs in ("celery", "kombu", "amqp", "alembic"):
            logging.getLogger(theirs).setLevel(max(logging.WARNING, level))


def _nothing(**_: Any) -> None:
    """Connected so that Celery leaves logging alone."""
