"""Masked output: read from where one stopped."""

from collections.abc import Collection

from sqlalchemy import tuple_
from sqlmodel import col, select

from executor.models import LogChunk
from executor.runs.output import unpacked
from executor.schemas.output import BEGINNING, Place, StoredPiece
from secretstore.database import Database

AT_A_TIME = 64
"""Pieces that are read at a time, of up to 256 KiB each."""


def read(
    db: Database,
    run_id: str,
    after: Place = BEGINNING,
    limit: int = AT_A_TIME,
    streams: Collection[str] | None = None,
    attempt: int | None = None,
) -> tuple[list[StoredPiece], Place]:
    """The next pieces of a run's output, over all its attempts or of one alone, and the place to go on from.

    Of the streams that are named; None means all.
    """
    wanted = [] if streams is None else [col(LogChunk.stream).in_(streams)]
    one = [] if attempt is None else [col(LogChunk.attempt) == attempt]
    with db.reading() as session:
        rows = session.exec(
            select(LogChunk)
            .where(
                LogChunk.run_id == run_id,
                *one,
                tuple_(col(LogChunk.attempt), col(LogChunk.sequence)) > (after.attempt, after.sequence),
                *wanted,
            )
            .order_by(col(LogChunk.attempt), col(LogChunk.sequence))
            .limit(limit)
        ).all()
    pieces = [StoredPiece(row.sequence, row.stream, row.at, unpacked(row), row.attempt) for row in rows]
    return pieces, pieces[-1].place if pieces else after
