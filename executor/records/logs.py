"""Masked output: read from where one stopped."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, select, tuple_

from executor.models import LogChunk
from executor.runs.output import unpacked
from executor.schemas.output import BEGINNING, Place, StoredPiece
from secretstore.database import Database, table_of

_CHUNK = table_of(LogChunk)

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
    bound: dict[str, Any] = {"of_run": run_id, "after_attempt": after.attempt, "after_sequence": after.sequence}
    if attempt is not None:
        bound["of_attempt"] = attempt
    statement = _reading(None if streams is None else frozenset(streams), attempt is not None)
    with db.reading() as session:
        rows = session.connection().execute(statement, {**bound, "most": limit}).all()
    pieces = [
        StoredPiece(row.sequence, row.stream, row.at, unpacked(row.packed, row.data), row.attempt) for row in rows
    ]
    return pieces, pieces[-1].place if pieces else after


@lru_cache(maxsize=16)
def _reading(streams: frozenset[str] | None, one: bool) -> Select[Any]:
    """It is asked many times a second by each follower; `one` is of a single attempt."""
    place = tuple_(_CHUNK.c.attempt, _CHUNK.c.sequence)
    after = tuple_(bindparam("after_attempt", type_=Integer()), bindparam("after_sequence", type_=Integer()))
    found = select(_CHUNK).where(_CHUNK.c.run_id == bindparam("of_run"), place > after)
    if one:
        found = found.where(_CHUNK.c.attempt == bindparam("of_attempt"))
    if streams is not None:
        found = found.where(_CHUNK.c.stream.in_(sorted(streams)))
    return found.order_by(_CHUNK.c.attempt, _CHUNK.c.sequence).limit(bindparam("most", type_=Integer()))
