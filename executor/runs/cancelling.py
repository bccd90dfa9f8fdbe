"""Cancel a run, and tell its worker at once."""

from executor.broker import notices
from executor.runs import settling
from executor.settings import Settings
from secretstore.database import Database


def cancel(db: Database, settings: Settings, run_id: str, actor: str) -> bool:
    """Cancel a run: at once where nobody has it, else by asking its worker. True when it is cancelled already.

    Raises:
        RunOver: an outcome is committed; it stands.
        UnknownRun: there is none of this id.
    """
    done = settling.cancel(db, run_id, actor)
    if not done:
        notices.tell(db, settings, run_id)
    return done
