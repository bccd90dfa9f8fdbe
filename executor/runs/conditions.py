"""What is asked of a run's row, as SQL: each condition once, with the reason for it.

They are of the table itself, so that a connection can execute them, and take the time as `now`: what `Database.now`
returns, or a `clock` in a statement that is built once. Whether a worker can give what a run needs is `needs`.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, bindparam, false, func, literal_column, or_, select

from executor.models import Run
from executor.runs.spec import Lease
from executor.schemas.runs import OVER
from secretstore.database import table_of
from secretstore.models import Project

RUN = table_of(Run)
_PROJECT = table_of(Project)

# A run whose attempts die again and again before their gate would otherwise go round for ever. Retries do not count,
# nor do attempts that a key service refused: these end by themselves, see `refusals`.
ATTEMPTS_LIMIT = 10

HELD = and_(RUN.c.id == bindparam("of_run"), RUN.c.fencing_token == bindparam("of_token"))
"""The run, if the token is still its latest; `of` binds both."""

WRITABLE = and_(HELD, *(RUN.c.state != state for state in OVER))
"""The run, if whoever has the token may still write about it: it is the latest, and no outcome is committed."""

PENDING = RUN.c.state == literal_column("'pending'")
"""Written out and not bound, so that both databases see that an index of such rows alone will do."""

PENDING_BY_ID = func.coalesce(RUN.c.state, "") == "pending"
"""The same of a run that is named by its id: no index of such rows will do for it.

PostgreSQL takes one if it does not know yet how many have come, and reads all of them.
"""

NOT_CANCELLED = RUN.c.cancel_requested_at.is_(None)


def of(lease: Lease) -> dict[str, Any]:
    """What is bound to a statement about the run of a lease."""
    return {"of_run": lease.run_id, "of_token": lease.token}


def expired(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Nobody's lease of it is good."""
    return or_(RUN.c.lease_until.is_(None), RUN.c.lease_until < now)


def free(now: ColumnElement[Any], pending: ColumnElement[bool] = PENDING) -> tuple[ColumnElement[bool], ...]:
    """There is nobody's claim, and nothing but a worker to wait for, and its project's turn."""
    return claimable(now, pending), NOT_CANCELLED, ~hopeless()


def claimable(now: ColumnElement[Any], pending: ColumnElement[bool] = PENDING) -> ColumnElement[bool]:
    """Pending, nobody's lease is good, and no retry is waited for."""
    return and_(unheld(now, pending), or_(RUN.c.not_before.is_(None), RUN.c.not_before <= now))


def unheld(now: ColumnElement[Any], pending: ColumnElement[bool] = PENDING) -> ColumnElement[bool]:
    """Pending, and nobody's lease is good."""
    return and_(pending, expired(now))


def hopeless() -> ColumnElement[bool]:
    """So many attempts were lost before their gate that there is no other."""
    return RUN.c.attempt - RUN.c.retried - RUN.c.refused >= ATTEMPTS_LIMIT


def among(column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """One of a few values. A list to be IN is written into the statement anew each time; these are bound."""
    return or_(false(), *(column == value for value in values))


def room(now: ColumnElement[Any], project_id: ColumnElement[Any] = RUN.c.project_id) -> ColumnElement[bool]:
    """Its project is none that has all the leases it may have: they are looked up once for all runs of a listing."""
    return project_id.not_in(_full_projects(now))


def room_for_it(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """The same for one run: nothing is counted but for its own project, and only if that has a limit."""
    return ~_full_projects(now).where(_PROJECT.c.id == RUN.c.project_id).correlate(RUN).exists()


def _full_projects(now: ColumnElement[Any]) -> Select[Any]:
    others = RUN.alias()
    taken = leases(others, now).where(others.c.project_id == _PROJECT.c.id).correlate(_PROJECT)
    full = taken.scalar_subquery() >= _PROJECT.c.max_running
    return select(_PROJECT.c.id).where(_PROJECT.c.max_running.is_not(None), full)


def most_running() -> ScalarSelect[int | None]:
    """How many leases the run's project may have; empty where there is no limit."""
    its = _PROJECT.c.id == RUN.c.project_id
    return select(_PROJECT.c.max_running).where(its).correlate(RUN).scalar_subquery()


def leases(run: Any, now: ColumnElement[Any]) -> Select[Any]:
    """How many runs somebody has a good lease of: counted whenever it is asked, since a counter could be wrong."""
    return select(func.count()).select_from(run).where(run.c.lease_owner.is_not(None), run.c.lease_until >= now)
