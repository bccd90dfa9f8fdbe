"""Many at once for one run: whoever is quick or late, one outcome comes of it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text
from sqlmodel import select

from executor import runs
from executor.models import Attempt, Run
from executor.runs import Offer, Outcome, accepting
from secretstore.database import Database, utc_now
from tests.executor.conftest import ROOT, Bench
from tests.processes import eventually

CLAIMER = """
import sys
sys.path[:0] = [sys.argv[1]]
from executor import runs
from executor.runs import Offer
from secretstore.database import Database
db = Database(sys.argv[2])
offer = Offer(worker=sys.argv[3], host="here", queues=("sealrun",), rung="landlock")
print("ready", flush=True)
sys.stdin.readline()
print(sum(runs.claim(db, run_id, offer, 30) is not None for run_id in sys.argv[4:]))
"""


def test_one_of_many_threads_claims_a_run(db: Database, bench: Bench) -> None:
    """I6: sixteen slots hear the same bell at the same moment; one gets the run, fifteen go on quietly."""
    run_id, start = bench.create(db), Barrier(16)

    def claim(number: int) -> bool:
        start.wait()
        offer = Offer(worker=f"w{number}", host="here", queues=("sealrun",), rung="landlock")
        return runs.claim(db, run_id, offer, 30) is not None

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(claim, range(16))) == 1


def test_processes_share_runs_out_among_themselves(db: Database, bench: Bench, database_url: str) -> None:
    """I6: three workers race through the same twenty bells; each run is claimed by one of them."""
    waiting = [bench.create(db) for _ in range(20)]
    orders = (waiting, waiting[::-1], waiting[10:] + waiting[:10])
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(ROOT), database_url, f"w{number}", *order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path("/"),
        )
        for number, order in enumerate(orders)
    ]
    for process in racing:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=60)[0]) for process in racing]
    assert sum(taken) == 20, taken
    with db.reading() as session:
        attempts = session.exec(select(Attempt)).all()
    assert sorted(attempt.run_id for attempt in attempts) == sorted(waiting)


def test_one_of_many_finishes_commits(db: Database, bench: Bench) -> None:
    """I6: finish, give back, cancel and the janitor at the same moment: one outcome, and the attempt has the same."""
    for _ in range(3):
        lease = bench.running(db, seconds=-1)
        acts = [
            lambda lease=lease: runs.finish(db, lease, Outcome("succeeded", exit_code=0)),
            lambda lease=lease: runs.finish(db, lease, Outcome("failed", "exit_code", exit_code=1)),
            lambda lease=lease: runs.give_back(db, lease, Outcome("lost", "lost")),
            lambda lease=lease: (lease.run_id, "failed") in runs.end_lost(db),
        ]
        start = Barrier(len(acts) * 2)

        def act(number: int, acts: list = acts, start: Barrier = start) -> bool:
            start.wait()
            return bool(acts[number % len(acts)]())

        with ThreadPoolExecutor(len(acts) * 2) as pool:
            assert sum(pool.map(act, range(len(acts) * 2))) == 1
        with db.reading() as session:
            run = session.get(Run, lease.run_id)
            attempt = session.get(Attempt, (lease.run_id, 1))
        assert attempt.state == ("lost" if run.state == "pending" else run.state)


def test_submissions_that_wait_for_one_another_are_accepted_all_the_same(db: Database, bench: Bench) -> None:
    """PostgreSQL ends one of two that each have a key which the other wants: it is tried again, and finds both."""
    if db.dialect == "sqlite":
        pytest.skip("one writer at a time")
    first, second = (bench.spec(idempotency_key=key) for key in "ab")
    ours = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    waits = text(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN ({ours})")

    def waiting() -> int:
        with db.reading() as session:
            return int(session.connection().execute(waits).scalar_one())

    with ThreadPoolExecutor(1) as pool, db.writing() as session:
        other = session.connection()
        other.execute(text("SET LOCAL deadlock_timeout = '60s'"))  # so that it is not this one that is ended
        rows = [accepting._row(spec, "ada") | {"now": utc_now()} for spec in (second, first)]
        other.execute(accepting._insertion(True), rows[0])
        accepted = pool.submit(runs.accept_all, db, [first, second], "bob")
        eventually(waiting, 10, "it waits for the second key, and has the first")
        other.execute(accepting._insertion(True), rows[1])
        session.commit()
        found = accepted.result(20)
    assert found == [(rows[1]["id"], False), (rows[0]["id"], False)]
