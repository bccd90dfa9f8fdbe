"""The lease of an attempt while its worker has it: renewed in time, its deadline never later than the lease is over."""

import time

import pytest

from executor import runs
from executor.runs import GateShut, Lease, StaleToken
from executor.worker import lease as lease_module
from executor.worker.lease import LeaseKeeper, clock
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable
from tests.executor.conftest import Bench


@pytest.fixture
def cancelled() -> set[str]:
    return set()


@pytest.fixture
def keeper(sqlite_db: Database, bench: Bench, cancelled: set[str]) -> LeaseKeeper:
    """Of a run that was claimed a moment ago, for 30 seconds."""
    since = clock()
    return LeaseKeeper(sqlite_db, bench.claim(sqlite_db, bench.create(sqlite_db)), cancelled, since)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """It is so much later, by both clocks that a worker looks at."""
    monotonic, boottime = time.monotonic, clock
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: monotonic() + seconds)
    monkeypatch.setattr(lease_module, "clock", lambda: boottime() + int(seconds * 1e9))


def renewals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The deadline's own clock at each renewal, which reaches the database as always."""
    found: list[int] = []
    real = runs.renew

    def renew(db: Database, lease: Lease, held_up: str | None) -> runs.Renewal:
        found.append(lease_module.clock())
        return real(db, lease, held_up)

    monkeypatch.setattr(lease_module.runs, "renew", renew)
    return found


def test_it_is_renewed_every_third_of_its_length(keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before, however often somebody asks; only then is there a new deadline."""
    seen, first = renewals(monkeypatch), keeper.deadline
    with monkeypatch.context() as patched:
        later(patched, 9.5)
        assert not keeper.tend() and seen == [] and keeper.deadline == first
    with monkeypatch.context() as patched:
        later(patched, 10.5)
        assert keeper.tend() and len(seen) == 1 and keeper.deadline > first
        assert not keeper.tend() and len(seen) == 1


def test_why_output_waits_is_told_at_once(keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it waits no more; not at each look."""
    seen = renewals(monkeypatch)
    for held_up, told in (("the disk is full", 1), ("the disk is full", 1), (None, 2), (None, 2)):
        keeper.held_up = held_up
        keeper.tend()
        assert len(seen) == told


def test_a_deadline_is_measured_before_its_renewal_is_sent(
    keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: the supervisor ends the run before anybody else may take it, however slow the database was."""
    seen = renewals(monkeypatch)
    keeper.renew()
    assert keeper.deadline <= seen[0] + int(24 * 1e9)  # 30 seconds, and a fifth of them to spare
    assert keeper.deadline > seen[0] + int(20 * 1e9)


def test_what_did_not_renew_it_moves_no_deadline(keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: a database that is away, or a gate that is shut, may have renewed nothing."""
    first = keeper.deadline

    def away(*_: object) -> runs.Renewal:
        raise DatabaseUnavailable(url="db", why="no answer")

    later(monkeypatch, 10.5)
    with monkeypatch.context() as patched:
        patched.setattr(lease_module.runs, "renew", away)
        assert not keeper.tend() and keeper.deadline == first
    with pytest.raises(GateShut), keeper.renewing():
        raise GateShut
    assert keeper.deadline == first
    assert not keeper.tend(), "it is asked again each second, and not at each look"
    later(monkeypatch, 1.5)
    assert keeper.tend() and keeper.deadline > first


def test_a_later_claim_ends_it(sqlite_db: Database, bench: Bench, keeper: LeaseKeeper) -> None:
    """I6: who finds its token stale does not go on, whoever asks the keeper and why."""
    lease = keeper.lease
    assert runs.renew(sqlite_db, Lease(lease.run_id, lease.attempt, lease.token, -1)).held
    bench.claim(sqlite_db, lease.run_id)
    with pytest.raises(StaleToken):
        keeper.renew()


def test_a_cancelled_run_does_not_reach_its_gate(keeper: LeaseKeeper, cancelled: set[str]) -> None:
    """Whatever it waits for; others of the same worker wait on."""
    cancelled.add("another")
    keeper.check()
    looks: list[int] = []

    def done() -> bool:
        looks.append(1)
        if len(looks) == 2:
            cancelled.add(keeper.lease.run_id)
        return len(looks) > 99

    with pytest.raises(GateShut):
        keeper.wait(done)
    assert keeper.cancelled and len(looks) == 2


def test_the_gate_renews_it_too(
    sqlite_db: Database, bench: Bench, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a new deadline after it, and a third of the length until the next renewal."""
    first = keeper.deadline
    later(monkeypatch, 10.5)
    with keeper.renewing():
        bench.through(sqlite_db, keeper.lease)
    assert keeper.deadline > first and not keeper.tend()
