"""Whose turn it is where many wait: the projects with runs that a worker could take, however many of them there are.

Bells come in the order of submission, so that ten thousand runs of one project, submitted at once, would keep another's
single one waiting until all of them have had theirs. A worker that is behind asks here instead.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, literal, literal_column, select, union_all

from executor.runs.conditions import PENDING_BY_ID, RUN, free, leases, room
from executor.runs.needs import suits
from executor.runs.spec import Offer
from secretstore.database import Database, clock

LATE = 1.0
"""Seconds after its bell from which on a run waits for its turn, and not only for the bell to be heard."""

# Projects that are looked at. With a limit SQLite looks for each one's run once, and not wherever it is named.
_MOST = 1000
# Runs of each that are looked at. What suits this worker and waits behind so many that do not has its own bell.
_NEAREST = 20


class Turn(NamedTuple):
    """A project with runs that wait, the one that has waited longest, and how many somebody has a lease of.

    `late`: that one has waited for longer than a bell takes to be heard.
    """

    project_id: str
    run_id: str
    running: int
    late: bool


def turns(db: Database, offer: Offer) -> list[Turn]:
    """The projects of which this worker could take a run now, unless they have all the leases that they may have."""
    if not offer.queues:
        return []
    bound = {"now": db.from_now(), "late": db.from_now(-LATE)}
    with db.looking() as transaction:
        found = transaction.execute(looking(db.dialect, offer), bound)
        return [Turn(row.project_id, row.run_id, row.running, bool(row.late)) for row in found]


def project_of(db: Database, run_id: str) -> str | None:
    """The project of a run that still waits."""
    with db.looking() as transaction:
        found = transaction.execute(_PROJECT_OF, {"of_run": run_id}).first()
        return None if found is None else str(found.project_id)


_PROJECT_OF = select(RUN.c.project_id).where(RUN.c.id == bindparam("of_run"), PENDING_BY_ID)


@lru_cache(maxsize=64)
def looking(dialect: str, offer: Offer) -> Select[Any]:
    """It goes from one project that waits to the next by the index `executor_run_turns`, and reads no run between."""
    now = clock(dialect, "now")
    served = union_all(*(select(literal(queue).label("queue")) for queue in offer.queues)).subquery()
    first = select(served.c.queue, _least(served.c.queue, None).label("project_id"))
    waiting = first.cte("waiting", recursive=True)
    then = select(waiting.c.queue, _least(waiting.c.queue, waiting.c.project_id))
    waiting = waiting.union_all(then.where(waiting.c.project_id.is_not(None)))

    others = RUN.alias()
    its = (RUN.c.queue == waiting.c.queue, RUN.c.project_id == waiting.c.project_id)
    fits = and_(*free(now), suits(offer)).label("fits")
    waits = select(RUN.c.id, RUN.c.created_at, fits).where(*its, RUN.c.state == literal_column("'pending'"))
    near = waits.order_by(RUN.c.created_at).limit(_NEAREST).correlate(waiting).subquery("near")
    oldest = select(near.c.id).where(near.c.fits).order_by(near.c.created_at).limit(1)
    running = leases(others, now).where(others.c.project_id == waiting.c.project_id)
    found = (
        select(
            waiting.c.project_id,
            oldest.scalar_subquery().label("run_id"),
            running.correlate(waiting).scalar_subquery().label("running"),
        )
        .where(waiting.c.project_id.is_not(None), room(now, waiting.c.project_id))
        .limit(_MOST)
        .subquery("found")
    )
    its_own = RUN.alias()
    late = select(its_own.c.rung_at <= clock(dialect, "late")).where(its_own.c.id == found.c.run_id).scalar_subquery()
    return select(found, late.label("late")).where(found.c.run_id.is_not(None))


def _least(queue: Any, above: Any) -> Any:
    """The first project, by id, that waits in a queue; or the first one after another."""
    run = RUN.alias()
    waits = select(run.c.project_id).where(run.c.state == literal_column("'pending'"), run.c.queue == queue)
    if above is not None:
        waits = waits.where(run.c.project_id > above)
    # Not `min`: PostgreSQL would read all of a crowd that came after it last looked how many there are.
    return waits.order_by(run.c.project_id).limit(1).scalar_subquery()
