"""Masked output: append in order, read from where one stopped."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, tuple_
from sqlmodel import SQLModel, col, select

from executor.errors import RequestUnclear
from executor.models import LogChunk
from executor.runs import Lease, guard
from secretstore.database import Database

STREAMS = ("stdout", "stderr", "setup")


@dataclass(frozen=True)
class Piece:
    """Bytes of one of `STREAMS`, masked already."""

    sequence: int
    stream: str
    at: datetime
    data: bytes


@dataclass(frozen=True, order=True)
class Place:
    """How far a reader has come; as text `ATTEMPT:SEQUENCE`."""

    attempt: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read `ATTEMPT:SEQUENCE`, as in 1:53.

        Raises:
            RequestUnclear: it is none.
        """
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
        if found is None:
            raise RequestUnclear(
                '"{place}" is no place in a run\'s output',
                place=text,
                hint="a place is ATTEMPT:SEQUENCE, as in 1:53: what `runs logs` says when it is left, and --json shows",
            )
        return cls(int(found[1]), int(found[2]))


BEGINNING = Place()


@dataclass(frozen=True)
class StoredPiece(Piece):
    """A piece as it is read: with the attempt that wrote it."""

    attempt: int

    @property
    def place(self) -> Place:
        """Where a reader is who has read it."""
        return Place(self.attempt, self.sequence)


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


def read(
    db: Database,
    run_id: str,
    after: Place = BEGINNING,
    limit: int = 500,
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
    pieces = [StoredPiece(row.sequence, row.stream, row.at, row.data, row.attempt) for row in rows]
    return pieces, pieces[-1].place if pieces else after
