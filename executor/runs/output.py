"""What a run leaves, as it is written: output, files, numbers. Each write carries the attempt's token."""

from collections.abc import Sequence

from sqlalchemy import insert
from sqlmodel import SQLModel

from executor.models import LogChunk, Output, OutputChunk
from executor.runs.rows import guard
from executor.runs.spec import Lease
from executor.schemas.output import Piece
from secretstore.database import Database


def append(db: Database, lease: Lease, pieces: Sequence[Piece], more: Sequence[SQLModel] = ()) -> None:
    """Store pieces of an attempt's output, and what else came with them.

    Raises:
        StaleToken: the attempt is no longer the run's; nothing was written.
    """
    with db.writing() as session:
        guard(session, lease)
        if pieces:
            these = [{"run_id": lease.run_id, "attempt": lease.attempt, **vars(piece)} for piece in pieces]
            session.connection().execute(insert(LogChunk), these)
        # Copies: a transaction that is undone empties the objects that were in it.
        session.add_all(type(row)(**row.model_dump()) for row in more)


def rows(lease: Lease, pieces: Sequence[Piece]) -> list[LogChunk]:
    """Pieces as rows, for a caller that stores them in a transaction of its own."""
    return [LogChunk(run_id=lease.run_id, attempt=lease.attempt, **vars(piece)) for piece in pieces]


def begin_file(db: Database, lease: Lease, path: str, size: int | None, withheld: str | None = None) -> None:
    """Announce a file, or name one that is withheld.

    Raises:
        StaleToken: the attempt is no longer the run's.
    """
    with db.writing() as session:
        guard(session, lease)
        session.add(Output(run_id=lease.run_id, attempt=lease.attempt, path=path, size=size, withheld=withheld))


def append_to_file(db: Database, lease: Lease, path: str, sequence: int, data: bytes) -> None:
    """Store a piece of a file that was announced.

    Raises:
        StaleToken: the attempt is no longer the run's.
    """
    with db.writing() as session:
        guard(session, lease)
        session.add(OutputChunk(run_id=lease.run_id, attempt=lease.attempt, path=path, sequence=sequence, data=data))
