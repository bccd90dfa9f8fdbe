"""From a submission to an end: a job is accepted, claimed, held by a lease, given back or finished."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, exists, null, or_, select, true, update
from sqlmodel import Session, col
from sqlmodel import select as select_one

from executor.boundary.plans import SigningKey
from executor.errors import PlanRefused
from executor.jobs import plans
from executor.models import Job, new_id
from executor.runs.conditions import among
from executor.runs.key_need import fitting
from executor.runs.spec import Offer, StaleToken
from secretstore.audit import Act, Actor, append, append_later
from secretstore.database import Database, table_of
from secretstore.models import Environment, KeyPair, Project
from secretstore.views import EnvironmentView

Kind = Literal["rotate", "rewrap", "rename", "delete"]
NEEDS_NO_KEY = ("delete",)
"""What any worker of a place can do: it destroys keys, and opens none."""

JOB = table_of(Job)
_PROJECT, _ENVIRONMENT, _PAIR = table_of(Project).c, table_of(Environment).c, table_of(KeyPair).c

ATTEMPTS_LIMIT = 10
"""A job whose workers die again and again would otherwise go round for ever."""

_GONE = "its environment, or its project, was deleted"
_LOST = f"its worker was lost {ATTEMPTS_LIMIT} times"


@dataclass(frozen=True)
class JobLease:
    """The right to write about one attempt of a job, as long as nobody holds a later token."""

    job_id: str
    attempt: int
    token: int
    seconds: float


def submit(
    db: Database,
    kind: Kind,
    environment: EnvironmentView,
    asked: Mapping[str, Any],
    *,
    actor: Actor,
    key: SigningKey | None = None,
) -> str:
    """Accept a job for a worker to do, and return its id. Who may ask for it, and for what, was decided before.

    With a `key` it is signed.
    """
    with db.writing() as session:
        project = session.get_one(Project, environment.project_id)
        job = Job(
            id=new_id(),
            kind=kind,
            project_id=project.id,
            project=project.name,
            environment_id=environment.id,
            environment=environment.name,
            asked=dict(asked),
            created_at=session.exec(select_one(db.now())).one(),
            created_by=actor.name,
            origin=actor.origin,
        )
        job.plan = plans.plan(job, key) if key is not None else None
        session.add(job)
        append(session, project, actor, Act("job.submit", environment.name, {"job": job.id, "kind": kind}))
        return job.id


def claim(db: Database, offer: Offer, seconds: float) -> tuple[Job, JobLease] | None:
    """Take the oldest job that nobody has and that this worker can do, or nothing."""
    with db.reading() as session:  # it is asked every second, and a writer would keep others waiting
        waiting = select(JOB.c.id).where(*_free(db), *suits(offer)).order_by(JOB.c.created_at).limit(1)
        found = session.connection().execute(waiting).scalar()
    if found is None:
        return None
    with db.writing() as session:
        taken = (
            update(JOB)
            .where(JOB.c.id == found, *_free(db), *suits(offer))
            .values(
                state="running",
                fencing_token=JOB.c.fencing_token + 1,
                attempt=JOB.c.attempt + 1,
                lease_owner=offer.worker,
                lease_until=db.after(seconds),
                started_at=db.now(),
            )
            .returning(*JOB.c)
        )
        row = session.connection().execute(taken).first()
        if row is None:
            return None
        job = Job(**row._mapping)
        return job, JobLease(job.id, job.attempt, job.fencing_token, seconds)


def renew(db: Database, lease: JobLease) -> bool:
    """Hold the lease for its length from now; False if the job is somebody else's, or over."""
    with db.writing() as session:
        return _write(session, lease, lease_until=db.after(lease.seconds))


def commit(session: Session, lease: JobLease, done: Mapping[str, Any]) -> None:
    """Say in the act's own transaction what it did.

    Raises:
        StaleToken: the job is somebody else's, or over: the act is not to be committed.
    """
    if not _write(session, lease, done=dict(done)):
        raise StaleToken


def finish(
    db: Database, lease: JobLease, state: Literal["succeeded", "failed"], reason: str | None = None, said: str = ""
) -> bool:
    """End the job; False if it is somebody else's, or over already."""
    with db.writing() as session:
        ended = {"state": state, "reason": reason, "message": said or None, "lease_until": None, "lease_owner": None}
        return _write(session, lease, finished_at=db.now(), **ended)


def refuse(db: Database, lease: JobLease, job: Job, worker: str, refused: PlanRefused) -> bool:
    """End a job that no server has accepted so; that stands in its row and among the events about secrets."""
    with db.writing() as session:
        said = {"state": "failed", "reason": refused.code, "message": str(refused)}
        if not _write(session, lease, finished_at=db.now(), lease_until=None, lease_owner=None, **said):
            return False
        append_later(
            session,
            job.project_id,
            job.project,
            actor=Actor(job.created_by, f"worker {worker}"),
            action="secrets.open",
            subject=job.environment,
            detail={"job": job.id, "attempt": lease.attempt, "kind": job.kind, "reason": refused.code},
            outcome="refused",
            at=session.exec(select_one(db.now())).one(),
        )
        return True


def give_back(db: Database, lease: JobLease, said: str) -> bool:
    """Let others take the job at once; `said` is why it was not done."""
    with db.writing() as session:
        return _write(session, lease, state="pending", message=said, lease_until=None, lease_owner=None)


def end_hopeless(db: Database) -> int:
    """Fail the jobs that nobody can do any more; returns how many."""
    with db.reading() as session:
        which = or_(~_of_living(), _hopeless())
        if session.connection().execute(select(JOB.c.id).where(_unheld(db), which).limit(1)).first() is None:
            return 0
    ended = 0
    with db.writing() as session:
        # An environment is gone once it is deleted, whether or not its worker could still say so.
        deleted = (_unheld(db), JOB.c.kind == "delete", JOB.c.done.is_not(null()))
        statement = update(JOB).where(*deleted).values(finished_at=db.now(), state="succeeded")
        ended += session.connection().execute(statement).rowcount
        for condition, said in ((~_of_living(), _GONE), (_hopeless(), _LOST)):
            values = {"state": "failed", "reason": "lost" if said is _LOST else "place_gone", "message": said}
            statement = update(JOB).where(_unheld(db), condition).values(finished_at=db.now(), **values)
            ended += session.connection().execute(statement).rowcount
    return ended


def suits(offer: Offer) -> tuple[ColumnElement[bool], ...]:
    """The job is of a place that a worker serves, whose private key it may be able to unwrap, where it needs that."""
    own = or_(true() if "*" in offer.key_services else among(JOB.c.id, ()), *_by(offer))
    pair = exists().where(
        _ENVIRONMENT.id == JOB.c.environment_id,
        _PAIR.environment_id == _ENVIRONMENT.id,
        _PAIR.generation == _ENVIRONMENT.generation,
        own,
    )
    served = or_(*(and_(*_halves(pattern)) for pattern in offer.places))
    opens = and_(pair, ~among(JOB.c.environment_id, offer.refused))
    return served, or_(JOB.c.kind.in_(NEEDS_NO_KEY), opens), _of_living()


def _by(offer: Offer) -> list[ColumnElement[bool]]:
    return [fitting(pattern, _PAIR.key_service) for pattern in offer.key_services]


def _halves(pattern: str) -> list[ColumnElement[bool]]:
    project, _, environment = pattern.partition("/")
    columns = ((JOB.c.project, project), (JOB.c.environment, environment))
    return [true() if named == "*" else column == named for column, named in columns]


def _free(db: Database) -> tuple[ColumnElement[bool], ...]:
    return _unheld(db), ~_hopeless()


def _unheld(db: Database) -> ColumnElement[bool]:
    """It is not over, and nobody's lease of it is good."""
    return and_(JOB.c.finished_at.is_(None), or_(JOB.c.lease_until.is_(None), JOB.c.lease_until < db.now()))


def _hopeless() -> ColumnElement[bool]:
    return JOB.c.attempt >= ATTEMPTS_LIMIT


def _of_living() -> ColumnElement[bool]:
    """Its environment is there, and its project is not deleted."""
    return exists().where(
        _ENVIRONMENT.id == JOB.c.environment_id, _PROJECT.id == _ENVIRONMENT.project_id, _PROJECT.deleted_at.is_(None)
    )


def _write(session: Session, lease: JobLease, **values: Any) -> bool:
    """Change the row of a job if the token is its latest and it is not over."""
    held = (col(Job.id) == lease.job_id, col(Job.fencing_token) == lease.token, col(Job.finished_at).is_(None))
    return bool(session.connection().execute(update(JOB).where(*held).values(**values)).rowcount)
