"""What becomes of runs: tried again, cancelled, one for a key, limited, given up, deleted. On both databases."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, func, update
from sqlmodel import col, delete, select

from executor import database, models, runs
from executor.errors import KeyTaken, Problem, RunPruned
from executor.models import Run, RunSpec, Worker
from executor.records import history, logs, secret_uses
from executor.runs import ATTEMPTS_LIMIT, Lease, Offer, Outcome, output, retention, unserved, workers
from executor.runs.spec import Hit
from executor.schemas.output import Piece
from executor.worker import janitor
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.models import Project
from tests.databases import sqlite_file
from tests.executor.conftest import Bench

DONE = Outcome("succeeded", exit_code=0)
FAILED = Outcome("failed", "exit_code", "job.py ended with exit code 3", exit_code=3)
ANYBODY = Offer("w1", "here", ("sealrun",), "landlock", ("full",), ("3.12",), ("*/*",))


@dataclass(frozen=True)
class Mine:
    """A project of this test's own in a database that the tests of this file share."""

    db: Database
    bench: Bench
    project: str

    def create(self, **fields: Any) -> str:
        return self.bench.create(self.db, project_id=self.project, **fields)

    def claim(self, run_id: str, **more: Any) -> Lease:
        return self.bench.claim(self.db, run_id, **more)

    def running(self, **fields: Any) -> Lease:
        return self.bench.running(self.db, project_id=self.project, **fields)

    def through(self, lease: Lease) -> None:
        """Through the gate, with a secret."""
        self.bench.through(self.db, lease, replace(self.bench.bundle("API_KEY"), project_id=self.project))

    def row(self, run_id: str) -> Run:
        with self.db.reading() as session:
            return session.exec(select(Run).where(Run.id == run_id)).one()

    def limit(self, most: int | None) -> None:
        with self.db.writing() as session:
            session.merge(
                Project(
                    id=self.project,
                    name=self.project,
                    network="full",
                    sandbox_min="process",
                    max_running=most,
                    created_by="ada",
                )
            )

    def waiting(self, offer: Offer = ANYBODY) -> list[str]:
        """Runs of this test that a bell would be rung for."""
        found = {run_id for run_id, _ in runs.unclaimed(self.db, offer, 0, 10_000)}
        with self.db.reading() as session:
            mine = session.exec(select(Run.id).where(Run.project_id == self.project).order_by(Run.created_at)).all()
        return [run_id for run_id in mine if run_id in found]

    def set(self, run_id: str, **values: Any) -> None:
        with self.db.writing() as session:
            session.exec(update(Run).where(col(Run.id) == run_id).values(**values))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database of each kind for all of this file."""
    if request.param == "postgresql":
        yield request.getfixturevalue("shared_postgres")[0]
        return
    db = Database(f"sqlite:///{sqlite_file(tmp_path_factory.mktemp('lifecycle') / 'sealrun.db', database.migrate)}")
    yield db
    db.close()


@pytest.fixture
def mine(shared: Database) -> Mine:
    return Mine(shared, Bench(), uuid4().hex)


# Retries ------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_tried_again_and_keeps_what_it_left(mine: Mine) -> None:
    """I6: outcome, problem, closed receipt and the way back are one commit; the next attempt begins after its delay."""
    db, run_id = mine.db, mine.create(retries=1)
    first = mine.claim(run_id)
    mine.through(first)
    output.append(db, first, [Piece(1, "stdout", datetime.now(UTC), b"one\n")])
    now = datetime.now(UTC)
    assert runs.finish(db, first, replace(FAILED, problem={"type": "E"}, opened_at=now, dropped_at=now)) == "pending"
    view = history.show(db, run_id)
    assert (view.state, view.reason, view.retried, view.over) == ("pending", None, 1, False)
    assert view.delayed is not None and view.delayed.startswith("retry 1 of 1 in ")
    assert not runs.renew(db, first).held and runs.finish(db, first, DONE) is None
    mine.set(run_id, not_before=db.after(60))
    assert mine.waiting() == [] and runs.claim(db, run_id, ANYBODY, 30) is None
    mine.bench.due(db, run_id)
    assert mine.waiting() == [run_id]
    second = mine.claim(run_id)
    assert mine.row(run_id).not_before is None
    mine.bench.through(db, second)
    output.append(db, second, [Piece(1, "stdout", datetime.now(UTC), b"two\n")])
    assert runs.finish(db, second, replace(FAILED, problem={"type": "F"})) == "failed", "it had one retry"

    earlier, last = history.show(db, run_id, 1), history.show(db, run_id)
    assert (earlier.problem, last.problem) == (Problem("E"), Problem("F"))
    assert earlier.receipt is not None and earlier.receipt.status == "closed"
    assert [(one.number, one.state, one.reason, one.message) for one in last.attempts] == [
        (number, "failed", "exit_code", FAILED.message) for number in (1, 2)
    ]
    of_each = [b"".join(piece.data for piece in logs.read(db, run_id, attempt=one)[0]) for one in (1, 2, None)]
    assert of_each == [b"one\n", b"two\n", b"one\ntwo\n"]


@pytest.mark.parametrize(
    ("chosen", "reason", "state"),
    [
        (None, "exception", "pending"),
        (None, "timed_out", "failed"),
        (None, "secrets_unavailable", "failed"),
        (["timed_out"], "timed_out", "pending"),
        (["timed_out"], "exception", "failed"),
        (["setup_failed"], "setup_failed", "pending"),
    ],
)
def test_it_depends_on_the_reason(mine: Mine, chosen: list[str] | None, reason: str, state: str) -> None:
    """Those that are named, else those of `retrying`; also of an attempt that did not reach its gate."""
    lease = mine.claim(mine.create(retries=2, retry_on=chosen))
    assert runs.finish(mine.db, lease, Outcome("failed", reason)) == state


def test_a_lost_attempt_is_tried_again_only_if_that_was_named(mine: Mine) -> None:
    """I7: it may have done part of its work; one that was lost before its gate is tried again, and does not count."""
    unasked, asked = mine.running(retries=2), mine.running(retries=2, retry_on=["lost"])
    assert runs.finish(mine.db, unasked, Outcome("lost", "lost")) == "failed"
    assert runs.finish(mine.db, asked, Outcome("lost", "lost")) == "pending"
    mine.bench.due(mine.db, asked.run_id)
    assert runs.give_back(mine.db, mine.claim(asked.run_id), Outcome("lost", "lost")) == "pending"
    row = mine.row(asked.run_id)
    assert (row.retried, row.attempt, row.not_before) == (1, 2, None)


def test_retries_do_not_use_up_the_attempts_that_may_be_lost(mine: Mine) -> None:
    """I7: after nine retries the tenth attempt may still be lost before its gate, nine times."""
    run_id = mine.create(retries=9)
    for _ in range(9):
        mine.bench.due(mine.db, run_id)
        assert runs.finish(mine.db, mine.claim(run_id), FAILED) == "pending"
    mine.bench.due(mine.db, run_id)
    for _ in range(ATTEMPTS_LIMIT):
        mine.claim(run_id, seconds=-1)
    assert runs.claim(mine.db, run_id, ANYBODY, 30) is None
    assert (run_id, "failed") in runs.end_lost(mine.db)
    assert mine.row(run_id).message == "10 attempts were lost before they began"


def test_a_cancelled_run_is_never_tried_again(mine: Mine) -> None:
    """I7: whichever way its attempt ends, once somebody has asked there is no other; the request is never cleared."""
    ends: list[tuple[Callable[[Lease], object], str]] = [
        (lambda lease: runs.finish(mine.db, lease, FAILED), "failed"),
        (lambda lease: runs.finish(mine.db, lease, Outcome("lost", "lost", "it was killed")), "cancelled"),
        (lambda lease: runs.give_back(mine.db, lease, Outcome("lost", "lost")), "cancelled"),
    ]
    for end, state in ends:
        lease = mine.running(retries=9, retry_on=["lost", "exit_code"])
        assert not runs.cancel(mine.db, lease.run_id, "bob")
        assert end(lease) == state
        row = mine.row(lease.run_id)
        assert (row.state, row.retried, row.cancel_requested_by) == (state, 0, "bob")


def test_a_run_that_waits_for_its_retry_is_cancelled_at_once(mine: Mine) -> None:
    """Nobody has it."""
    lease = mine.running(retries=9)
    assert runs.finish(mine.db, lease, FAILED) == "pending"
    mine.set(lease.run_id, not_before=mine.db.after(60))
    assert runs.cancel(mine.db, lease.run_id, "bob")
    assert (lease.run_id, "sealrun") not in runs.end_delays(mine.db)
    assert mine.row(lease.run_id).state == "cancelled"


def test_cancel_and_retry_at_the_same_moment(mine: Mine) -> None:
    """I7: either the retry was written first and the cancellation ends it, or there is none: it never goes on."""
    for _ in range(12):
        lease, start = mine.running(retries=9), Barrier(2)

        def meet(act: Callable[[], object], start: Barrier = start) -> object:
            start.wait()
            return act()

        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(meet, lambda lease=lease: runs.cancel(mine.db, lease.run_id, "bob"))
            pool.submit(meet, lambda lease=lease: runs.finish(mine.db, lease, FAILED)).result()
        try:
            at_once = asked.result()
        except runs.RunOver:
            continue
        assert mine.row(lease.run_id).state == ("cancelled" if at_once else "failed")


def test_a_due_retry_is_told_to_one_janitor(mine: Mine) -> None:
    """Each worker's looks every second; one of them rings. One that is not due is left alone."""
    leases = [mine.running(retries=9) for _ in range(5)]
    for lease in leases:
        runs.finish(mine.db, lease, FAILED)
        mine.set(lease.run_id, not_before=mine.db.after(60))
    assert not {lease.run_id for lease in leases} & {run_id for run_id, _ in runs.end_delays(mine.db)}
    for lease in leases[1:]:
        mine.bench.due(mine.db, lease.run_id)
    start = Barrier(4)

    def look(_: int) -> list[str]:
        start.wait()
        return [run_id for run_id, _ in runs.end_delays(mine.db)]

    with ThreadPoolExecutor(4) as pool:
        told = [run_id for found in pool.map(look, range(4)) for run_id in found]
    # Another test's retry may have come due beside them.
    told = [run_id for run_id in told if run_id in {lease.run_id for lease in leases}]
    assert sorted(told) == sorted(lease.run_id for lease in leases[1:])
    assert mine.waiting() == [lease.run_id for lease in leases[1:]]
    assert runs.expected(mine.db, ANYBODY), "an idle worker stays for what comes"


# One run for a key --------------------------------------------------------------------------------


def altered(spec: RunSpec, **fields: Any) -> RunSpec:
    return spec.model_copy(update=fields)


def test_the_same_key_is_the_same_run(mine: Mine) -> None:
    """Per project; another run, or one given something else, is a mistake; without a key nothing is the same."""
    spec = mine.bench.spec(project_id=mine.project, idempotency_key="nightly-2026-01-01")
    first = runs.accept(mine.db, spec, "ada")
    assert first.new
    assert runs.accept(mine.db, spec, "bob") == (first.run_id, False)
    assert runs.accept(mine.db, altered(spec, timeout=3, retries=2), "bob") == (first.run_id, False)
    given = mine.bench.spec(project_id=mine.project, idempotency_key="given", secret_names=["A", "B"])
    assert runs.accept(mine.db, given, "ada").new
    assert not runs.accept(mine.db, altered(given, secret_names=["B", "A"]), "ada").new
    assert runs.accept(mine.db, altered(spec, project_id=uuid4().hex), "bob").new
    assert runs.accept(mine.db, altered(spec, idempotency_key=None), "bob").new
    assert runs.accept(mine.db, altered(spec, idempotency_key=None), "bob").new
    target = {"target": {"kind": "command", "argv": ["false"]}}
    place = {"environment_id": "e2", "environment": "staging"}
    for other, differs in (
        (target, "another target: -- true"),
        (place, "another environment"),
        ({"environment_id": "e2"}, "another environment: default (deleted since)"),
        (target | place, "another environment"),
        ({"variables": {"DAY": "2"}}, "other variables"),
        ({"secret_names": []}, "other secrets or connections"),
        ({"connections": False}, "other secrets or connections"),
    ):
        with pytest.raises(KeyTaken) as taken:
            runs.accept(mine.db, altered(spec, **other), "bob")
        said = f'"nightly-2026-01-01" belongs to run {first.run_id[:8]}, which has {differs}'
        assert str(taken.value).endswith(said)


def test_of_many_at_once_one_makes_the_run(mine: Mine) -> None:
    """I7: all are told the same id, one of them that it is new."""
    spec, start = mine.bench.spec(project_id=mine.project, idempotency_key="once"), Barrier(8)

    def submit(number: int) -> runs.Accepted:
        start.wait()
        return runs.accept(mine.db, spec, f"user{number}")

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(submit, range(8)))
    assert len({one.run_id for one in accepted}) == 1 and sum(one.new for one in accepted) == 1


def test_several_are_accepted_together_or_not_at_all(mine: Mine) -> None:
    """I7: in their order, each key once, whether its run is older or among them; one that is refused leaves none."""

    def spec(key: str | None, **more: Any) -> Any:
        return altered(mine.bench.spec(project_id=mine.project), idempotency_key=key, **more)

    old = runs.accept(mine.db, spec("z"), "ada").run_id
    found = runs.accept_all(mine.db, [spec("y"), spec(None), spec("z"), spec("b"), spec("y")], "ada")
    assert [one.new for one in found] == [True, True, False, True, False]
    assert (found[2].run_id, found[4].run_id) == (old, found[0].run_id)

    def there() -> list[str]:
        with mine.db.reading() as session:
            of_project = select(Run.id).where(Run.project_id == mine.project)
            return list(session.exec(of_project.order_by(col(Run.created_at))))

    waiting = [old, found[0].run_id, found[1].run_id, found[3].run_id]
    assert there() == waiting, "workers take them in this order"
    refused = [spec("c"), spec("d"), spec("c", variables={"DAY": "2"})], [spec("c"), spec("z", variables={"DAY": "2"})]
    for specs, place in zip(refused, (2, 1), strict=True):
        with pytest.raises(runs.Refused) as why:
            runs.accept_all(mine.db, specs, "bob")
        assert why.value.place == place and isinstance(why.value.why, KeyTaken)
    assert there() == waiting


def test_of_several_batches_at_once_each_key_makes_one_run(mine: Mine) -> None:
    """I7: whatever the order of the keys in each, none waits for another for ever and none fails."""
    keys, start = [f"key-{number}" for number in range(20)], Barrier(6)
    spec = mine.bench.spec(project_id=mine.project)

    def submit(number: int) -> dict[str, runs.Accepted]:
        mixed = keys[number:] + keys[:number] if number % 2 else keys[::-1]
        start.wait()
        specs = [altered(spec, idempotency_key=key) for key in mixed]
        return dict(zip(mixed, runs.accept_all(mine.db, specs, "ada"), strict=True))

    with ThreadPoolExecutor(6) as pool:
        accepted = list(pool.map(submit, range(6)))
    for key in keys:
        assert len({one[key].run_id for one in accepted}) == 1 and sum(one[key].new for one in accepted) == 1


# So many at a time --------------------------------------------------------------------------------


def test_no_more_than_the_project_allows(mine: Mine) -> None:
    """Counted from leases that are good; the rest waits, is not rung for, and has its turn when one is over."""
    mine.limit(2)
    waiting = [mine.create() for _ in range(4)]
    first, second = (mine.claim(run_id) for run_id in waiting[:2])
    assert first.limited
    assert runs.claim(mine.db, waiting[2], ANYBODY, 30) is None
    assert mine.waiting() == [] and runs.next_of(mine.db, mine.project, ANYBODY) is None
    assert runs.finish(mine.db, first, DONE) == "succeeded"
    assert runs.next_of(mine.db, mine.project, ANYBODY) == (waiting[2], "sealrun")
    third = mine.claim(waiting[2])
    assert runs.claim(mine.db, waiting[3], ANYBODY, 30) is None
    runs.renew(mine.db, Lease(second.run_id, second.attempt, second.token, -1))
    assert mine.waiting() == [second.run_id, waiting[3]], "a lease that is over counts no more"
    fourth = mine.claim(waiting[3])
    mine.limit(None)
    assert mine.claim(second.run_id).limited is False
    for lease in (third, fourth):
        runs.finish(mine.db, lease, DONE)


def test_the_slot_goes_to_a_run_of_this_worker_first(mine: Mine) -> None:
    """It has a slot of its own again, and hears the bell at once; else to the oldest."""
    mine.limit(1)
    old, fitting = mine.create(host="there"), mine.create()
    assert runs.next_of(mine.db, mine.project, ANYBODY) == (fitting, "sealrun")
    assert runs.next_of(mine.db, mine.project, replace(ANYBODY, host="elsewhere")) == (old, "sealrun")


def test_many_claims_at_once_keep_to_the_limit(mine: Mine) -> None:
    """I7: eight slots claim a run each at the same moment, and three get theirs; none is lost for the others."""
    mine.limit(3)
    waiting = [mine.create() for _ in range(8)]
    for _ in range(4):
        start = Barrier(8)

        def claim(run_id: str, start: Barrier = start) -> Lease | None:
            start.wait()
            claimed = runs.claim(mine.db, run_id, ANYBODY, 30)
            return claimed and claimed[1]

        with ThreadPoolExecutor(8) as pool:
            taken = [lease for lease in pool.map(claim, waiting) if lease]
        assert len(taken) == 3
        for lease in taken:
            assert runs.give_back(mine.db, lease, Outcome("lost", "lost")) == "pending"
        assert sorted(mine.waiting()) == sorted(waiting)


def test_a_claim_without_a_limit_takes_no_statement_more(mine: Mine) -> None:
    """The claim, and the attempt's row."""
    statements: list[str] = []
    run_id = mine.create()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith(("BEGIN", "SELECT pg_catalog.version")):
            statements.append(statement)

    event.listen(mine.db.engine, "before_cursor_execute", note)
    try:
        mine.claim(run_id)
    finally:
        event.remove(mine.db.engine, "before_cursor_execute", note)
    assert [statement.split()[0] for statement in statements] == ["UPDATE", "INSERT"]


# What a worker serves -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needs", "lacking", "having"),
    [
        ({"queue": "gpu"}, {}, {"queues": ("sealrun", "gpu")}),
        ({"host": "there"}, {}, {"host": "there"}),
        ({"host": None}, None, {}),
        ({"network": "none"}, {}, {"networks": ("full", "none")}),
        ({"python_version": "3.13"}, {"pythons": ("3.12", "3.1")}, {"pythons": ("3.13",)}),
        ({"rung_min": "landlock"}, {"rung": "process"}, {"rung": "namespace"}),
        ({}, {"places": ("data/*", "*/prod")}, {"places": ("data/*", "shop/default")}),
        ({}, {"places": ("shop/prod",)}, {"places": ("shop/*",)}),
        ({}, {"places": ("web/default", "shops/*")}, {"places": ("*/default",)}),
    ],
)
def test_a_worker_takes_what_it_can_give(
    mine: Mine, needs: dict[str, Any], lacking: dict[str, Any] | None, having: dict[str, Any]
) -> None:
    """I9: queue, machine, network, Python, rung and place, each in the claim's WHERE."""
    run_id = mine.create(**needs)
    if lacking is not None:
        offer = replace(ANYBODY, **lacking)
        assert runs.claim(mine.db, run_id, offer, 30) is None and mine.waiting(offer) == []
    assert runs.claim(mine.db, run_id, replace(ANYBODY, **having), 30) is not None


# What nobody can take -----------------------------------------------------------------------------


@pytest.fixture
def nobody(mine: Mine) -> Mine:
    """No worker has ever been there."""
    with mine.db.writing() as session:
        session.exec(delete(Worker))
        session.exec(update(Run).where(Run.state == "pending").values(state="cancelled", finished_at=mine.db.now()))
    return mine


def seen(db: Database, seconds: float, **offer: Any) -> str:
    """A worker that was last heard so many seconds ago."""
    worker = workers.appear(db, replace(ANYBODY, **offer), 1, 2)
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.id) == worker).values(seen_at=db.after(-seconds)))
    return worker


def test_what_no_worker_can_take_fails_after_its_time(nobody: Mine) -> None:
    """I7: with the sentence that names what is missing; the run's own time stands over the usual one."""
    db = nobody.db
    asked, usual = nobody.create(python_version="3.9", queue_timeout=60), nobody.create(network="none")
    seen(db, 0)
    assert unserved.end_unserved(db, 3600) == []
    for run_id in (asked, usual):
        nobody.set(run_id, rung_at=db.after(-100))
    ((ended, said),) = unserved.end_unserved(db, 3600)
    assert ended == asked and said.startswith("for 60 seconds no worker offers Python 3.9")
    row = nobody.row(asked)
    assert (row.state, row.reason, row.message) == ("failed", "no_capable_worker", said)
    assert row.finished_at is not None
    nobody.set(usual, rung_at=db.after(-3601))
    assert janitor.end_unserved(db, 3600, watched=59) == 0, "whoever was stopped with it may not be back yet"
    assert janitor.end_unserved(db, 3600, watched=61) == 1
    assert "the network none" in str(nobody.row(usual).message)


def test_what_is_only_kept_waiting_goes_on_waiting(nobody: Mine) -> None:
    """I7: capable workers that are busy, or were there within the time; a retry's delay; somebody's lease."""
    db = nobody.db
    busy = nobody.create(queue_timeout=60)
    away = nobody.create(python_version="3.9", queue_timeout=60)
    delayed = nobody.create(python_version="3.8", queue_timeout=60)
    held = nobody.claim(nobody.create(python_version="3.7", queue_timeout=60), offer=replace(ANYBODY, pythons=("3.7",)))
    for run_id in (busy, away, delayed, held.run_id):
        nobody.set(run_id, rung_at=db.after(-100))
    nobody.set(delayed, not_before=db.after(-30))
    seen(db, 0)
    seen(db, 50, pythons=("3.9",))
    assert unserved.end_unserved(db, 3600) == []
    for run_id in (held.run_id, delayed):
        nobody.set(run_id, not_before=db.after(5))
        assert not runs.give_up(db, run_id, "for ever")
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.seen_at) < db.after(-5)).values(seen_at=db.after(-70)))
    assert [run_id for run_id, _ in unserved.end_unserved(db, 3600)] == [away]


def test_without_any_worker_a_follower_ends_the_run_it_follows(nobody: Mine) -> None:
    """There is no janitor to do it."""
    mine_, other = nobody.create(queue_timeout=5), nobody.create(queue_timeout=5)
    for run_id in (mine_, other):
        nobody.set(run_id, rung_at=nobody.db.after(-6))
    assert unserved.end_unserved(nobody.db, 3600, run_id=mine_) == [(mine_, "for 5 seconds no worker is running")]
    assert nobody.row(other).state == "pending"


# Runs that were kept long enough ------------------------------------------------------------------


def left_behind(mine: Mine, days: float, chunks: int = 3) -> str:
    """A run that ended so many days ago and left something of each kind, in two attempts."""
    db, run_id = mine.db, mine.create(retries=1)
    for number in (1, 2):
        mine.bench.due(db, run_id)
        lease = mine.claim(run_id)
        mine.through(lease)
        now = datetime.now(UTC)
        output.append(db, lease, [Piece(one, "stdout", now, os.urandom(2000)) for one in range(chunks)])
        output.append(db, lease, [], [output.file(lease, "report.txt", 4)])
        output.append(db, lease, [], [output.file_piece(lease, "report.txt", 0, b"text")])
        of = {"run_id": run_id, "attempt": number, "sequence": 1, "at": now}
        with db.writing() as session:
            session.add(models.Sample(**of, cpu_seconds=1, memory_bytes=1))
            session.add(models.Metric(**of, name="rows", value=1))
        masked = (Hit("API_KEY", "stdout", "hex", 1),)
        runs.finish(db, lease, replace(FAILED if number == 1 else replace(DONE, result=[1]), masked=masked))
    mine.set(run_id, finished_at=db.after(-days * 86400))
    return run_id


def rows_of(db: Database, run_id: str) -> dict[str, int]:
    tables: tuple[Any, ...] = (
        models.Attempt, models.LogChunk, models.Output, models.OutputChunk, models.Result, models.Sample,
        models.Metric, models.Masked, models.Receipt, models.ReceiptSecret,
    )  # fmt: skip
    with db.reading() as session:
        found = {
            one.__name__: session.exec(select(func.count()).select_from(one).where(one.run_id == run_id)).one()
            for one in tables
        }
        return found | {"Run": len(session.exec(select(Run.id).where(Run.id == run_id)).all())}


LEFT = {"LogChunk", "Masked", "Output", "OutputChunk", "Result", "Sample", "Metric"}
JANITOR = Actor("worker@here", retention.WORKER)


def test_what_old_runs_left_goes_and_their_receipts_stay(mine: Mine) -> None:
    """Piece by piece; younger ones, and those that are not over, are not touched. 0 days keep all."""
    db = mine.db
    old, young = left_behind(mine, 31, chunks=100), left_behind(mine, 29)
    waiting, running = mine.create(), mine.running()
    for run_id in (waiting, running.run_id):
        mine.set(run_id, created_at=db.after(-99 * 86400), rung_at=db.after(-99 * 86400))
    before, all_of_it = rows_of(db, young), rows_of(db, old)
    assert all(all_of_it.values())
    assert janitor.delete_old(db, 0, JANITOR) == 0
    assert janitor.delete_old(db, 30 * 86400, JANITOR) == 1
    assert rows_of(db, old) == all_of_it | dict.fromkeys(LEFT, 0)
    assert rows_of(db, young) == before and janitor.delete_old(db, 30 * 86400, JANITOR) == 0
    assert mine.row(waiting).state == "pending" and mine.row(running.run_id).state == "running"
    uses = {use.id: use for use in secret_uses.runs_given(db, "s-API_KEY", 1, limit=999)}
    assert (uses[old].state, uses[old].created_by, uses[young].state) == ("succeeded", "ada@here", "succeeded")
    stub = history.show(db, old)
    assert (stub.state, stub.pruned_by, stub.result, stub.metrics) == ("succeeded", "a worker", None, None)
    assert stub.pruned_at is not None and stub.receipt is not None
    runs.finish(db, running, DONE)


def test_who_is_stopped_leaves_a_run_that_says_so_and_a_janitor_ends_it(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a part of its output for all of it; others can write after each part; 0 days keep none of that."""
    db, run_id = mine.db, left_behind(mine, 31, chunks=200)
    monkeypatch.setattr(retention, "_HELD", 0.0)
    first = next(retention.prune(db, retention.these([run_id], by=Actor("bob", "cli"))))
    assert first == 0 and 0 < rows_of(db, run_id)["LogChunk"] < 400, "a part of it"
    assert mine.row(run_id).pruned_by == "bob" and mine.row(run_id).pruned_at is None
    with pytest.raises(RunPruned):
        history.require_kept(db, run_id)
    assert janitor.delete_old(db, 0, JANITOR) == 1
    assert not any(count for name, count in rows_of(db, run_id).items() if name in LEFT)
    assert mine.row(run_id).pruned_by == "bob" and mine.row(run_id).pruned_at is not None


def test_a_sqlite_file_gives_back_what_was_deleted(tmp_path: Path) -> None:
    """Until somebody wants it back, the pages of what was deleted are used again."""
    db = Database(f"sqlite:///{sqlite_file(tmp_path / 'sealrun.db', database.migrate)}")
    mine, sizes = Mine(db, Bench(), "p1"), []
    for _ in range(4):
        left_behind(mine, 31, chunks=300)
        for _ in retention.prune(db, retention.older(db, 30 * 86400, by=JANITOR)):
            pass
        sizes.append(db.size()[0])
    assert sizes[0] > 1_000_000 and sizes[-1] < sizes[0] * 1.05
    given_back = db.give_back()
    assert given_back > 1_000_000 and db.size() == (sizes[-1] - given_back, 0)
    assert (tmp_path / "sealrun.db").stat().st_size == sizes[-1] - given_back
    db.close()
