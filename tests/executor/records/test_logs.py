"""Output that is kept: in order, over attempts, and read on from where a reader stopped."""

import os
from datetime import UTC, datetime

import pytest
from sqlmodel import col, select

from executor import runs
from executor.errors import RequestUnclear
from executor.models import LogChunk
from executor.records import logs
from executor.runs import Outcome, output
from executor.schemas.output import Piece, Place, StoredPiece
from secretstore.database import Database
from tests.executor.conftest import Bench

AT = datetime(2026, 1, 2, tzinfo=UTC)


def pieces(*sequences: int) -> list[Piece]:
    return [Piece(number, "stdout" if number % 2 else "stderr", AT, b"\xff\0%d" % number) for number in sequences]


def stored(attempt: int, *sequences: int) -> list[StoredPiece]:
    return [StoredPiece(**vars(piece), attempt=attempt) for piece in pieces(*sequences)]


def test_a_reader_goes_on_where_it_stopped(db: Database, bench: Bench) -> None:
    """Nothing twice and nothing left out, whatever the steps; at the end the place stays where it is."""
    lease = bench.running(db)
    output.append(db, lease, pieces(1, 2, 3))
    first, place = logs.read(db, lease.run_id, limit=2)
    assert (first, place) == (stored(1, 1, 2), Place(1, 2))
    output.append(db, lease, pieces(4))
    rest, place = logs.read(db, lease.run_id, place)
    assert (rest, place) == (stored(1, 3, 4), Place(1, 4))
    assert logs.read(db, lease.run_id, place) == ([], Place(1, 4))


def test_a_second_attempt_follows_the_first(db: Database, bench: Bench) -> None:
    """Its sequence begins anew and still comes after all of the attempt before."""
    lease = bench.running(db, retries=9, retry_on=["lost"])
    output.append(db, lease, pieces(1, 2))
    _, place = logs.read(db, lease.run_id)
    runs.give_back(db, lease, Outcome("lost", "lost"))
    second = bench.claim(db, lease.run_id)
    bench.through(db, second)
    output.append(db, second, pieces(1))
    assert logs.read(db, lease.run_id, place) == (stored(2, 1), Place(2, 1))
    assert logs.read(db, lease.run_id)[0] == stored(1, 1, 2) + stored(2, 1)


def test_each_run_has_its_own_output(db: Database, bench: Bench) -> None:
    """Of an unknown run there is none."""
    one, other = bench.running(db), bench.running(db)
    output.append(db, one, pieces(1))
    assert logs.read(db, other.run_id) == ([], Place())
    assert logs.read(db, "0" * 32) == ([], Place())


def test_streams_are_read_apart(db: Database, bench: Bench) -> None:
    """The place is that of the last piece that was read, and what follows it of this stream is next."""
    lease = bench.running(db)
    output.append(db, lease, pieces(1, 2, 3, 4))
    found, place = logs.read(db, lease.run_id, limit=1, streams=["stderr"])
    assert (found, place) == (stored(1, 2), Place(1, 2))
    assert logs.read(db, lease.run_id, place, streams=["stderr"])[0] == stored(1, 4)
    assert logs.read(db, lease.run_id, streams=[])[0] == []


def test_a_place_is_read_as_it_is_written() -> None:
    """And nothing else is one."""
    assert Place.parse(str(Place(1, 53))) == Place(1, 53)
    for text in ("", "1", "1:", ":1", "1:2:3", "a:1", "-1:2", "1:" + "9" * 30, "1: 2"):
        with pytest.raises(RequestUnclear, match="no place in a run's output"):
            Place.parse(text)


def test_long_pieces_are_stored_packed_and_read_as_they_were(db: Database, bench: Bench) -> None:
    """What cannot be packed is stored as it is; what somebody has altered is said, and hides no other."""
    lease = bench.running(db)
    same, noise = b"the same\n" * 20_000, os.urandom(4000)
    these = [Piece(number, "stdout", AT, data) for number, data in enumerate((same, noise, same), 1)]
    output.append(db, lease, these[:2])
    runs.finish(db, lease, Outcome("succeeded", rows=output.rows(lease, these[2:])))
    assert [one.data for one in logs.read(db, lease.run_id)[0]] == [same, noise, same]
    with db.writing() as session:
        rows = session.exec(select(LogChunk).order_by(col(LogChunk.sequence))).all()
        assert [row.packed for row in rows] == [True, False, True] and len(rows[0].data) < 2000
        rows[0].data = b"no zlib"
    found = [one.data for one in logs.read(db, lease.run_id)[0]]
    assert b"cannot be read" in found[0] and found[1:] == [noise, same]
