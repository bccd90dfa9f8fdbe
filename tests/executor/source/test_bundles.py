"""Uploaded source in the database: stored once, whole or not there, however many upload it and whoever is killed."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from executor.errors import SourceDamaged, SourceRefused, SourceUnavailable
from executor.source import bundles, packing
from executor.source.bundles import delete_unused, discard, pieces, upload
from executor.source.packing import Packed, listing
from secretstore.database import Database
from tests.executor.conftest import Bench


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packed:
    """Some files, stored in pieces of a thousand bytes."""
    monkeypatch.setattr(bundles, "PIECE", 1000)
    (tmp_path / "source").mkdir()
    for name in ("a.py", "b.py"):
        (tmp_path / "source" / name).write_bytes(bytes(range(256)) * 20)
    return packing.pack(listing(tmp_path / "source", 1 << 20))


def execute(db: Database, statement: str, **values: Any) -> Any:
    with db.writing() as session:
        return session.connection().execute(text(statement), values)


def stored(db: Database) -> tuple[int, int]:
    """How many bundles there are, and how many pieces."""
    with db.reading() as session:
        tables = ("executor_source_bundle", "executor_source_bundle_chunk")
        counts = [session.connection().execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]
    return counts[0], counts[1]


def whole(db: Database, packed: Packed, project: str = "p1") -> bool:
    return b"".join(pieces(db, project, packed.digest)) == packed.tar


def test_it_comes_back_byte_for_byte(db: Database, packed: Packed) -> None:
    """In its order, and from its own project alone."""
    assert upload(db, "p1", packed) == packed.digest
    assert whole(db, packed) and stored(db) == (1, -(-packed.size // 1000))
    with pytest.raises(SourceUnavailable, match=packed.digest[:12]):
        next(pieces(db, "p2", packed.digest))
    with pytest.raises(SourceUnavailable, match="no longer in the database"):
        next(pieces(db, "p1", "0" * 64))


def test_it_is_stored_once_per_project(sqlite_db: Database, packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second upload sends nothing, another project's has pieces of its own."""
    upload(sqlite_db, "p1", packed)
    before = stored(sqlite_db)
    monkeypatch.setattr(bundles.zlib, "compress", lambda data: pytest.fail("it is compressed again"))
    upload(sqlite_db, "p1", packed)
    assert stored(sqlite_db) == before
    monkeypatch.undo()
    monkeypatch.setattr(bundles, "PIECE", 1000)
    upload(sqlite_db, "p2", packed)
    assert stored(sqlite_db) == (2, 2 * before[1]) and whole(sqlite_db, packed, "p2")


def test_uploaders_at_once_fill_in_for_each_other(db: Database, packed: Packed) -> None:
    """All end well, and what is stored is whole and there once, in either database."""
    begin = threading.Barrier(4)

    def one(_: int) -> str:
        begin.wait()
        return upload(db, "p1", packed)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {packed.digest}
    assert whole(db, packed) and stored(db) == (1, -(-packed.size // 1000))


class Killed(BaseException):
    """what ends an uploader half-way"""


@pytest.fixture
def broken_off(db: Database, packed: Packed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database in which an upload has ended after its third piece."""
    real, sent = bundles.zlib.compress, []

    def compress(data: memoryview) -> bytes:
        if len(sent) == 3:
            raise Killed
        sent.append(data)
        return real(data)

    with monkeypatch.context() as patched:
        patched.setattr(bundles.zlib, "compress", compress)
        with pytest.raises(Killed):
            upload(db, "p1", packed)
    yield db


def test_a_killed_upload_is_none_and_the_next_one_ends_it(broken_off: Database, packed: Packed) -> None:
    """Nobody reads the half of it; what is there already is not sent again."""
    assert stored(broken_off) == (1, 3)
    with pytest.raises(SourceUnavailable, match="no longer in the database"):
        next(pieces(broken_off, "p1", packed.digest))
    upload(broken_off, "p1", packed)
    assert whole(broken_off, packed)


def test_a_removal_meanwhile_is_noticed(sqlite_db: Database, packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is uploaded again; and where somebody removes it every time, that is told."""
    real = bundles._completed
    removals = []

    def completed(db: Database, project_id: str, packed: Packed) -> bool:
        if len(removals) < allowed:
            removals.append(1)
            if len(removals) % 2:
                discard(db, project_id, packed.digest)
            else:  # and somebody else has begun to upload it again
                execute(db, "DELETE FROM executor_source_bundle_chunk WHERE sequence = 2")
        return real(db, project_id, packed)

    monkeypatch.setattr(bundles, "_completed", completed)
    allowed = 2
    upload(sqlite_db, "p1", packed)
    assert whole(sqlite_db, packed)
    discard(sqlite_db, "p1", packed.digest)
    allowed = 9
    with pytest.raises(SourceRefused, match="somebody keeps removing it"):
        upload(sqlite_db, "p1", packed)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM executor_source_bundle_chunk WHERE sequence = 3",
        "DELETE FROM executor_source_bundle_chunk WHERE sequence > 3",
        "UPDATE executor_source_bundle_chunk SET data = x'00' WHERE sequence = 3",
        "UPDATE executor_source_bundle SET size = size + 1",
    ],
)
def test_damage_is_told(sqlite_db: Database, packed: Packed, damage: str) -> None:
    """A piece that is missing or broken ends the reading; after its removal it is uploaded anew."""
    upload(sqlite_db, "p1", packed)
    execute(sqlite_db, damage)
    with pytest.raises(SourceDamaged):
        list(pieces(sqlite_db, "p1", packed.digest))
    discard(sqlite_db, "p1", packed.digest)
    assert stored(sqlite_db) == (0, 0)
    upload(sqlite_db, "p1", packed)
    assert whole(sqlite_db, packed)


def test_a_piece_that_swells_is_not_opened_whole(sqlite_db: Database, packed: Packed) -> None:
    """A gigabyte of zeros in a kilobyte is a broken piece, found after its first thousand bytes."""
    upload(sqlite_db, "p1", packed)
    bomb = bundles.zlib.compress(bytes(50 << 20))
    execute(sqlite_db, "UPDATE executor_source_bundle_chunk SET data = :bomb WHERE sequence = 0", bomb=bomb)
    with pytest.raises(SourceDamaged):
        list(pieces(sqlite_db, "p1", packed.digest))
    assert len(bundles._opened(bomb)) == bundles.PIECE + 1


def test_what_no_run_refers_to_goes_after_a_day(
    db: Database, bench: Bench, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complete or not. What a run refers to, what was uploaded again today, and another project's stay."""
    for project in ("p1", "p2"):
        upload(db, project, packed)
    assert delete_unused(db) == 0
    monkeypatch.setattr(bundles, "KEPT", -60.0)
    run = bench.create(db, bundle=packed.digest, host=None)
    assert delete_unused(db) == 1  # p2's: the run is p1's
    assert whole(db, packed) and stored(db)[0] == 1
    execute(db, "DELETE FROM executor_run WHERE id = :id", id=run)
    execute(db, "UPDATE executor_source_bundle SET complete = :no", no=False)
    assert delete_unused(db) == 1
    assert stored(db) == (0, 0)
