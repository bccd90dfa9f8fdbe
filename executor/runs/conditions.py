"""What is asked of a run's row, as SQL: each condition once, with the reason for it.

Whether a worker can give what a run needs is `needs`.
"""

from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from executor.models import Run
from executor.runs.spec import Lease
from executor.schemas.runs import OVER
from secretstore.database import Database
from secretstore.models import Project

# A run whose attempts die again and again before their gate would otherwise go round for ever. Retries do not count,
# nor do attempts that a key service refused: these end by themselves, see `refusals`.
ATTEMPTS_LIMIT = 10


def held(lease: Lease) -> ColumnElement[bool]:
    """The run, if the token is still its latest."""
    return and_(col(Run.id) == lease.run_id, col(Run.fencing_token) == lease.token)


def writable(lease: Lease) -> ColumnElement[bool]:
    """The run, if whoever has the token may still write about it: it is the latest, and no outcome is committed."""
    return and_(held(lease), col(Run.state).not_in(OVER))


def expired(db: Database, asked: bool) -> list[ColumnElement[bool]]:
    """Where it is asked for: nobody's lease of it is good."""
    return [or_(col(Run.lease_until).is_(None), col(Run.lease_until) < db.now())] if asked else []


def free(db: Database) -> tuple[ColumnElement[bool], ...]:
    """There is nobody's claim, and nothing but a worker to wait for, and its project's turn."""
    return claimable(db), col(Run.cancel_requested_at).is_(None), ~hopeless()


def claimable(db: Database) -> ColumnElement[bool]:
    """Pending, nobody's lease is good, and no retry is waited for."""
    return and_(unheld(db), or_(col(Run.not_before).is_(None), col(Run.not_before) <= db.now()))


def unheld(db: Database) -> ColumnElement[bool]:
    """Pending, and nobody's lease is good."""
    return and_(col(Run.state) == "pending", or_(col(Run.lease_until).is_(None), col(Run.lease_until) < db.now()))


def hopeless() -> ColumnElement[bool]:
    """So many attempts were lost before their gate that there is no other."""
    return col(Run.attempt) - col(Run.retried) - col(Run.refused) >= ATTEMPTS_LIMIT


def room(db: Database) -> ColumnElement[bool]:
    """Its project is none that has all the leases it may have: they are looked up once for all runs of a listing."""
    return col(Run.project_id).not_in(_full_projects(db))


def room_for_it(db: Database) -> ColumnElement[bool]:
    """The same for one run: nothing is counted but for its own project, and only if that has a limit."""
    full: ColumnElement[bool] = _full_projects(db).where(Project.id == Run.project_id).correlate(Run).exists()
    return ~full


def _full_projects(db: Database) -> Any:
    taken = leases(others := aliased(Run), db).where(others.project_id == Project.id).correlate(Project)
    full = taken.scalar_subquery() >= Project.max_running
    return select(Project.id).where(col(Project.max_running).is_not(None), full)


def most_running() -> ScalarSelect[int | None]:
    """How many leases the run's project may have; empty where there is no limit."""
    return select(Project.max_running).where(Project.id == Run.project_id).correlate(Run).scalar_subquery()


def leases(run: Any, db: Database) -> Any:
    """How many runs somebody has a good lease of: counted whenever it is asked, since a counter could be wrong."""
    return select(func.count()).select_from(run).where(run.lease_owner.is_not(None), run.lease_until >= db.now())
