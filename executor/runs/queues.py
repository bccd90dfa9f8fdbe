"""How many runs wait in a queue, and for how long: what is counted, never who waits."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlmodel import col
from sqlmodel import select as select_one

from executor.models import Run
from executor.runs.conditions import claimable
from executor.runs.spec import LONGEST
from secretstore.database import Database


def waiting(db: Database, queues: Sequence[str]) -> dict[str, tuple[int, float]]:
    """The runs that nobody has taken, by queue: how many, and for how many seconds the oldest could have been taken.

    A queue in which none waits has 0 of both. Rows are not always of our writing: what has no moment is not counted.
    """
    since = func.coalesce(Run.not_before, Run.rung_at)
    with db.reading() as session:
        now = session.exec(select_one(db.now())).one()
        rows = session.execute(
            select(col(Run.queue), func.count(), func.min(since))
            .where(
                claimable(db.now()),
                col(Run.cancel_requested_at).is_(None),
                col(Run.queue).in_(queues),
                since.between(db.after(-LONGEST), db.now()),
            )
            .group_by(Run.queue)
        ).all()
    found = {queue: (count, max((now - oldest).total_seconds(), 0.0)) for queue, count, oldest in rows}
    return {queue: found.get(queue, (0, 0.0)) for queue in queues}
