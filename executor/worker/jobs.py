"""Jobs: what this worker does for those who cannot open a private key. One at a time, beside its runs.

A duty looks every second for one that this worker can do (`take`) and keeps its lease; a thread does it (`_do`) as it
would be done by hand, in a process that is forked for it and holds the key. What it does is committed with the row that
says so: a worker that ends in the middle leaves nothing half done, and the job is taken once more.
"""

import logging
import threading
import time
from collections.abc import Callable

from sqlmodel import Session

from executor.errors import KeyOperationFailed, PlanRefused, ZygoteFailed
from executor.jobs import claims, plans, reading
from executor.jobs.claims import JobLease
from executor.jobs.receipts import JobWitness
from executor.keys import renaming, rewrapping, rotation
from executor.models import Job
from executor.records.live import refuse_live
from executor.runs import StaleToken, workers
from executor.schemas.keys import RewrappedKey
from executor.schemas.places import Deleted
from executor.schemas.workers import Refusal
from executor.worker.equipment import Equipment
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import DatabaseUnavailable, SealrunError, UnknownEnvironment, UnknownSecret
from secretstore.pins import Pins

logger = logging.getLogger("sealrun")

_FAREWELL = 5.0  # seconds that a job has to end once its worker stops


class Jobs:
    """The job of one worker, if it has any."""

    def __init__(self, worker: Equipment) -> None:
        self._worker = worker
        self._lease: JobLease | None = None
        self._renew_at = 0.0
        self._stale = threading.Event()
        self._thread = threading.Thread()

    @property
    def busy(self) -> bool:
        """Whether it is doing one."""
        return self._thread.is_alive()

    def look(self, takes: bool) -> None:
        """Keep the lease of the job it has; without one, take the next if this worker `takes` any."""
        if self.busy:
            self._keep()
        elif takes:
            claims.end_hopeless(self._worker.db)
            if (taken := claims.claim(self._worker.db, self._worker.offer, self._worker.settings.lease)) is not None:
                self._begin(*taken)

    def end(self) -> None:
        """The worker stops: a job that can still end may; what has not been committed is done by another."""
        if self.busy:
            self._thread.join(_FAREWELL)

    def _begin(self, job: Job, lease: JobLease) -> None:
        self._lease, self._stale = lease, threading.Event()
        self._renew_at = time.monotonic() + lease.seconds / 3
        self._thread = threading.Thread(target=self._do, args=[job, lease], name="sealrun-job", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        if self._lease is not None and time.monotonic() >= self._renew_at:
            self._renew_at = time.monotonic() + self._lease.seconds / 3
            if not claims.renew(self._worker.db, self._lease):
                self._stale.set()

    def _do(self, job: Job, lease: JobLease) -> None:
        try:
            self._attempt(job, lease)
        except DatabaseUnavailable as error:
            self._worker.storage.failed(error)  # the lease runs out, and it is done once more

    def _attempt(self, job: Job, lease: JobLease) -> None:
        """Do it, and say how it ended, unless it has become somebody else's."""
        which = f"job {job.id}: {job.kind} {job.project}/{job.environment}"
        logger.info("%s, attempt %d", which, lease.attempt)
        db = self._worker.db
        try:
            plans.check(job, self._worker.settings.signers)
            _ACTS[job.kind](self, job, JobWitness(db, job, lease, self._worker.fixed.worker))
            claims.finish(db, lease, "succeeded")
            logger.info("%s: succeeded", which)
        except StaleToken:
            logger.info("%s: taken over", which)
        except _Stopping:
            claims.give_back(db, lease, "its worker was stopped")
        except DatabaseUnavailable:
            raise
        except PlanRefused as error:
            logger.warning("%s: %s", which, error)
            claims.refuse(db, lease, job, self._worker.fixed.worker, error)
        except SealrunError as error:
            self._failed(job, lease, error)
        except Exception as error:
            # Nothing in this process has seen a value, so its log may have the whole.
            logger.exception("%s: unforeseen", which)
            said = f"unforeseen in the worker, whose log says more: {type(error).__name__}"
            claims.finish(db, lease, "failed", "internal_error", said)

    def _failed(self, job: Job, lease: JobLease, error: SealrunError) -> None:
        """End the job with a sentence, or leave it to a worker whose key service may open what this one's did not."""
        db, can, me = self._worker.db, self._worker.openings, self._worker.fixed.worker
        hint = f" ({error.hint})" if error.hint else ""
        if self._worker.stopping.is_set() or isinstance(error, ZygoteFailed) or error.names.get("lost"):
            claims.give_back(db, lease, f"{me}: {error}")  # nothing has come of it: it can be done once more
            return
        code = error.names.get("unopened") if isinstance(error, KeyOperationFailed) else None
        others = [name for name in reading.serving(db, job.project, job.environment).workers if name != me]
        if isinstance(code, str) and others:
            seconds = can.leave(job.environment_id, Refusal(f"{job.project}/{job.environment}", str(error)), code)
            workers.leave_to_others(db, me, can.refused)
            logger.warning("job %s is left to other workers for %g seconds: %s", job.id, seconds, error)
            claims.give_back(db, lease, f"{me}: {error}")
            return
        logger.info("job %s: failed: %s", job.id, error.code)
        claims.finish(db, lease, "failed", error.code, f"{error}{hint}")

    def _go_on(self, step: str, count: int) -> None:
        """Between two steps of a long act: stop where it would be in vain."""
        if self._stale.is_set():
            raise StaleToken
        if self._worker.stopping.is_set():
            raise _Stopping

    # -- the acts, as `executor.operations` has them for who can open the key

    def _rotate(self, job: Job, witness: JobWitness) -> None:
        db, settings, actor = self._worker.db, self._worker.settings, self._actor(job)
        if job.done is None:
            rotation.rotate(
                settings,
                db,
                job.project,
                job.environment,
                actor=actor,
                pins=Pins(settings.store.home / "known_keys", db.url_shown),
                drop_broken=bool(job.asked.get("drop_broken")),
                tell=self._go_on,
                zygote=self._worker.zygote,
                witness=witness,
            )
        rotation.destroy_unused(db, actor)

    def _rewrap(self, job: Job, witness: JobWitness) -> None:
        keys = vault.keys_to_rewrap(self._worker.db, job.project, job.environment)
        before = [RewrappedKey(**one) for one in (job.done or {}).get("keys", ())]
        done = rewrapping.rewrap(
            self._worker.settings, self._worker.db, keys, actor=self._actor(job), before=before, witness=witness
        )
        with self._worker.db.writing() as session:
            witness.committing(session, done)  # also where there was nothing to do

    def _rename(self, job: Job, witness: JobWitness) -> None:
        if job.done is None:
            place = job.project, job.environment, job.asked["name"]
            if vault.secret_id(self._worker.db, *place) != job.asked["secret_id"]:
                # Deleted since, and made anew: that one nobody asked to rename.
                raise UnknownSecret(project=job.project, environment=job.environment, name=job.asked["name"])
            renaming.rename(
                self._worker.settings,
                self._worker.db,
                job.project,
                job.environment,
                job.asked["name"],
                job.asked["new"],
                actor=self._actor(job),
                force=bool(job.asked.get("force")),
                zygote=self._worker.zygote,
                witness=witness,
            )

    def _delete(self, job: Job, witness: JobWitness) -> None:
        if job.done is not None:
            return

        def refuse_if(session: Session, project_id: str, environment_id: str | None) -> None:
            if environment_id != job.environment_id:
                # Deleted since, and made anew: that one nobody asked to delete.
                raise UnknownEnvironment(project=job.project, environment=job.environment)
            refuse_live(job.project, job.environment)(session, project_id, environment_id)
            witness.committing(session, gone)

        gone = Deleted(deleted="environment", project=job.project, environment=job.environment, name=job.environment)
        vault.delete_environment(
            self._worker.db, job.project, job.environment, actor=self._actor(job), refuse_if=refuse_if
        )

    def _actor(self, job: Job) -> Actor:
        return Actor(job.created_by, f"worker {self._worker.fixed.worker}")


class _Stopping(Exception):
    """the worker stops"""


_ACTS: dict[str, Callable[[Jobs, Job, JobWitness], None]] = {
    "rotate": Jobs._rotate,
    "rewrap": Jobs._rewrap,
    "rename": Jobs._rename,
    "delete": Jobs._delete,
}
