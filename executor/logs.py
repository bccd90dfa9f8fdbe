"""Masked output: append in order, read from where one stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import tuple_
from sqlmodel import col, select

from executor.models import LogChunk
from executor.runs import Lease, guard
from secretstore.database import Database


@dataclass(frozen=True)
class Piece:
    """Bytes of one stream (`stdout` or `stderr`), masked already."""

    sequence: int
    stream: str
    at: datetime
    data: bytes


@dataclass(frozen=True, order=True)
class Place:
    """How far a reader has come."""

    attempt: int = 0
    sequence: int = 0


def append(db: Database, lease: Lease, pieces: Sequence[Piece]) -> None:
    """Store pieces of an attempt's output.

    Raises:
        StaleToken: the attempt is no longer the run's; nothing was written.
    """
    with db.writing() as session:
        guard(session, lease)
        session.add_all(rows(lease, pieces))


def rows(lease: Lease, pieces: Sequence[Piece]) -> list[LogChunk]:
    """Pieces as rows, for a caller that stores them in a transaction of its own."""
    return [LogChunk(run_id=lease.run_id, attempt=lease.attempt, **vars(piece)) for piece in pieces]


def read(db: Database, run_id: str, after: Place = Place(), limit: int = 500) -> tuple[list[Piece], Place]:
    """The next pieces of a run's output, over all its attempts, and the place to go on from."""
    with db.reading() as session:
        rows = session.exec(
            select(LogChunk)
            .where(
                LogChunk.run_id == run_id,
                tuple_(col(LogChunk.attempt), col(LogChunk.sequence)) > (after.attempt, after.sequence),
            )
            .order_by(col(LogChunk.attempt), col(LogChunk.sequence))
            .limit(limit)
        ).all()
    pieces = [Piece(row.sequence, row.stream, row.at, row.data) for row in rows]
    return pieces, Place(rows[-1].attempt, rows[-1].sequence) if rows else after
