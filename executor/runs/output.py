"""What a run leaves, as rows: output, files, numbers. What stores them carries the attempt's token."""

import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Insert, bindparam, delete, insert
from sqlmodel import SQLModel

from executor.models import LogChunk, Output, OutputChunk
from executor.runs.rows import guard
from executor.runs.spec import Lease
from executor.schemas.output import PIECE, Piece
from secretstore.database import Database, table_of
from secretstore.transaction import Transaction

_FILE = ("run_id", "attempt", "path")
_WITHHELD = delete(table_of(OutputChunk)).where(
    *(table_of(OutputChunk).c[name] == bindparam(f"of_{name}") for name in _FILE)
)

_WORTH = 512  # bytes below which a row's other columns outweigh what packing saves
_LEVEL = 1  # the quickest: output is mostly text, of which more effort saves little more
_UNREADABLE = b"sealrun: a piece of this output cannot be read: it is not as it was stored\n"


def append(db: Database, lease: Lease, pieces: Sequence[Piece], more: Sequence[SQLModel] = ()) -> None:
    """Store pieces of an attempt's output, and what else came with them; whoever else wants to write goes first.

    Of a file that is withheld, after all, nothing stays.

    Raises:
        StaleToken: the attempt is no longer the run's; nothing was written.
    """
    these = [_columns(lease, piece) for piece in pieces]  # packed before anybody is kept waiting
    with db.acting(last=True) as transaction:
        guard(transaction, lease)
        if these:
            transaction.execute(_inserting(LogChunk), these if len(these) > 1 else these[0])
        add(transaction, more)
        for row in more:
            if isinstance(row, Output) and row.withheld is not None:
                transaction.execute(_WITHHELD, {f"of_{name}": getattr(row, name) for name in _FILE})


def add(transaction: Transaction, these: Iterable[SQLModel]) -> None:
    """Store rows in the caller's transaction, those of a table in one statement."""
    found: dict[type[SQLModel], list[dict[str, Any]]] = {}
    for row in these:
        found.setdefault(type(row), []).append(row.model_dump())
    for table, its in found.items():
        transaction.execute(_inserting(table), its if len(its) > 1 else its[0])


@cache
def _inserting(table: type[SQLModel]) -> Insert:
    return insert(table_of(table))


def rows(lease: Lease, pieces: Sequence[Piece]) -> list[LogChunk]:
    """Pieces as rows, for a caller that stores them in a transaction of its own."""
    return [LogChunk(**_columns(lease, piece)) for piece in pieces]


def file(
    lease: Lease,
    path: str,
    size: int | None,
    withheld: str | None = None,
    masked: dict[str, Any] | None = None,
    executable: bool = False,
) -> Output:
    """A file that the run left, with what was masked in it, or the name of one that is withheld."""
    return Output(
        run_id=lease.run_id,
        attempt=lease.attempt,
        path=path,
        size=size,
        withheld=withheld,
        masked=masked,
        executable=executable,
    )


def file_piece(lease: Lease, path: str, sequence: int, data: bytes) -> OutputChunk:
    """A piece of a file."""
    return OutputChunk(run_id=lease.run_id, attempt=lease.attempt, path=path, sequence=sequence, data=data)


def unpacked(packed: bool, data: bytes) -> bytes:
    """The bytes of a piece; a row that something else has written is no reason to read no others, or without end."""
    if not packed:
        return data
    try:
        return zlib.decompressobj().decompress(data, PIECE)
    except zlib.error:
        return _UNREADABLE


def _columns(lease: Lease, piece: Piece) -> dict[str, Any]:
    data, packed = piece.data, False
    if len(data) >= _WORTH:
        smaller = zlib.compress(data, _LEVEL)
        packed = len(smaller) < len(data)
        data = smaller if packed else data
    return {"run_id": lease.run_id, "attempt": lease.attempt, **vars(piece), "packed": packed, "data": data}
