"""Operations on runs: which run is meant, and what there is not is told apart from what is empty."""

from pathlib import Path

import pytest

from executor import runs
from executor.errors import RequestUnclear, RunOver, UnknownRun
from executor.operations import runs as operations
from executor.operations.deployment import Deployment
from executor.runs import Outcome, follower
from executor.schemas.run_operations import Download, OutputOf, ThatAttempt, ThatRun, ThoseRuns
from executor.settings import read_settings
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import UnknownProject
from tests.executor.conftest import Bench

ADA = Actor("ada@here", "api")


@pytest.fixture
def at(sqlite_db: Database, tmp_path: Path) -> Deployment:
    return Deployment(read_settings({"SEALRUN_HOME": str(tmp_path / "home")}), sqlite_db)


def test_a_run_is_meant_by_id_beginning_or_last(at: Deployment, bench: Bench) -> None:
    """An id in full that is nobody's is unknown to each operation."""
    run_id = bench.create(at.db)
    for reference in (run_id, run_id[:8], "@last"):
        assert operations.show(at, ADA, ThatAttempt(run=reference)).id == run_id
        assert operations.state(at, ADA, ThatRun(run=reference)) == "pending"
    nobodys = "0" * 32
    for ask in (
        lambda: operations.show(at, ADA, ThatAttempt(run=nobodys)),
        lambda: operations.state(at, ADA, ThatRun(run=nobodys)),
        lambda: operations.logs(at, ADA, OutputOf(run=nobodys)),
        lambda: next(operations.follow(at, ADA, OutputOf(run=nobodys))),
        lambda: operations.cancel(at, ADA, ThatRun(run=nobodys)),
        lambda: operations.prepare_again(at, ADA, ThatRun(run=nobodys)),
        lambda: operations.download(at, ADA, Download(run=nobodys, folder=Path("/nowhere"))),
    ):
        with pytest.raises(UnknownRun):
            ask()
    with pytest.raises(UnknownProject):
        operations.show(at, ADA, ThatAttempt(run=run_id, project="toys"))


def test_what_there_is_not_is_no_empty_answer(at: Deployment, bench: Bench) -> None:
    """A state, a stream, an attempt, a limit."""
    lease = bench.running(at.db)
    for ask in (
        lambda: operations.list_(at, ADA, ThoseRuns(state="faild")),
        lambda: operations.list_(at, ADA, ThoseRuns(limit=0)),
        lambda: operations.logs(at, ADA, OutputOf(run=lease.run_id, streams=["stdot"])),
        lambda: operations.follow(at, ADA, OutputOf(run=lease.run_id, streams=["stdot"])),
        lambda: operations.show(at, ADA, ThatAttempt(run=lease.run_id, attempt=2)),
        lambda: operations.logs(at, ADA, OutputOf(run=lease.run_id, attempt=2)),
    ):
        with pytest.raises(RequestUnclear):
            ask()
    assert [view.id for view in operations.list_(at, ADA, ThoseRuns(state="running"))] == [lease.run_id]


def test_who_follows_is_known_to_the_worker(at: Deployment, bench: Bench) -> None:
    """So that it keeps no output back; who only waits for the end does not make it store any sooner."""
    waits, reads = bench.create(at.db), bench.create(at.db)
    next(operations.follow(at, ADA, OutputOf(run=waits, streams=())))
    next(operations.follow(at, ADA, OutputOf(run=reads)))
    assert [follower.is_followed(at.db, run_id) for run_id in (waits, reads)] == [False, True]
    claimed = runs.claim(at.db, reads, bench.offer, 30)
    assert claimed is not None and claimed[0].followed


def test_who_cancels_is_who_asks(at: Deployment, bench: Bench) -> None:
    """A run that waits ends at once, one that runs is asked to; an outcome stands."""
    waits, runs_on = bench.create(at.db), bench.running(at.db)
    assert operations.cancel(at, ADA, ThatRun(run=waits)).cancelled
    assert not operations.cancel(at, ADA, ThatRun(run=runs_on.run_id)).cancelled
    assert operations.show(at, ADA, ThatAttempt(run=runs_on.run_id)).cancel_requested_at is not None
    runs.finish(at.db, runs_on, Outcome("cancelled", "cancelled"))
    with pytest.raises(RunOver):
        operations.cancel(at, ADA, ThatRun(run=runs_on.run_id))
