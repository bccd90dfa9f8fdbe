"""Receipts of jobs: which private key was unwrapped and which versions were opened, written before they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import case, insert, select, update
from sqlmodel import Session
from sqlmodel import select as select_one

from executor.errors import PlanRefused
from executor.jobs import claims, plans
from executor.jobs.claims import JobLease
from executor.keys.resealing import Witness
from executor.models import Job, JobReceipt, JobReceiptSecret
from secretstore import audit
from secretstore.audit import Actor
from secretstore.bundle import SealedItem
from secretstore.database import Database, table_of
from secretstore.vault import PlacedKey

_UNKNOWN = "its process ended, and it is not known whether it was unwrapped"

_RECEIPT, _SECRET = table_of(JobReceipt), table_of(JobReceiptSecret)


class JobWitness(Witness):
    """Keeps the receipt of one attempt, and commits what a job did together with the act."""

    def __init__(self, db: Database, job: Job, lease: JobLease, worker: str) -> None:
        self._db, self._job, self._lease, self._worker = db, job, lease, worker
        self._this = {"job_id": lease.job_id, "attempt": lease.attempt}

    @property
    def plan(self) -> Mapping[str, Any]:
        """What the server has signed, if one has."""
        if self._job.plan is None:
            return {}
        return {"content": plans.content_of(self._job), "signed": self._job.plan}

    def opening(self, key: PlacedKey) -> None:
        """Write the receipt, before the key service is asked.

        Raises:
            PlanRefused: the key is another environment's than the job is for.
        """
        if (key.place.project_id, key.place.environment_id) != (self._job.project_id, self._job.environment_id):
            raise PlanRefused(why="the key to be unwrapped is of another environment")
        pair = key.pair
        with self._db.writing() as session:
            now = session.exec(select_one(self._db.now())).one()
            session.connection().execute(
                insert(_RECEIPT),
                {
                    **self._this,
                    "generation": pair.generation,
                    "status": "opening",
                    "worker": self._worker,
                    "environment_id": key.place.environment_id,
                    "fingerprint": pair.fingerprint,
                    "key_service": pair.key_service,
                    "opening_at": now,
                },
            )
            self._note(session, "secrets.open", "begun", {"generation": pair.generation})

    def opened(self, key: PlacedKey) -> None:
        """Write when the private key had been unwrapped."""
        self._set(key.pair.generation, opened_at=self._db.now())

    def not_opened(self, key: PlacedKey, why: str) -> None:
        """Close the receipt: nothing was unwrapped."""
        self._set(key.pair.generation, status="closed", reason=why)

    def given(self, items: Sequence[SealedItem]) -> None:
        """Write which versions are about to be opened."""
        with self._db.writing() as session:
            self.given_late(session, items)

    def given_late(self, session: Session, items: Sequence[SealedItem]) -> None:
        """The same in the transaction in which they are opened."""
        now = session.exec(select_one(self._db.now())).one()
        rows = [
            {**self._this, "secret_id": one.secret_id, "version": one.version, "name": one.name, "given_at": now}
            for one in items
        ]
        if rows:
            session.connection().execute(insert(_SECRET), rows)

    def committing(self, session: Session, done: BaseModel) -> None:
        """Say what is done, unless the job has become somebody else's.

        Raises:
            StaleToken: it has; nothing is to be committed.
        """
        claims.commit(session, self._lease, done.model_dump(mode="json"))

    def dropped(self) -> None:
        """Close the receipts: the process that held the private key has ended."""
        with self._db.writing() as session:
            now = self._db.now()
            left = (*self._mine(), _RECEIPT.c.status == "opening")
            found = session.connection().execute(select(_RECEIPT.c.generation, _RECEIPT.c.opened_at).where(*left)).all()
            unknown = case((_RECEIPT.c.opened_at.is_(None), _UNKNOWN), else_=None)
            values = {"status": "closed", "dropped_at": now, "reason": unknown}
            session.connection().execute(update(_RECEIPT).where(*left).values(**values))
            for generation, opened_at in found:
                ended = "done" if opened_at is not None else "unknown"
                self._note(session, "secrets.close", ended, {"generation": generation})

    def _set(self, generation: int, **values: Any) -> None:
        with self._db.writing() as session:
            this = (*self._mine(), _RECEIPT.c.generation == generation)
            session.connection().execute(update(_RECEIPT).where(*this).values(**values))
            if "reason" in values:
                self._note(session, "secrets.close", "failed", {"generation": generation})

    def _mine(self) -> tuple[Any, ...]:
        return _RECEIPT.c.job_id == self._lease.job_id, _RECEIPT.c.attempt == self._lease.attempt

    def _note(self, session: Session, action: str, outcome: str, detail: dict[str, Any]) -> None:
        """An audit event about what a job opens, of whoever asked for it."""
        job = self._job
        audit.append_later(
            session,
            job.project_id,
            job.project,
            actor=Actor(job.created_by, f"worker {self._worker}"),
            action=action,
            subject=job.environment,
            detail={"job": job.id, "attempt": self._lease.attempt, "kind": job.kind, **detail},
            outcome=outcome,
            at=session.exec(select_one(self._db.now())).one(),
        )
