"""A run that a worker's key service refused goes to another worker, and round once."""

from dataclasses import replace

import pytest

from executor import runs
from executor.models import Run
from executor.records import history
from executor.runs import Lease, Offer, Outcome, refusals, workers
from executor.schemas.workers import Refusal
from secretstore.database import Database
from tests.executor.conftest import Bench
from tests.executor.runs.test_key_need import KMS, place

DENIED = Outcome(
    "failed", "secrets_unavailable", "AWS denies it", not_opened="AWS denies it", unopened="kms_access_denied"
)


@pytest.fixture
def crew(db: Database, bench: Bench) -> dict[str, Offer]:
    """Three workers that live, the third of another queue."""
    found = {name: replace(bench.offer, worker=name) for name in ("w1", "w2", "w3")}
    found["w3"] = replace(found["w3"], queues=("gpu",))
    for offer in found.values():
        workers.appear(db, offer, 1, 1)
    return found


def refused(
    db: Database, bench: Bench, run_id: str, offer: Offer, whose: dict[str, str]
) -> tuple[Lease, refusals.Others]:
    """An attempt of this worker up to the question who is left."""
    lease = bench.claim(db, run_id, offer=offer)
    bench.through(db, lease, replace(bench.bundle("API_KEY"), project_id=whose["project_id"]))
    found = refusals.others(db, lease, offer.worker)
    if found.left:
        mine = {whose["environment_id"]: Refusal("shop/default", f"{offer.worker} is denied")}
        workers.leave_to_others(db, offer.worker, mine)
    return lease, found


def test_it_is_given_back_as_it_was(db: Database, bench: Bench) -> None:
    """I4, I6, I7: `pending` and never begun, its receipt `refused`, and no attempt that counts for anything."""
    run_id = bench.create(db, retries=1, retry_on=["secrets_unavailable"])
    for number in range(1, runs.ATTEMPTS_LIMIT + 2):
        lease = bench.claim(db, run_id)
        bench.through(db, lease, bench.bundle("API_KEY"))
        assert runs.give_back(db, lease, replace(DENIED, state="refused")) == "pending"
        assert runs.finish(db, lease, Outcome("succeeded")) is None, "the token is over"
        view = history.show(db, run_id)
        assert (view.state, view.started_at, view.reason, view.attempt) == ("pending", None, None, number)
        last = view.attempts[-1]
        assert (last.state, last.reason, last.message) == ("refused", "secrets_unavailable", "AWS denies it")
        assert last.receipt is not None
        assert (last.receipt.status, last.receipt.reason, last.receipt.opened_at) == ("refused", "AWS denies it", None)
        assert not last.receipt.may_have_been_opened
    with db.reading() as session:
        run = session.get(Run, run_id)
    assert run is not None and (run.retried, run.refused) == (0, runs.ATTEMPTS_LIMIT + 1)
    assert runs.end_lost(db) == []


def test_one_that_was_cancelled_meanwhile_is_not_given_back(db: Database, bench: Bench) -> None:
    """I6, I7: what was asked is never overlooked."""
    lease = bench.claim(db, bench.create(db))
    bench.through(db, lease, bench.bundle("API_KEY"))
    assert runs.cancel(db, lease.run_id, "ada@here") is False
    assert runs.give_back(db, lease, replace(DENIED, state="refused")) == "cancelled"


def test_it_goes_round_once(db: Database, bench: Bench, crew: dict[str, Offer]) -> None:
    """I7: to whoever could take it and was not refused; then nobody is left, and what each said is told."""
    whose = place(db, KMS)
    run_id = bench.create(db, **whose)
    lease, first = refused(db, bench, run_id, crew["w1"], whose)
    assert first == refusals.Others(True, {})
    runs.give_back(db, lease, replace(DENIED, state="refused", message="w1 is denied"))
    # The first may forget that it was refused: the run does not.
    workers.leave_to_others(db, "w1", {})
    assert refused(db, bench, run_id, crew["w2"], whose)[1] == refusals.Others(False, {"w1": "w1 is denied"})


def test_a_later_run_ends_with_the_first_that_is_refused(db: Database, bench: Bench, crew: dict[str, Offer]) -> None:
    """I7: where all others leave its environment to others, there are none."""
    whose = place(db, KMS)
    for name, left in (("w1", True), ("w2", False)):
        _, found = refused(db, bench, bench.create(db, **whose), crew[name], whose)
        assert found.left is left
    assert found.said == {"w1": "w1 is denied"}


def test_after_a_retry_it_goes_round_again(db: Database, bench: Bench, crew: dict[str, Offer]) -> None:
    """I7: what an earlier round said is over with it."""
    whose = place(db, KMS)
    run_id = bench.create(db, **whose, retries=1, retry_on=["secrets_unavailable"])
    lease, _ = refused(db, bench, run_id, crew["w1"], whose)
    runs.give_back(db, lease, replace(DENIED, state="refused"))
    lease, _ = refused(db, bench, run_id, crew["w2"], whose)
    assert runs.finish(db, lease, DENIED) == "pending"
    for name in ("w1", "w2"):
        workers.leave_to_others(db, name, {})
    bench.due(db, run_id)
    assert refused(db, bench, run_id, crew["w2"], whose)[1] == refusals.Others(True, {})


def test_what_nobody_else_could_take_is_left_to_nobody(db: Database, bench: Bench, crew: dict[str, Offer]) -> None:
    """I7: a run is not kept waiting for others that are gone, or have been refused as well."""
    whose = place(db, KMS)
    environment = whose["environment_id"]
    mine = {environment: Refusal("shop/default", "denied")}
    workers.leave_to_others(db, "w1", mine)
    assert refusals.left_to_nobody(db, "w1", mine) == set(), "nothing waits"
    bench.create(db, **whose)
    assert refusals.left_to_nobody(db, "w1", mine) == set(), "another could take it"
    workers.leave_to_others(db, "w2", mine)
    assert refusals.left_to_nobody(db, "w1", mine) == {environment}
    assert refusals.left_to_nobody(db, "w3", mine) == set(), "it could not take it at all"
