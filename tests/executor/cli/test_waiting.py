"""Which workers count as alive for a submitter, and what it is told when there is none."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executor.cli.here import Here
from executor.cli.shown import waiting
from executor.cli.shown.waiting import Waiting, unseen
from executor.errors import NeverServed
from executor.operations import workers as operations
from executor.operations.deployment import Deployment
from executor.records import history
from executor.runs import Offer, workers
from executor.runs.needs import live_workers
from executor.schemas.run_operations import ThatRun
from executor.settings import QUEUE, Settings, read_settings
from executor.submission import submit
from executor.submission.standby import IDLE
from executor.worker import janitor
from secretstore.audit import Actor
from secretstore.database import Database
from tests.executor.conftest import Bench

REDIS = {"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look of these tests is not put off."""
    monkeypatch.setattr(waiting, "_FIRST", 0.0)


def test_a_run_that_is_taken_at_once_is_not_looked_after(
    sqlite_db: Database, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks for its workers in the first moment, in which most runs are taken."""
    monkeypatch.setattr(waiting, "_FIRST", 3600.0)
    monkeypatch.setattr(operations, "attend", lambda *_: pytest.fail("workers are asked for"))

    Waiting(here(settings(tmp_path), sqlite_db), bench.create(sqlite_db)).look()


def settings(folder: Path, **more: str) -> Settings:
    """Of one submitter; nothing is connected to."""
    return read_settings({"SEALRUN_HOME": f"{folder}/home", "SEALRUN_HOST": "mill", **more})


def here(settings: Settings, db: Database, standby: Any = None) -> Here:
    """A command's surroundings; no worker is started in them."""
    at = Deployment(settings, db)
    vars(at)["standby"] = standby or SimpleNamespace(ensure=lambda: False, log="worker.log")
    return Here(at, Actor("ada@here", "cli"))


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
    at = here(settings(tmp_path, **REDIS), sqlite_db)
    appear(sqlite_db, os.getpid(), host="other mill")

    serving = operations.serving(at.at, at.who)
    assert serving.live == ()
    assert unseen(serving) == "no worker for this machine (mill) has been seen yet"


def test_what_no_worker_offers_is_said_at_once_and_once(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the first look; and again when it is something else."""
    run_id = bench.create(sqlite_db, host="mill", python_version="3.12")
    waiting = Waiting(here(settings(tmp_path, **REDIS), sqlite_db), run_id)

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
    run_id = bench.create(sqlite_db, host="mill", queue="gpu")
    waiting = Waiting(here(settings(tmp_path), sqlite_db), run_id)
    waiting.look()
    assert capsys.readouterr().err == ""
    appear(sqlite_db, os.getpid())
    waiting._looked_at = -1.0
    waiting.look()
    assert "and the queue gpu has been seen yet; the run waits (start one: sealrun worker -Q gpu)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"python_version": "3.9"}, "no worker offers Python 3.9 (this run needs it); this machine has none"),
    ],
)
def test_what_this_machine_never_offers_is_not_waited_for(
    sqlite_db: Database, bench: Bench, tmp_path: Path, fields: dict[str, str], why: str
) -> None:
    """I7: with nothing configured all workers are here. A follower ends the run, and a janitor what nobody follows."""
    waits = bench.create(sqlite_db, host="mill", rung_min="namespace", network="none")  # root's worker may offer both
    followed, left = (bench.create(sqlite_db, host="mill", **fields) for _ in range(2))
    at = here(settings(tmp_path), sqlite_db)
    appear(sqlite_db, os.getpid())

    assert operations.attend(at.at, at.who, ThatRun(run=followed)) is None
    assert janitor.end_in_vain(sqlite_db) == 1

    for run_id in (followed, left):
        view = history.show(sqlite_db, run_id)
        assert (view.state, view.reason, view.message) == ("failed", "no_capable_worker", why)
    assert history.show(sqlite_db, waits).state == "pending"
    with pytest.raises(NeverServed, match="this run would wait in vain") as refused:
        submit.accept(sqlite_db, at.at.settings, lambda: None, bench.spec(host="mill", **fields), "ada", None)
    assert why in str(refused.value)


def test_an_uploaded_run_is_told_how_to_start_a_worker(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any worker would do, so one that is started here; another machine's source is for its own workers."""
    at = here(settings(tmp_path, **REDIS), sqlite_db)
    for fields, mend in (
        ({"host": None, "bundle": "b1"}, " (start one: sealrun worker)"),
        ({"host": None, "bundle": "b1", "queue": "gpu"}, " (start one: sealrun worker -Q gpu)"),
        ({"host": "other mill"}, ""),
    ):
        Waiting(at, bench.create(sqlite_db, **fields)).look()
        assert capsys.readouterr().err == f"waiting: no worker is running{mend}\n"


def test_a_worker_that_was_idle_is_replaced_without_a_word(
    sqlite_db: Database, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a run waits for what none offers, each ends as it should; one that ended early is told of."""
    standby = SimpleNamespace(ensure=lambda: True, log="worker.log")
    waiting = Waiting(here(settings(tmp_path), sqlite_db, standby), bench.create(sqlite_db, host="mill"))

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


def test_a_run_that_began_is_attended_no_more(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """And no worker is started for it."""
    standby = SimpleNamespace(ensure=lambda: pytest.fail("a worker was started"), log="worker.log")
    at = here(settings(tmp_path), sqlite_db, standby)
    run = ThatRun(run=bench.running(sqlite_db).run_id)
    assert operations.attend(at.at, at.who, run) is None
