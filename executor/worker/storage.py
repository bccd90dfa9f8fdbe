"""Whether this worker can keep what runs leave: told once when it cannot, and once when it can again."""

import contextlib
import errno
import logging
import os
import tempfile
from pathlib import Path

from executor.models import LogChunk, new_id
from secretstore.database import Database, utc_now
from secretstore.errors import DatabaseUnavailable, DatabaseUnwritable

logger = logging.getLogger("sealrun")

_TRIED = 1 << 20  # bytes; the end of a run fits
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def full(problem: BaseException) -> str | None:
    """What a disk that is full or read-only is told as, where it is the problem."""
    if not isinstance(problem, OSError) or problem.errno not in _FULL:
        return None
    why = "is read-only" if problem.errno == errno.EROFS else "is full"
    return f"the worker's disk {why}" + (f": {problem.filename}" if problem.filename else "")


class Storage:
    """The database and the folder of workspaces. A worker takes no run while it cannot write to both."""

    def __init__(self, db: Database, workspaces: Path) -> None:
        self._db, self._workspaces = db, workspaces
        self._why: str | None = None
        self._closed = False

    @property
    def closed(self) -> str | None:
        """Why no run may be taken. A database that is away is found out by asking it."""
        return self._why if self._closed else None

    @property
    def trouble(self) -> str | None:
        """What failed last, as long as it does."""
        return self._why

    def failed(self, problem: DatabaseUnavailable | str) -> None:
        """Something could not be written, or not even be asked for."""
        closed = isinstance(problem, DatabaseUnwritable | str)
        if self._why is None or (closed and not self._closed):
            logger.warning("%s%s", problem, "; no run is taken until it can be written" if closed else "")
            self._why = str(problem)
        self._closed = self._closed or closed
        if isinstance(problem, DatabaseUnwritable):
            # What was begun in vain has taken room in SQLite's log, which what is small could have.
            with contextlib.suppress(DatabaseUnavailable):
                self._db.wipe()

    def look(self) -> None:
        """Where something failed, see whether it would again.

        Raises:
            DatabaseUnavailable: the database does not answer, or takes nothing.
        """
        if self._why is None:
            return
        try:
            if self._closed:
                self._write()
            with self._db.reading():
                pass
        except OSError as problem:
            if full(problem) is None:
                raise
            return
        logger.info("it can be written again: runs are taken" if self._closed else "the database answers again")
        self._why, self._closed = None, False

    def _write(self) -> None:
        """Write as much as the end of a run needs, and leave nothing of it."""
        data = os.urandom(_TRIED)
        with tempfile.TemporaryFile(dir=self._workspaces, buffering=0) as file:
            file.write(data)
        with self._db.writing(last=True) as session:
            row = LogChunk(run_id=new_id(), attempt=0, sequence=0, stream="", at=utc_now(), data=data)
            session.add(row)
            session.flush()
            session.delete(row)
