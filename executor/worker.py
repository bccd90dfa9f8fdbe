"""A worker's life beside Celery's: its zygote, its heartbeat, its janitor, and the way from a bell to a run."""

import contextlib
import fcntl
import logging
import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from sqlmodel import col, select

from executor import janitor, runs, workers
from executor.database import open_database
from executor.dispatch import Bench, dispatch
from executor.embedded import broker
from executor.errors import ExecutorError, WorkerUnsupported
from executor.models import Run
from executor.runs import Offer
from executor.settings import Settings
from executor.supervision import Zygote
from executor.supervisor import kernel, sandbox
from executor.supervisor.errors import SupervisorError
from executor.supervisor.workspace import prepare_root
from secretstore.errors import SecretStoreError

logger = logging.getLogger("sealrun")

_PULSE = 0.5  # seconds between two looks for cancellations
_JANITOR = 2.0
_ORPHANS = 30.0


class WorkerLife:
    """One worker process; made in its main thread before the pool exists."""

    def __init__(self, app: Celery, settings: Settings, worker: Any) -> None:
        self._app = app
        self._settings = settings
        self._worker = worker
        self._ending = contextlib.ExitStack()
        self._bench: Bench | None = None
        self._id: str | None = None
        self._pulse: threading.Thread | None = None
        self._idle_since = time.monotonic()

    def prepare(self) -> None:
        """Start what a run will need; a mistake ends the worker with a sentence."""
        with self._mistakes_told():
            self._prepare()

    def begin(self) -> None:
        """The consumer is connected: appear, settle what an earlier worker left, and keep watch."""
        with self._mistakes_told():
            self._begin()

    def _begin(self) -> None:
        bench = self._bench
        assert bench is not None
        self._id = workers.appear(bench.db, bench.offer, os.getpid(), self._slots)
        janitor.clear_orphans(self._settings.workspaces)
        janitor.settle_lost(bench.db)
        janitor.ring_again(bench.db, self._app, bench.offer, self._slots, unheard=0)
        self._pulse = threading.Thread(target=self._keep_watch, name="sealrun-pulse", daemon=True)
        self._pulse.start()
        logger.info(
            "ready: %s, rung %s, %d slots, queues %s",
            bench.offer.worker, bench.offer.rung, self._slots, ", ".join(bench.offer.queues),
        )  # fmt: skip

    @contextlib.contextmanager
    def _mistakes_told(self) -> Iterator[None]:
        try:
            yield
        except (ExecutorError, SupervisorError, SecretStoreError) as error:
            self._ending.close()
            hint = f"\nhint: {error.hint}" if error.hint else ""
            raise SystemExit(f"sealrun: {error}{hint}") from None

    def execute(self, run_id: str) -> None:
        """A bell has rung."""
        if self._bench is not None and not self._bench.stopping.is_set():
            logger.debug("bell for run %s", run_id)
            dispatch(self._bench, run_id)
            self._idle_since = time.monotonic()

    def end(self) -> None:
        """The worker stops: its runs are over, or are ended now."""
        if self._bench is None:
            return
        self._bench.stopping.set()
        if self._pulse is not None:
            self._pulse.join(5)
        if self._id is not None:
            with contextlib.suppress(SecretStoreError):
                workers.leave(self._bench.db, self._id)
        self._ending.close()

    def _prepare(self) -> None:
        if platform.system() != "Linux":
            raise WorkerUnsupported(system=platform.system())
        settings = self._settings
        # Its environment holds the database's password: no process of the same user may read it from /proc.
        kernel.harden()
        zygote = Zygote()
        zygote.start()
        self._ending.callback(zygote.stop)
        if settings.broker_url is None:
            self._ending.enter_context(broker(settings.store.home))
        db = open_database(settings)
        prepare_root(settings.workspaces)
        host = sandbox.probe()
        offer = Offer(
            worker=self._worker.hostname,
            host=socket.gethostname(),
            queues=tuple(self._app.amqp.queues.consume_from),
            rung=host.rung,
        )
        self._bench = Bench(settings, db, zygote, host, offer, tuple(_forbidden(settings)))

    @property
    def _slots(self) -> int:
        return int(self._worker.concurrency)

    def _keep_watch(self) -> None:
        bench = self._bench
        assert bench is not None and self._id is not None
        beat_at = janitor_at = orphans_at = time.monotonic()
        while not bench.stopping.wait(_PULSE):
            now = time.monotonic()
            try:
                self._look_for_cancellations(bench)
                if now >= beat_at:
                    workers.beat(bench.db, self._id)
                    beat_at = now + workers.BEAT
                if now >= janitor_at:
                    janitor.settle_lost(bench.db)
                    if len(bench.active) < self._slots:
                        janitor.ring_again(bench.db, self._app, bench.offer, self._slots - len(bench.active))
                    janitor_at = now + _JANITOR
                if now >= orphans_at:
                    janitor.clear_orphans(self._settings.workspaces)
                    orphans_at = now + _ORPHANS
            except SecretStoreError as error:
                logger.warning("%s", error)
            self._leave_when_idle(bench)

    def _look_for_cancellations(self, bench: Bench) -> None:
        """One query for all runs of this worker."""
        active = list(bench.active)
        if active:
            with bench.db.reading() as session:
                bench.cancelled.update(
                    session.exec(
                        select(Run.id).where(col(Run.id).in_(active), col(Run.cancel_requested_at).is_not(None))
                    )
                )

    def _leave_when_idle(self, bench: Bench) -> None:
        """A worker that was started for one `sealrun run` ends by itself."""
        patience = self._app.conf.get("sealrun_idle_exit")
        if bench.active:
            self._idle_since = time.monotonic()
        elif patience and time.monotonic() - self._idle_since > patience:
            if self._let_go(bench):
                bench.stopping.set()
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self._idle_since = time.monotonic()

    def _let_go(self, bench: Bench) -> bool:
        """Give up the lock that tells submitters of this worker, and only then look for a last run.

        A run accepted before is found here; whoever submits one after finds the lock free and starts the next worker.
        """
        lock = self._app.conf.get("sealrun_standby_lock")
        if lock is None:
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            if not runs.unclaimed(bench.db, bench.offer, 0, 1):
                return True
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, SecretStoreError):
            return True  # another has started a worker already, or there is no database to have runs in
        return False


def _forbidden(settings: Settings) -> list[Path]:
    """What no run may read, even beneath a folder it may."""
    paths = [settings.store.home, settings.workspaces]
    if settings.store.keys.startswith("local:"):
        paths.append(Path(settings.store.keys.removeprefix("local:")))
    if settings.store.database_url.startswith("sqlite:///"):
        file = Path(settings.store.database_url.removeprefix("sqlite:///"))
        paths += [file, Path(f"{file}-wal"), Path(f"{file}-shm")]
    for name in ("SEALRUN_DATABASE_URL_FILE", "SEALRUN_BROKER_URL_FILE"):
        if os.environ.get(name):
            paths.append(Path(os.environ[name]))
    return paths
