"""What somebody read of a run that prints what its secrets made of it: on record, as a write would be."""

from executor.people.principal import KnownActor, Place
from executor.people.throttle import counted
from secretstore.audit import append_later
from secretstore.database import Database, utc_now

_ONCE_SECONDS = 600


def record_read(db: Database, who: KnownActor, at: Place, run_id: str, what: str) -> bool:
    """Leave an event for the chain of a run's project: who read which run, and what of it; whether there is a new one.

    Whoever turns pages, or follows and is cut off, reads the same: that is one event in ten minutes.

    Args:
        what: `logs`, `search`, `outputs`, …
    """
    assert at.project_id is not None and at.project is not None, "a run is in a project"
    with db.writing() as session:
        count, _ = counted(db, session, f"read {who.principal.id} {run_id} {what}", _ONCE_SECONDS)
        if count > 1:
            return False
        detail = {"run": run_id, "account_id": who.principal.id}
        if who.principal.credential is not None:
            detail["token_id"] = who.principal.credential
        subject = f"{at.environment or ''}/{run_id}"
        append_later(
            session, at.project_id, at.project, actor=who, action=f"run.read-{what}", subject=subject, detail=detail,
            at=utc_now(),
        )  # fmt: skip
    return True
