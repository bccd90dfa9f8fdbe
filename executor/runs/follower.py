"""Who reads a run's output as it comes: its worker then stores it at once, and keeps none of it for the run's end."""

from sqlalchemy import bindparam, select, update

from executor.runs.conditions import RUN
from executor.schemas.runs import OVER
from secretstore.database import Database

_THIS = RUN.c.id == bindparam("of_run")
_FOLLOWED = select(RUN.c.followed).where(_THIS)
_UNFOLLOWED = select(RUN.c.id).where(_THIS, ~RUN.c.followed, *(RUN.c.state != state for state in OVER))
_FOLLOW = update(RUN).where(_THIS, *(RUN.c.state != state for state in OVER)).values(followed=True)


def is_followed(db: Database, run_id: str) -> bool:
    """Whether somebody follows a run, or has."""
    with db.looking() as transaction:
        found = transaction.execute(_FOLLOWED, {"of_run": run_id}).first()
        return found is not None and bool(found.followed)


def follow(db: Database, run_id: str) -> None:
    """Somebody begins to follow a run; where it is known already, or the run is over, nothing is written."""
    with db.looking() as transaction:
        if transaction.execute(_UNFOLLOWED, {"of_run": run_id}).first() is None:
            return
    with db.acting() as transaction:
        transaction.execute(_FOLLOW, {"of_run": run_id})
