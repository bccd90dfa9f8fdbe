"""Which workers count as alive for a submitter, and what it is told when there is none."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from executor.cli.shown.waiting import Waiting, unseen
from executor.runs import Offer, workers
from executor.runs.needs import live_workers
from executor.settings import QUEUE, Settings, read_settings
from executor.submission.standby import IDLE
from secretstore.database import Database
from tests.executor.conftest import Bench

REDIS = {"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}


def settings(folder: Path, **more: str) -> Settings:
    """Of one submitter; nothing is connected to."""
    return read_settings({"SEALRUN_HOME": f"{folder}/home", "SEALRUN_HOST": "mill", **more})


def appear(db: Database, pid: int, name: str = "one@here", host: str = "mill") -> None:
    """A worker has just shown itself."""
    workers.appear(db, Offer(name, host, (QUEUE,), "landlock"), pid, 1)


def dead_pid() -> int:
    """The number of a process that has been and is collected."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as ended:
        ended.wait()
    return ended.pid


def test_a_fresh_heartbeat_of_a_dead_process_does_not_count_where_one_machine_is_all_there_is(
    sqlite_db: Database, tmp_path: Path
) -> None:
    """A worker that was killed a moment ago is replaced at once, not ten seconds later."""
    embedded = settings(tmp_path)
    assert embedded.embedded

    appear(sqlite_db, dead_pid())
    assert live_workers(embedded, sqlite_db) == []

    appear(sqlite_db, os.getpid())
    assert [worker.pid for worker in live_workers(embedded, sqlite_db)] == [os.getpid()]


def test_a_process_id_says_nothing_about_a_worker_that_may_be_on_another_machine(
    sqlite_db: Database, tmp_path: Path
) -> None:
    """Machines under one SEALRUN_HOST have process ids of their own; there the heartbeat alone counts."""
    appear(sqlite_db, dead_pid(), name="one@elsewhere")

    (found,) = live_workers(settings(tmp_path, **REDIS), sqlite_db)

    assert found.name == "one@elsewhere"


def test_a_worker_of_another_name_is_nobodys_here(sqlite_db: Database, tmp_path: Path) -> None:
    """And the name that would have to be the same is told."""
    here = settings(tmp_path, **REDIS)
    appear(sqlite_db, os.getpid(), host="other mill")

    assert live_workers(here, sqlite_db) == []
    assert unseen(here, sqlite_db) == "no worker for this machine (mill) has been seen yet"


def test_what_no_worker_offers_is_said_at_once_and_once(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the first look; and again when it is something else."""
    here = settings(tmp_path, **REDIS)
    spec = bench.spec(host="mill", python_version="3.12")
    waiting = Waiting(here, sqlite_db, spec, None)

    waiting.look()
    assert capsys.readouterr().err == (
        "no worker for this machine (mill) has been seen yet; the run waits (start one: sealrun worker)\n"
    )

    appear(sqlite_db, os.getpid())
    for _ in range(3):
        waiting._looked_at = -1.0
        waiting.look()
    assert capsys.readouterr().err == "waiting: no worker offers Python 3.12 (this run needs it)\n"


def test_with_nothing_configured_a_worker_that_is_on_its_way_is_not_missed(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is there and cannot take the run is told of."""
    here = settings(tmp_path)
    waiting = Waiting(here, sqlite_db, bench.spec(host="mill", network="none"), None)
    waiting._tell_what_is_missing()
    assert capsys.readouterr().err == ""
    appear(sqlite_db, os.getpid())
    waiting._tell_what_is_missing()
    assert capsys.readouterr().err == "waiting: no worker offers the network none (this run's project needs it)\n"


def test_an_uploaded_run_is_told_how_to_start_a_worker(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any worker would do, so one that is started here; another machine's source is for its own workers."""
    here = settings(tmp_path, **REDIS)
    for fields, mend in (
        ({"host": None, "bundle": "b1"}, " (start one: sealrun worker)"),
        ({"host": None, "bundle": "b1", "queue": "gpu"}, " (start one: sealrun worker -Q gpu)"),
        ({"host": "other mill"}, ""),
    ):
        Waiting(here, sqlite_db, bench.spec(**fields), None).look()
        assert capsys.readouterr().err == f"waiting: no worker is running{mend}\n"


def test_a_worker_that_was_idle_is_replaced_without_a_word(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a run waits for what none offers, each ends as it should; one that ended early is told of."""
    standby = SimpleNamespace(ensure=lambda: True, log="worker.log")
    waiting = Waiting(settings(tmp_path), sqlite_db, bench.spec(host="mill"), None, standby)  # type: ignore[arg-type]

    def told() -> int:
        waiting._looked_at = -1.0
        waiting.look()
        return capsys.readouterr().err.count("no worker was running: started one")

    assert told() == 1
    assert told() == 1  # it was ended in its first moments
    for _ in range(2):
        assert waiting._started_at is not None
        waiting._started_at -= IDLE + 1
        assert told() == 0
