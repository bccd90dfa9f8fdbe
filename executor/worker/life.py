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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from sqlmodel import col, select

from executor import runs, unguarded
from executor.boundary.supervision import Zygote
from executor.broker import notices
from executor.broker.embedded import broker
from executor.database import open_database
from executor.errors import WorkerUnsupported
from executor.keys.access import empty_environment, key_access
from executor.models import Run
from executor.python import interpreters, machine_setup
from executor.runs import Offer, queues, refusals, workers
from executor.runs.retention import WORKER
from executor.sandbox import confinement, kernel, limits, probing
from executor.sandbox.workspace import in_use, prepare_root
from executor.schemas.workers import TOLD_TO_STOP
from executor.settings import Settings
from executor.worker import cache, descriptors, janitor
from executor.worker.dispatch import commit_late, dispatch
from executor.worker.duties import Duty, perform, where_allowed
from executor.worker.equipment import Equipment
from executor.worker.health import Health, Leaving
from executor.worker.jobs import Jobs
from executor.worker.metrics import COUNT, Measured
from executor.worker.presence import present
from executor.worker.programs import only_its_user_submits
from executor.worker.service_manager import ServiceManager
from executor.worker.storage import Storage
from secretstore.errors import SealrunError
from secretstore.vault import Actor

logger = logging.getLogger("sealrun")

_PULSE = 0.5  # seconds between two looks at what is due
_LOOK = 1.0  # seconds between two looks for cancellations and retries
_JANITOR = 2.0
_ORPHANS = 30.0
_PAST = 60.0


def _warn_of_servers(settings: Settings) -> None:
    """Said at every start, and no start waits for it."""
    for one in unguarded.unguarded(settings):
        logger.warning("%s; mend: %s", one.text, one.mend)


def _warn_of_namesakes(worker: Equipment) -> None:
    """Said of another worker of this name; not of one that was here and is dead by now."""
    for other in workers.list_workers(worker.db, alive_only=True):
        here = other.name.endswith(f"@{socket.gethostname()}")
        dead = here and (other.pid == os.getpid() or not os.path.exists(f"/proc/{other.pid}"))
        if other.name == worker.offer.worker and not dead:
            sentence = "another worker lives that is called %s (process %d, host %s): give one another name, with -n"
            logger.warning(sentence, other.name, other.pid, other.host)


class WorkerLife:
    """One worker process; made in its main thread before the pool exists."""

    def __init__(self, app: Celery, settings: Settings, worker: Any) -> None:
        self._app = app
        self._manager = ServiceManager()
        self.leaving = Leaving()
        self._health = Health(self.leaving)
        self._settings = settings
        self._celery_worker = worker
        self._ending = contextlib.ExitStack()
        self._worker: Equipment | None = None
        self._id: str | None = None
        self._jobs: Jobs | None = None
        self._lacking = False  # of file descriptors
        self._show: Callable[[], None] = lambda: None
        self._pulse: threading.Thread | None = None
        self._pruning = threading.Thread()
        self._told_what_for = False
        self._idle_since = self._began = time.monotonic()

    @property
    def name(self) -> str:
        """The worker's."""
        return str(self._celery_worker.hostname)

    def prepare(self) -> None:
        """Start what a run will need; a mistake ends the worker with a sentence."""
        with self._mistakes_told():
            self._prepare()

    def begin(self) -> None:
        """The consumer is connected: appear, settle what an earlier worker left, and keep watch."""
        with self._mistakes_told():
            self._begin()

    def _begin(self) -> None:
        worker = self._worker
        assert worker is not None
        _warn_of_namesakes(worker)
        self._id = workers.appear(worker.db, worker.offer, os.getpid(), self._slots)
        self._health.beaten = time.monotonic()
        janitor.clear_orphans(self._settings.workspaces)
        janitor.settle_lost(worker.db)
        janitor.ring_again(worker.db, self._app, worker.offer, self._slots, unheard=0)
        self._pulse = threading.Thread(target=self._keep_watch, name="sealrun-pulse", daemon=True)
        self._pulse.start()
        ear = (worker.db, self._settings, worker.stopping, self._hear)
        threading.Thread(target=notices.listen, args=ear, name="sealrun-ear", daemon=True).start()
        threading.Thread(target=_warn_of_servers, args=[self._settings], name="sealrun-warns", daemon=True).start()
        if signers := self._settings.signers:
            logger.info("takes what is signed by %s, and nothing else", ", ".join(one.id for one in signers))
        self._health.begun = True
        self._show()
        self._manager.ready()
        logger.info(
            "ready: %s, rung %s, %d slot%s, queues %s",
            worker.offer.worker,
            worker.offer.rung,
            self._slots,
            "s" * (self._slots != 1),
            ", ".join(worker.offer.queues),
        )

    @contextlib.contextmanager
    def _mistakes_told(self) -> Iterator[None]:
        try:
            yield
        except SealrunError as error:
            self._ending.close()
            hint = f"\nhint: {error.hint}" if error.hint else ""
            raise SystemExit(f"sealrun: {error}{hint}") from None

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that this worker serves; none before it is prepared."""
        return () if self._worker is None else self._worker.offer.queues

    def execute(self, run_id: str) -> None:
        """A bell has rung."""
        worker = self._worker
        # A run that is not taken now is rung for again, here or elsewhere.
        if worker is not None and self._takes_runs(worker):
            logger.debug("bell for run %s", run_id)
            freed = dispatch(worker, run_id)
            if freed is not None:
                janitor.ring_next(worker.db, self._app, freed, worker.offer)
            self._idle_since = time.monotonic()

    def _takes_runs(self, worker: Equipment) -> bool:
        stays = not worker.stopping.is_set() and self.leaving.since is None
        return stays and worker.storage.closed is None and descriptors.short() is None

    def turn(self) -> None:
        """Celery's loop turns, which it does only while it hears the broker."""
        self._health.turned = time.monotonic()

    def told_to_stop(self) -> None:
        """It takes no run any more; those that it has go on for as long as they may. A signal's handler calls this."""
        if self.leaving.since is None:
            self.leaving.since = time.monotonic()
            self._manager.stopping()

    def end_runs(self) -> None:
        """The runs that it still has are to end now. A signal's handler calls this."""
        self.leaving.now = True

    def end(self) -> None:
        """The worker stops: its runs are over, or are ended now."""
        if self._worker is None:
            return
        self._worker.stopping.set()
        if self._pulse is not None:
            self._pulse.join(5)
        if self._jobs is not None:
            self._jobs.end()
        if self._id is not None:
            with contextlib.suppress(SealrunError):
                workers.leave(self._worker.db, self._id)
                janitor.link_audit(self._worker.db)
        self._ending.close()

    def _prepare(self) -> None:
        if platform.system() != "Linux":
            raise WorkerUnsupported(system=platform.system())
        settings = self._settings
        # Its environment held passwords: no process of the same user may read them from /proc, nor root from now on.
        kernel.harden()
        descriptors.raise_limit()
        access = key_access(settings)
        empty_environment(settings)
        if settings.store.uses_kms and access.credentials is None:
            logger.warning("no AWS credentials were found: until there are, runs with secrets fail")
        for folder, make in ((settings.workspaces, prepare_root), (settings.cache, cache.prepare)):
            kept = not settings.is_default_folder(folder)
            self._ending.enter_context(in_use(folder, kept=kept, prepare=make))
        seen = present(settings.workspaces, self.name, self._health.why, self._manager.pulse)
        self._show = self._ending.enter_context(seen)
        mechanisms = self._ending.enter_context(limits.settled())
        zygote = Zygote(access if settings.store.uses_kms else None, settings.signers)
        zygote.start()
        self._ending.callback(zygote.stop)
        if settings.broker_url is None:
            self._ending.enter_context(broker(settings.store.home))
        db = open_database(settings)
        host = probing.probe()
        pythons = interpreters.offered(settings, host, os.environ.get("PATH", os.defpath))
        offer = Offer(
            worker=self.name,
            host=settings.host,
            queues=tuple(self._app.amqp.queues.consume_from),
            rung=host.rung,
            networks=host.networks,
            places=settings.serves,
            pythons=pythons.offered,
            signers=tuple(one.id for one in settings.signers),
        )
        home = Path(os.environ.get("HOME") or confinement.users_home())
        machine = machine_setup.read(os.environ, home, settings.package_index)
        alone = only_its_user_submits(settings)
        storage = self._health.storage = Storage(db, settings.workspaces)
        more = {"leaving": self.leaving, "mechanisms": mechanisms, **self._measured()}
        self._worker = Equipment(settings, db, zygote, host, offer, storage, pythons, alone, machine, **more)

    def _measured(self) -> dict[str, Any]:
        """What counts, and the runs that it counts, where somebody wants to know."""
        address = self._settings.metrics_listen
        if address is None:
            return {}
        active: set[str] = set()
        measured = Measured(address, self._health, active, self._slots)
        self._ending.callback(measured.close)
        return {"active": active, "metrics": measured}

    @property
    def _slots(self) -> int:
        return int(self._celery_worker.concurrency)

    def _keep_watch(self) -> None:
        worker = self._worker
        assert worker is not None and self._id is not None
        self._began = time.monotonic()
        self._jobs = Jobs(worker)
        duties = self._duties(worker, self._id)
        while not worker.stopping.wait(_PULSE):
            self._leave_in_time()
            perform(duties, worker.storage.failed)
            self._leave_when_idle(worker)

    def _duties(self, worker: Equipment, worker_id: str) -> list[Duty]:
        """What a worker does though nobody asks, in this order, and how often."""
        db, actor = worker.db, Actor(self._settings.store.actor, WORKER)
        return [
            Duty("look for cancellations", lambda: self._look_for_cancellations(worker), _LOOK),
            Duty("ring for retries", lambda: janitor.ring_due(db, self._app), _LOOK),
            Duty("look for jobs", self._look_for_jobs, _LOOK),
            Duty("beat", lambda: self._beat(worker, worker_id), workers.BEAT),
            Duty("see who else opens", lambda: self._see_who_else_opens(worker), _JANITOR),
            Duty("commit outcomes", lambda: commit_late(worker), _JANITOR),
            Duty("settle lost runs", lambda: janitor.settle_lost(db), _JANITOR),
            Duty("link audit events", lambda: janitor.link_audit(db), _JANITOR),
            Duty("end what nobody can take", lambda: self._end_unserved(worker), _JANITOR),
            Duty("ring again", lambda: self._ring_again(worker), _JANITOR),
            Duty("clear orphans", lambda: janitor.clear_orphans(self._settings.workspaces), _ORPHANS),
            Duty("prune the cache", self._start_pruning, _ORPHANS),
            Duty("destroy past keys", lambda: janitor.destroy_unused_keys(db, actor), _PAST),
            Duty("forget what has expired", where_allowed(lambda: janitor.forget_expired(db)), _PAST),
            Duty("destroy deleted projects", lambda: janitor.destroy_deleted(db, actor), _PAST),
            Duty("delete old runs", lambda: janitor.delete_old(db, self._settings.keep_runs, actor), _PAST),
            Duty("delete reservations", where_allowed(lambda: janitor.delete_reservations(db)), _PAST),
            Duty("delete unused bundles", lambda: janitor.delete_unused_bundles(db), _PAST),
            Duty("see whether it can be written", worker.storage.look, _JANITOR),
            *([Duty("count what waits", lambda: self._count(worker), COUNT)] if worker.metrics.measures else []),
        ]

    def _look_for_jobs(self) -> None:
        worker, jobs = self._worker, self._jobs
        assert worker is not None and jobs is not None
        jobs.look(takes=self._takes_runs(worker))

    def _beat(self, worker: Equipment, worker_id: str) -> None:
        can = worker.openings
        lack = descriptors.short()
        if (lack is None) is self._lacking:
            self._lacking = lack is not None
            logger.warning("%s", f"{lack}; no run is taken until it has" if lack else "it has file descriptors again")
        closed = TOLD_TO_STOP if self.leaving.since is not None else worker.storage.closed or lack
        workers.beat(worker.db, worker_id, closed, can.key_services, can.refused)
        self._health.beaten = time.monotonic()

    def _see_who_else_opens(self, worker: Equipment) -> None:
        """An environment that its key service refused is left to others as long as there are others."""
        if refused := worker.openings.refused:
            for environment in refusals.left_to_nobody(worker.db, worker.fixed.worker, refused):
                worker.openings.try_again(environment)

    def _count(self, worker: Equipment) -> None:
        worker.metrics.waiting(queues.waiting(worker.db, worker.offer.queues))

    def _leave_in_time(self) -> None:
        """Its runs have gone on for as long as they may since it was told to stop."""
        since, grace = self.leaving.since, self._settings.stop_grace
        if since is not None and not self._told_what_for:
            self._told_what_for = True
            self._tell_what_for(grace)
        if since is not None and grace is not None and time.monotonic() - since >= grace:
            self.end_runs()

    def _tell_what_for(self, grace: int | None) -> None:
        """Here and not in the handler of a signal, which takes no lock."""
        if self._worker is not None and (active := sorted(self._worker.active)):
            which, most = ", ".join(run_id[:8] for run_id in active), f" for {grace} s at most" if grace else ""
            logger.info("told to stop: waits for what it runs%s (%s); a second signal ends that", most, which)

    def _ring_again(self, worker: Equipment) -> None:
        if len(worker.active) < self._slots and self._takes_runs(worker):
            janitor.ring_again(worker.db, self._app, worker.offer, self._slots - len(worker.active))

    def _end_unserved(self, worker: Equipment) -> None:
        if self._settings.embedded:
            janitor.end_in_vain(worker.db)
        janitor.end_unserved(worker.db, self._settings.queue_timeout, watched=time.monotonic() - self._began)

    def _start_pruning(self) -> None:
        """In a thread of its own: to remove thousands of files takes longer than a cancellation may wait."""
        if not self._pruning.is_alive():
            root, limit = self._settings.cache, self._settings.cache_bytes
            duty = Duty("prune the cache", lambda: janitor.prune_cache(root, limit), 0.0)
            self._pruning = threading.Thread(target=perform, args=([duty],), name="sealrun-prune", daemon=True)
            self._pruning.start()

    def _hear(self, run_id: str) -> None:
        """Somebody says that a run was cancelled: if it is one of ours, look whether it was."""
        worker = self._worker
        assert worker is not None
        if run_id in worker.active:
            with contextlib.suppress(SealrunError):  # the next look finds it
                self._look_for_cancellations(worker)

    def _look_for_cancellations(self, worker: Equipment) -> None:
        """One query for all runs of this worker."""
        active = list(worker.active)
        if active:
            with worker.db.reading() as session:
                worker.cancelled.update(
                    session.exec(
                        select(Run.id).where(col(Run.id).in_(active), col(Run.cancel_requested_at).is_not(None))
                    )
                )

    def _leave_when_idle(self, worker: Equipment) -> None:
        """A worker that was started for one `sealrun run` ends by itself."""
        patience = self._app.conf.get("sealrun_idle_exit")
        if worker.active or (self._jobs is not None and self._jobs.busy):
            self._idle_since = time.monotonic()
        elif patience and time.monotonic() - self._idle_since > patience:
            if self._let_go(worker):
                worker.stopping.set()
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                self._idle_since = time.monotonic()

    def _let_go(self, worker: Equipment) -> bool:
        """Give up the lock that tells submitters of this worker, and only then look for a last run.

        A run accepted before is found here; whoever submits one after finds the lock free and starts the next worker.
        """
        lock = self._app.conf.get("sealrun_standby_lock")
        if lock is None:
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            if not runs.expected(worker.db, worker.offer):
                return True
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, SealrunError):
            return True  # another has started a worker already, or there is no database to have runs in
        return False
