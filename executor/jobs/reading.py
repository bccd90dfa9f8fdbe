"""Reading jobs: one with its receipts, or a project's; and which live workers could do one."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from executor.errors import UnknownJob
from executor.jobs.claims import NEEDS_NO_KEY
from executor.models import Job, JobReceipt, JobReceiptSecret
from executor.people.sight import ALL, Sight
from executor.runs import workers
from executor.schemas.jobs import JobReceiptView, JobServing, JobVersions, JobView
from secretstore.database import Database
from secretstore.keyring import fits
from secretstore.models import KeyPair, Project
from secretstore.vault.lookup import find_place, find_project
from secretstore.views import view_of


def serving(db: Database, project: str, environment: str, *, opens: bool = True) -> JobServing:
    """Return the live workers that could do a job of this environment, other than those that were refused lately.

    `opens`: one that needs the environment's private key.

    Raises:
        UnknownProject, UnknownEnvironment: it does not exist.
    """
    with db.reading() as session:
        _, found = find_place(session, project, environment)
        pair = session.get(KeyPair, (found.id, found.generation))
    key_service = pair.key_service if pair is not None else ""
    able = []
    for worker in workers.list_workers(db, alive_only=True):
        can = found.id not in worker.refused and any(fits(pattern, key_service) for pattern in worker.key_services)
        served = any(_serves(pattern, project, environment) for pattern in worker.places)
        if served and not worker.closed and (can or not opens):
            able.append(worker.name)
    missing = f"no live worker has the key service {key_service}, by which {project}/{environment} is wrapped"
    if not opens:
        missing = f"no live worker serves {project}/{environment}"
    return JobServing(tuple(able), None if able else missing)


def show(db: Database, project: str, job: str, sight: Sight = ALL) -> JobView:
    """Return a job with its receipts.

    Raises:
        UnknownProject: it does not exist.
        UnknownJob: the project has no job whose id begins so, or several.
    """
    with db.reading() as session:
        place = find_project(session, project)
        rows = session.exec(_seen(place, sight).where(col(Job.id).startswith(job, autoescape=True)).limit(2)).all()
        if len(rows) != 1:
            raise UnknownJob(job=job, project=project)
        row = rows[0]
        receipts = _receipts(session, row.id)
    view = _view(row, receipts)
    if row.state != "pending":
        return view
    return view_of(JobView, row, worker=row.lease_owner, receipts=receipts, waiting_for=_waiting_for(db, row))


def list_jobs(
    db: Database, project: str, environment: str | None = None, limit: int = 20, sight: Sight = ALL
) -> list[JobView]:
    """Return a project's jobs, the latest first.

    Raises:
        UnknownProject: it does not exist.
    """
    with db.reading() as session:
        place = find_project(session, project)
        query = _seen(place, sight)
        if environment is not None:
            query = query.where(Job.environment == environment)
        rows = session.exec(query.order_by(col(Job.created_at).desc(), col(Job.id)).limit(limit)).all()
    return [_view(row) for row in rows]


def _seen(project: Project, sight: Sight) -> Any:
    """The jobs of a project that somebody may see."""
    return select(Job).where(Job.project_id == project.id, sight.within(col(Job.project_id), col(Job.environment_id)))


def _serves(pattern: str, project: str, environment: str) -> bool:
    of_project, _, of_environment = pattern.partition("/")
    return of_project in ("*", project) and of_environment in ("*", environment)


def _view(row: Job, receipts: Sequence[JobReceiptView] = ()) -> JobView:
    return view_of(JobView, row, worker=row.lease_owner, receipts=tuple(receipts), waiting_for=None)


def _waiting_for(db: Database, row: Job) -> str | None:
    return serving(db, row.project, row.environment, opens=row.kind not in NEEDS_NO_KEY).missing


def _receipts(session: Session, job_id: str) -> tuple[JobReceiptView, ...]:
    versions: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    query = select(JobReceiptSecret).where(JobReceiptSecret.job_id == job_id)
    for one in session.exec(query.order_by(col(JobReceiptSecret.name), col(JobReceiptSecret.version))):
        versions[one.attempt][one.name].append(one.version)
    rows = session.exec(
        select(JobReceipt)
        .where(JobReceipt.job_id == job_id)
        .order_by(col(JobReceipt.attempt), col(JobReceipt.generation))
    ).all()
    return tuple(
        view_of(
            JobReceiptView,
            row,
            secrets=tuple(JobVersions(name, tuple(numbers)) for name, numbers in versions[row.attempt].items()),
        )
        for row in rows
    )
