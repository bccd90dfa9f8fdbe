"""From what a supervisor sends to the database: whole and in order, whatever the database takes and when."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import event

from executor.boundary.wire import Frame, Kind
from executor.records import files, history, logs
from executor.runs import Lease, Outcome, StaleToken, finish, follower
from executor.worker import storing
from executor.worker.collecting import Collector
from executor.worker.equipment import Equipment
from executor.worker.judging import bare
from executor.worker.starts import Starts
from executor.worker.storage import Storage
from secretstore.database import Database
from secretstore.errors import DatabaseUnwritable
from tests.executor.conftest import Bench
from tests.processes import eventually

Made = Callable[..., Collector]


@pytest.fixture
def lease(sqlite_db: Database, bench: Bench) -> Lease:
    return bench.running(sqlite_db)


@pytest.fixture
def worker(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Equipment:
    monkeypatch.setattr(storing, "_AGAIN", 0.01)
    settings = SimpleNamespace(workspaces=tmp_path)
    storage = Storage(sqlite_db, tmp_path)
    return cast(Equipment, SimpleNamespace(db=sqlite_db, settings=settings, storage=storage, starts=Starts()))


@pytest.fixture
def made(worker: Equipment) -> Iterator[Made]:
    """Makes collectors, and has them ended."""
    all_made: list[Collector] = []

    def make(lease: Lease, **more: Any) -> Collector:
        all_made.append(Collector(worker, lease, **more))
        return all_made[-1]

    yield make
    for one in all_made:
        one.abandon()
        one._storer.ended(10)


def out(data: bytes) -> Frame:
    return Frame(Kind.STDOUT, data)


def printed(db: Database, lease: Lease) -> bytes:
    place, data = logs.BEGINNING, b""
    while (found := logs.read(db, lease.run_id, place))[0]:
        data, place = data + b"".join(piece.data for piece in found[0]), found[1]
    return data


def chunks(db: Database) -> dict[str, int]:
    """Bytes that are stored of each file."""
    with db.reading() as session:
        query = "SELECT path, sum(length(data)) FROM executor_output_chunk GROUP BY path"
        return {row[0]: row[1] for row in session.connection().exec_driver_sql(query)}


def end(collector: Collector) -> None:
    collector.end()
    eventually(lambda: collector.ended(0.01), 20, "all is stored")


def no_room(db: Database) -> Callable[[], None]:
    """SQLite takes no page more, as on a full disk, until what is returned is called."""
    full = [True]

    def limit(connection: Any, *_: Any) -> None:
        pages = "1" if full[0] else "1000000"  # never fewer than there are
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(db.engine, "checkout", limit)
    return lambda: full.__setitem__(0, False)


def test_i7_more_than_may_wait_is_stored_whole(sqlite_db: Database, lease: Lease, made: Made) -> None:
    """Whoever brings it has to wait meanwhile; the last of it is committed with the outcome."""
    collector = made(lease, spool=1 << 20)
    sent, waited = b"", 0
    for number in range(200):
        while collector.full:
            assert collector.held_up is not None and "nothing is lost" in collector.held_up
            waited += 1
            collector.wait_for_room(10)
        data = os.urandom(32 << 10) if number % 2 else b"%d " % number * 4000
        collector.take(out(data))
        sent += data
    end(collector)
    assert waited and len(sent) > 4 << 20
    finish(sqlite_db, lease, Outcome("succeeded", rows=collector.rest()))
    assert printed(sqlite_db, lease) == sent


def test_output_is_stored_packed(sqlite_db: Database, lease: Lease, made: Made) -> None:
    """A run that says much the same takes little room, and is read as it was."""
    collector = made(lease)
    collector.take(out(b"the same line\n" * 50_000))
    collector.take(Frame(Kind.OUTPUT_BEGINS, b'{"path": "report"}'))
    collector.take(Frame(Kind.OUTPUT_DATA, b"abc"))  # so that nothing is left for the outcome
    collector.take(Frame(Kind.OUTPUT, b'{"path": "report", "size": 3}'))
    end(collector)
    with sqlite_db.reading() as session:
        query = "SELECT sum(length(data)), min(packed) FROM executor_log_chunk"
        size, packed = session.connection().exec_driver_sql(query).one()
    assert size < 10_000 and packed
    assert printed(sqlite_db, lease) == b"the same line\n" * 50_000
    assert [(one.path, one.size) for one in files.list_files(sqlite_db, lease.run_id, 1)] == [("report", 3)]


def test_of_a_file_that_is_withheld_after_all_nothing_stays(sqlite_db: Database, lease: Lease, made: Made) -> None:
    """I5: not what came of it in an earlier batch, either; the files beside it are whole."""
    collector = made(lease)
    for name, end_of_it in (("a", "size"), ("file", "why"), ("z", "size")):
        collector.take(Frame(Kind.OUTPUT_BEGINS, json.dumps({"path": name}).encode()))
        for _ in range(12):
            collector.take(Frame(Kind.OUTPUT_DATA, b"x" * (1 << 18)))
        if end_of_it == "why":
            eventually(lambda: chunks(sqlite_db).get("file"), 20, "a part of it is stored")
            collector.take(Frame(Kind.OUTPUT_WITHHELD, b'{"path": "file", "why": "it changed while it was read"}'))
        else:
            collector.take(Frame(Kind.OUTPUT, json.dumps({"path": name, "size": 3 << 20}).encode()))
    end(collector)
    assert chunks(sqlite_db) == {"a": 3 << 20, "z": 3 << 20}
    listed = files.list_files(sqlite_db, lease.run_id, 1)
    why = "it changed while it was read"
    assert [(one.path, one.size, one.withheld) for one in listed] == [
        ("a", 3 << 20, None),
        ("file", None, why),
        ("z", 3 << 20, None),
    ]


def test_of_a_file_that_did_not_come_to_its_end_nothing_is_given(sqlite_db: Database, lease: Lease, made: Made) -> None:
    """I5: as where its supervisor is killed meanwhile: nobody has said that it may be given."""
    collector = made(lease)
    collector.take(Frame(Kind.OUTPUT_BEGINS, b'{"path": "file"}'))
    collector.take(Frame(Kind.OUTPUT_DATA, b"abc"))
    end(collector)
    finish(sqlite_db, lease, Outcome("failed", "killed", rows=collector.rest()))
    assert files.list_files(sqlite_db, lease.run_id, 1) == []


def test_a_full_database_is_waited_for(
    sqlite_db: Database, lease: Lease, made: Made, worker: Equipment, caplog: pytest.LogCaptureFixture
) -> None:
    """I7: who follows is told, the worker takes no run and says so once, and all is there when there is room again."""
    collector = made(lease)
    make_room = no_room(sqlite_db)
    data = os.urandom(2 << 20)
    collector.take(out(data))
    eventually(lambda: collector.held_up is not None, 20, "it is noticed")
    assert "its disk is full; the run's output waits" in str(collector.held_up)
    assert "its disk is full" in str(worker.storage.closed)
    with pytest.raises(DatabaseUnwritable):
        worker.storage.look()
    make_room()
    end(collector)
    worker.storage.look()
    assert collector.unkept is None and worker.storage.closed is None
    assert caplog.text.count("its disk is full") == 1
    finish(sqlite_db, lease, Outcome("succeeded", rows=collector.rest()))
    assert printed(sqlite_db, lease) == data


def test_a_database_that_stays_full_ends_the_run_and_not_in_silence(
    sqlite_db: Database, bench: Bench, made: Made
) -> None:
    """I7: what cannot be kept is said, and no success; a few bytes have room for that."""
    lease = replace(bench.running(sqlite_db), seconds=0.2)
    collector = made(lease)
    no_room(sqlite_db)
    collector.take(out(os.urandom(2 << 20)))
    end(collector)
    assert "its disk is full" in str(collector.unkept) and collector.rest() == []
    big = Outcome("succeeded", result="x" * (2 << 20))
    with pytest.raises(DatabaseUnwritable):
        finish(sqlite_db, lease, big)
    assert finish(sqlite_db, lease, bare(big, str(collector.unkept))) == "failed"
    view = history.show(sqlite_db, lease.run_id)
    assert (view.state, view.reason, view.result) == ("failed", "storage_failed", None)
    assert "its disk is full; it had ended as succeeded" in str(view.message)


def test_i6_a_later_claim_ends_the_storing(sqlite_db: Database, lease: Lease, made: Made) -> None:
    """Nothing more is stored, and whoever follows the run hears of it."""
    collector = made(lease)
    finish(sqlite_db, lease, Outcome("lost", "lost"))
    collector.take(out(b"late"))
    collector.take(Frame(Kind.OUTPUT, b'{"path": "report", "size": 3}'))
    collector.end()
    with pytest.raises(StaleToken):
        eventually(lambda: collector.ended(0.01), 20, "it ends")
    assert printed(sqlite_db, lease) == b""


def test_i7_a_slow_database_stalls_nothing_before_the_spool_is_full(
    sqlite_db: Database, lease: Lease, made: Made
) -> None:
    """As long as somebody else writes, all is taken at once that may wait; it is stored when that one is done."""
    limit, piece = 4 << 20, 32 << 10
    collector = made(lease, spool=limit)
    sent = b""
    with sqlite_db.writing():
        while len(sent) + piece < limit:
            collector.take(out(data := os.urandom(piece)))
            sent += data
            assert not collector.full, f"nothing more is taken after {len(sent)} bytes"
        collector.take(out(data := os.urandom(piece)))
        sent += data
        assert collector.full
        assert printed(sqlite_db, lease) == b""
    end(collector)
    finish(sqlite_db, lease, Outcome("succeeded", rows=collector.rest()))
    assert printed(sqlite_db, lease) == sent


def test_whoever_is_in_a_hurry_writes_first(sqlite_db: Database) -> None:
    """A claim, a gate, a renewal or an outcome never stands behind what a run prints."""
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def write(name: str, last: bool) -> None:
        with sqlite_db.writing(last=last):
            if name == "first":
                inside.set()
                go_on.wait(10)
            order.append(name)

    threads = [threading.Thread(target=write, args=("first", False))]
    threads[0].start()
    assert inside.wait(10)
    for name, last in (("output", True), ("claim", False), ("more output", True)):
        threads.append(threading.Thread(target=write, args=(name, last)))
        threads[-1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert order[:2] == ["first", "claim"] and set(order[2:]) == {"output", "more output"}


def test_after_each_share_what_is_being_started_goes_first(
    worker: Equipment, made: Made, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than a share waits for nobody; its own start is over with the supervisor's word that it began."""
    held: list[set[str]] = []
    monkeypatch.setattr(worker.starts, "let_go_first", lambda _: held.append(set(worker.starts._now)))
    collector = made(lease)
    with worker.starts.one("another"), worker.starts.one(lease.run_id):
        collector.take(Frame(Kind.STARTED, b'{"aliases": {}, "connections": {}}'))
        collector.take(out(b"x" * 1000))
        collector.give_way()
        assert held == []
        collector.take(out(b"x" * (1 << 16)))
        collector.give_way()
        collector.give_way()
        assert held == [{"another"}]


# A short run that nobody follows -------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What is answered each time a storer asks whether somebody follows its run; it asks after a moment."""
    answers: list[bool] = []

    def ask(db: Database, run_id: str) -> bool:
        answers.append(follower.is_followed(db, run_id))
        return answers[-1]

    monkeypatch.setattr(storing, "is_followed", ask)
    monkeypatch.setattr(storing, "_ASK", 0.01)
    monkeypatch.setattr(storing, "_SHORT", 60.0)
    return answers


def test_a_short_runs_output_is_committed_with_its_outcome(
    made: Made, sqlite_db: Database, lease: Lease, asked: list[bool]
) -> None:
    """Though there was silence for longer than output waits for company: one commit, and all of it is there."""
    collector = made(lease, followed=False)
    collector.take(out(b"first\n"))
    eventually(lambda: len(asked) >= 4, 10, "it is asked four times whether somebody follows")
    assert printed(sqlite_db, lease) == b""
    collector.take(out(b"last\n"))
    collector.end()
    eventually(lambda: collector.ended(0.1), 10, "nothing is stored any more")
    assert printed(sqlite_db, lease) == b""
    finish(sqlite_db, lease, Outcome("succeeded", rows=collector.rest()))
    assert printed(sqlite_db, lease) == b"first\nlast\n"


def test_a_follower_that_comes_sees_what_was_printed(
    made: Made, sqlite_db: Database, lease: Lease, asked: list[bool]
) -> None:
    """While the run goes on; and from then on nothing is kept, nor asked."""
    collector = made(lease, followed=False)
    collector.take(out(b"first\n"))
    eventually(lambda: asked, 10, "it is asked whether somebody follows")
    follower.follow(sqlite_db, lease.run_id)
    eventually(lambda: printed(sqlite_db, lease) == b"first\n", 10, "what was kept is stored")
    count = len(asked)
    collector.take(out(b"second\n"))
    eventually(lambda: printed(sqlite_db, lease) == b"first\nsecond\n", 10, "what comes next is stored")
    assert (asked[-1], len(asked)) == (True, count)


def test_what_is_followed_from_its_start_is_stored_at_once(
    made: Made, sqlite_db: Database, lease: Lease, asked: list[bool]
) -> None:
    """Without a question."""
    collector = made(lease)
    collector.take(out(b"first\n"))
    eventually(lambda: printed(sqlite_db, lease) == b"first\n", 10, "it is stored")
    assert asked == []


@pytest.mark.parametrize("why", ["it is not short", "it is much"])
def test_no_more_is_kept_than_a_short_run_prints(
    made: Made, sqlite_db: Database, lease: Lease, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Of a run that goes on what it printed is stored soon, and more than one commit takes at once."""
    short, ask, data = (0.05, 0.01, b"first\n") if why == "it is not short" else (60.0, 60.0, b"x" * (3 << 20))
    monkeypatch.setattr(storing, "_ASK", ask)
    monkeypatch.setattr(storing, "_SHORT", short)
    collector = made(lease, followed=False)
    for start in range(0, len(data), 1 << 16):
        collector.take(out(data[start : start + (1 << 16)]))
    eventually(lambda: printed(sqlite_db, lease)[:6] == data[:6], 10, "it is stored")


def test_an_ended_run_is_not_written_by_who_follows_it(sqlite_db: Database, lease: Lease) -> None:
    """Nor one that is followed already."""
    follower.follow(sqlite_db, lease.run_id)
    assert follower.is_followed(sqlite_db, lease.run_id)
    begun: list[str] = []
    event.listen(sqlite_db.engine, "commit", lambda _: begun.append("commit"))
    follower.follow(sqlite_db, lease.run_id)
    assert begun == []
