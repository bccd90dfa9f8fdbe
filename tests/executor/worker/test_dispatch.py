"""How an attempt ends when the database is away at that moment: it is insisted on, and nothing reaches Celery."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update

from executor import runs
from executor.errors import SupervisorLost
from executor.models import Run
from executor.records import history
from executor.runs import GateShut, Lease, Outcome
from executor.runs.conditions import RUN
from executor.runs.plans import Doors
from executor.worker import dispatch
from executor.worker.duties import Duty, perform
from executor.worker.equipment import Equipment
from executor.worker.lease import LeaseKeeper, clock
from executor.worker.metrics import Unmeasured
from executor.worker.starts import Starts
from executor.worker.storage import Storage
from executor.worker.turns import Turns
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable, DatabaseUnwritable
from tests.executor.conftest import Bench


@pytest.fixture
def execute(sqlite_db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception, str], str]:
    """Ends an attempt as if it had raised, with one act on its row failing the first time; the run's state after it."""

    def end(raised: Exception, act: str, cancelled: bool = False) -> str:
        run_id = bench.create(sqlite_db)
        lease = bench.claim(sqlite_db, run_id)
        if cancelled:
            runs.cancel(sqlite_db, run_id, "ada@here")
        with sqlite_db.reading() as session:
            run = session.get(Run, run_id)
        assert run is not None
        worker = SimpleNamespace(
            db=sqlite_db,
            active=set(),
            cancelled=set(),
            uncommitted={},
            metrics=Unmeasured(),
            stopping=threading.Event(),
            storage=Storage(sqlite_db, Path()),
        )
        worker.stopping.set()  # it does not wait between two tries
        away(monkeypatch, act)
        monkeypatch.setattr(dispatch, "_attempt", fails(raised))
        keeper = LeaseKeeper(sqlite_db, lease, worker.cancelled, clock())
        dispatch._execute(cast("Equipment", worker), run, keeper, cast("Any", None))
        assert worker.active == set()
        return history.state_of(sqlite_db, run_id)

    return end


def fails(error: Exception) -> Callable[..., Any]:
    def raising(*_: object) -> Any:
        raise error

    return raising


def away(monkeypatch: pytest.MonkeyPatch, act: str, times: int = 1) -> None:
    """Once or so often the database is away for this function of `runs`."""
    tries: list[int] = []
    real: Callable[[Database, Lease], object] = getattr(runs, act)

    def once_away(*arguments: Any, **options: Any) -> object:
        tries.append(1)
        if len(tries) <= times:
            raise DatabaseUnavailable(url="sqlite:///…", why="it is away")
        return real(*arguments, **options)

    monkeypatch.setattr(runs, act, once_away)


def test_i7_a_run_cancelled_before_its_gate_is_cancelled(execute: Callable[..., str]) -> None:
    """Whether somebody asked is looked up again."""
    assert execute(GateShut(), "renew", cancelled=True) == "cancelled"


def test_i7_a_run_whose_supervisor_is_lost_goes_back(execute: Callable[..., str]) -> None:
    """It is free for another attempt at once, and not only when its lease is over."""
    assert execute(SupervisorLost(), "give_back") == "pending"


def test_i6_an_outcome_is_committed_once(execute: Callable[..., str]) -> None:
    """The second try is the one that counts."""
    assert execute(RuntimeError("unforeseen"), "finish") == "failed"


def test_a_full_disk_is_no_fault_of_sealruns(
    execute: Callable[..., str], sqlite_db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The run says what it is, and so does the log, without a traceback."""
    assert execute(OSError(errno.ENOSPC, "No space left on device", "/var/tmp/runs"), "finish") == "failed"
    (run,) = history.list_runs(sqlite_db)
    assert (run.reason, run.message) == ("setup_failed", "the worker's disk is full: /var/tmp/runs")
    assert "the worker's disk is full: /var/tmp/runs; no run is taken" in caplog.text
    assert "Traceback" not in caplog.text


STARVED = OSError(errno.EMFILE, "Too many open files")


@contextmanager
def starved(*_: object) -> Iterator[Any]:
    raise STARVED
    yield


def test_i7_a_bell_without_file_descriptors_leaves_the_run_waiting(
    sqlite_db: Database, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is rung for again, here or elsewhere; the log has a line, and Celery no error."""
    run_id = bench.create(sqlite_db)
    worker = SimpleNamespace(
        db=sqlite_db, host=SimpleNamespace(box=()), starts=Starts(), turns=Turns(), zygote=SimpleNamespace(pair=starved)
    )
    assert dispatch.dispatch(cast("Equipment", worker), run_id) is None
    assert history.state_of(sqlite_db, run_id) == "pending"
    assert caplog.messages == [f"run {run_id} is not taken now, and waits: the worker has no file descriptors left"]
    assert "Traceback" not in caplog.text


def test_i7_a_run_that_finds_no_file_descriptors_before_its_gate_is_lost_not_failed(
    sqlite_db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun nothing, so it is given back."""
    lease = bench.claim(sqlite_db, bench.create(sqlite_db))
    monkeypatch.setattr(dispatch, "source_of", lambda *_: starved())
    keeper = LeaseKeeper(sqlite_db, lease, set(), clock())
    with pytest.raises(SupervisorLost, match="no file descriptors left"):
        worker = cast("Equipment", SimpleNamespace(doors=Doors()))
        dispatch._attempt(worker, cast("Any", SimpleNamespace(id=lease.run_id)), keeper, cast("Any", None))


def test_i7_a_duty_without_file_descriptors_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """And is done again when its time comes."""
    perform([Duty("clear orphans", fails(STARVED), 0.0)])
    assert caplog.messages == ["clear orphans: the worker has no file descriptors left"]
    assert "Traceback" not in caplog.text


def test_i7_a_gate_that_cannot_be_passed_is_tried_again(execute: Callable[..., str]) -> None:
    """Nothing was opened: a database that takes nothing at that moment is no fault of the run's secrets."""
    assert execute(DatabaseUnwritable(url="sqlite:///…", why="its disk is full"), "give_back") == "pending"


def test_i7_an_outcome_that_is_not_taken_is_committed_later(
    sqlite_db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the worker's watch, with how the run really ended; once somebody has settled it, it stands."""
    leases = [bench.running(sqlite_db), bench.running(sqlite_db)]
    stopping = threading.Event()
    stopping.set()
    storage = Storage(sqlite_db, Path())
    worker = cast(Equipment, SimpleNamespace(db=sqlite_db, uncommitted={}, storage=storage, stopping=stopping))
    monkeypatch.setattr(dispatch, "_PATIENCE", 0.0)
    for lease in leases:
        away(monkeypatch, "finish", 2)
        assert dispatch._finish(worker, lease, Outcome("succeeded", result=5)) is None
        monkeypatch.undo()
        monkeypatch.setattr(dispatch, "_PATIENCE", 0.0)
    runs.finish(sqlite_db, leases[1], Outcome("lost", "lost"), for_good=True)
    dispatch.commit_late(worker)
    assert [history.show(sqlite_db, lease.run_id).state for lease in leases] == ["succeeded", "failed"]
    assert worker.uncommitted == {}


# Whose turn it is ---------------------------------------------------------------------------------


def waiting_long(db: Database, bench: Bench, **fields: Any) -> str:
    """A run whose bell rang a minute ago."""
    run_id = bench.create(db, **fields)
    with db.writing() as session:
        session.execute(update(RUN).where(RUN.c.id == run_id).values(rung_at=db.after(-60)))
    return run_id


def test_i7_a_bell_whose_run_was_taken_out_of_turn_is_good_for_another(sqlite_db: Database, bench: Bench) -> None:
    """The one that was passed over has no other bell; and it is that one which is being started."""
    taken, passed_over = (waiting_long(sqlite_db, bench) for _ in range(2))
    bench.claim(sqlite_db, taken)
    settings = SimpleNamespace(lease=30)
    worker = SimpleNamespace(db=sqlite_db, starts=Starts(), turns=Turns(), offer=bench.offer, settings=settings)
    with ExitStack() as ending:
        ending.enter_context(worker.starts.one(taken))
        claimed = dispatch._claimed(cast("Equipment", worker), taken, ending)
        assert claimed is not None and claimed[0].id == passed_over
        assert worker.starts._now == {passed_over}
    assert worker.starts._now == set()


def test_a_worker_that_is_behind_takes_the_run_whose_turn_it_is(
    sqlite_db: Database, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """And not the one that has rung."""
    rings, turn = waiting_long(sqlite_db, bench), bench.create(sqlite_db, project_id="p2")
    worker = SimpleNamespace(
        db=sqlite_db,
        host=SimpleNamespace(box=()),
        starts=Starts(),
        turns=Turns(),
        offer=bench.offer,
        zygote=SimpleNamespace(pair=starved),
    )
    worker.turns.took(*taken_late(sqlite_db, bench))
    dispatch.dispatch(cast("Equipment", worker), rings)
    assert f"run {turn} is not taken now" in caplog.text


def taken_late(db: Database, bench: Bench) -> tuple[Run, Lease]:
    claimed = runs.claim(db, waiting_long(db, bench), bench.offer, 30)
    assert claimed is not None
    return claimed
