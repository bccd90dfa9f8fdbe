"""What must happen though nobody asks: bells rung again, lost runs settled, what is left of runs cleared away."""

import multiprocessing
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from executor import runs
from executor.celery_app import make_app
from executor.runs import Offer, Outcome, workers
from executor.sandbox.workspace import prepare_root, workspace
from executor.settings import read_settings
from executor.worker import janitor
from secretstore.database import Database
from tests.executor.conftest import Bench
from tests.processes import eventually

UIDS = range(60630, 60633)


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The bells that were rung: run and queue."""
    rung: list[tuple[str, str]] = []
    monkeypatch.setattr(janitor, "ring", lambda _, run_id, queue: rung.append((run_id, queue)) or True)
    return rung


def app(tmp_path: Path) -> Celery:
    return make_app(read_settings({"SEALRUN_HOME": str(tmp_path), "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}))


def test_bells_that_were_not_heard_ring_again_in_their_own_queue(
    sqlite_db: Database, bench: Bench, bells: list[tuple[str, str]], tmp_path: Path
) -> None:
    """As many as there are free slots, the oldest first; never in another queue that the worker also consumes."""
    offer = Offer("w1", "here", ("celery", "sealrun", "reports"), "landlock")
    first, second = bench.create(sqlite_db), bench.create(sqlite_db, queue="reports")
    bench.create(sqlite_db, queue="not-ours")
    third = bench.create(sqlite_db)
    assert janitor.ring_again(sqlite_db, app(tmp_path), offer, 2, unheard=0) == 2
    assert bells == [(first, "sealrun"), (second, "reports")]
    assert janitor.ring_again(sqlite_db, app(tmp_path), offer, 0, unheard=0) == 0
    assert janitor.ring_again(sqlite_db, app(tmp_path), offer, 5) == 0, "its bell is not two seconds old"
    bells.clear()
    assert janitor.ring_again(sqlite_db, app(tmp_path), offer, 5, unheard=0) == 3
    assert bells[-1] == (third, "sealrun")


def test_a_bell_rings_for_a_retry_that_is_due_and_for_the_next_of_a_project(
    sqlite_db: Database, bench: Bench, bells: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Also in a queue that this worker does not consume; and once each."""
    lease = bench.running(sqlite_db, retries=1, queue="sealrun")
    runs.finish(sqlite_db, lease, Outcome("failed", "exception"))
    elsewhere = bench.create(sqlite_db, queue="reports", project_id="p2")
    for run_id in (lease.run_id, elsewhere):
        bench.due(sqlite_db, run_id)
    assert janitor.ring_due(sqlite_db, app(tmp_path)) == 2
    assert sorted(bells) == sorted([(lease.run_id, "sealrun"), (elsewhere, "reports")])
    assert janitor.ring_due(sqlite_db, app(tmp_path)) == 0
    bells.clear()
    assert janitor.ring_next(sqlite_db, app(tmp_path), "p2", bench.offer)
    assert not janitor.ring_next(sqlite_db, app(tmp_path), "p3", bench.offer)
    assert bells == [(elsewhere, "reports")]


def test_lost_runs_are_settled(db: Database, bench: Bench) -> None:
    """And counted."""
    lost = bench.running(db, seconds=-1)
    bench.running(db)
    assert janitor.settle_lost(db) == 1
    assert janitor.settle_lost(db) == 0
    assert not runs.renew(db, lost).held


# Orphans ------------------------------------------------------------------------------------------


def leaving(root: str, ready: Any) -> None:
    """A worker in the middle of a run: a process with the run's HOME, files, and then nothing more."""
    with workspace(Path(root), "r-1", UIDS) as place:
        account = {} if place.uid is None else {"user": place.uid, "group": place.uid}
        (place.home / "file").touch()
        subprocess.Popen(
            ["setsid", "sleep", "600"], env={"PATH": os.defpath, "HOME": str(place.home)}, cwd="/", **account
        )
        ready.set()
        time.sleep(600)


def sleepers(home: Path) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if f"HOME={home}".encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def test_what_a_dead_worker_left_is_ended_and_removed(tmp_path: Path) -> None:
    """I8: worker, zygote and supervisor died at once; places of workers that live are not touched."""
    tmp_path.chmod(0o755)
    root = prepare_root(tmp_path / "runs")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    worker = context.Process(target=leaving, args=(str(root), ready))
    worker.start()
    assert ready.wait(30)
    home = root / "r-1" / "home"
    eventually(lambda: sleepers(home), 10, "the run's process does not start")
    assert janitor.clear_orphans(root) == 0
    assert sleepers(home)
    worker.kill()
    worker.join()
    with workspace(root, "r-2", UIDS) as place:
        (place.home / "kept").touch()
        assert janitor.clear_orphans(root) == 1
        eventually(lambda: not sleepers(home), 10, "the run's process lives on")
        assert (place.home / "kept").exists()
    assert list(root.iterdir()) == []
    assert janitor.clear_orphans(root) == 0


def test_what_has_another_environment_is_known_by_its_user_id(tmp_path: Path) -> None:
    """I8: of three that died together a process stays that no longer has the run's HOME; the run's own folder tells."""
    if os.geteuid() != 0:
        pytest.skip("only root lends user ids")
    root = prepare_root(tmp_path / "runs")
    for left in (("home", "tmp", "output"), ("output",)):
        for name in left:
            (root / "r-1" / name).mkdir(parents=True)
            os.chown(root / "r-1" / name, UIDS.start, UIDS.start)
        (root / ".lock-r-1").touch()
        with subprocess.Popen(["sleep", "600"], env={"HOME": "/"}, cwd="/", user=UIDS.start) as hidden:
            try:
                assert janitor.clear_orphans(root) == 1
                assert hidden.wait(10) == -9
            finally:
                hidden.kill()
        assert list(root.iterdir()) == []


def test_an_id_that_was_lent_again_meanwhile_is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: the orphan's user id belongs to a living run now: that one's processes stay, the orphan's place goes."""
    if os.geteuid() != 0:
        pytest.skip("only root lends user ids")
    root = prepare_root(tmp_path / "runs")
    with workspace(root, "r-2", UIDS) as place:
        assert place.uid is not None
        (root / "r-1/home").mkdir(parents=True)
        os.chown(root / "r-1/home", place.uid, place.uid)
        (root / ".lock-r-1").touch()
        living = subprocess.Popen(["sleep", "600"], env={"HOME": str(place.home)}, cwd="/", user=place.uid)
        try:
            assert janitor.clear_orphans(root) == 1
            assert not (root / "r-1").exists()
            assert living.poll() is None
        finally:
            living.kill()
            living.wait()


def test_a_lock_without_a_place_is_taken_away(tmp_path: Path) -> None:
    """The worker died between the two."""
    root = prepare_root(tmp_path / "runs")
    (root / ".lock-r-1").touch()
    assert janitor.clear_orphans(root) == 0
    assert list(root.iterdir()) == []
    assert janitor.clear_orphans(tmp_path / "nowhere") == 0


# Workers ------------------------------------------------------------------------------------------


def test_a_worker_is_seen_while_it_beats(db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submitter knows without asking the broker who lives; who ended or fell silent is shown as such."""
    first = workers.appear(db, bench.offer, 11, 4)
    second = workers.appear(db, Offer("w2", "there", ("a", "b"), "process"), 12, 1)
    workers.beat(db, first)
    seen = workers.list_workers(db)
    assert [(view.name, view.pid, view.slots, view.queues, view.alive) for view in seen] == [
        ("w1", 11, 4, ("sealrun",), True),
        ("w2", 12, 1, ("a", "b"), True),
    ]
    workers.leave(db, second)
    assert [view.name for view in workers.list_workers(db, alive_only=True)] == ["w1"]
    assert [view.alive for view in workers.list_workers(db)] == [True, False]
    monkeypatch.setattr(workers, "SILENCE", -1.0)
    assert workers.list_workers(db, alive_only=True) == []
