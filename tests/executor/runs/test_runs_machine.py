"""A run's life as a state machine: two workers, a canceller and a janitor act in any order that Hypothesis finds."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlmodel import select

from executor import database, runs
from executor.errors import RunOver
from executor.models import Attempt, Run
from executor.runs import ATTEMPTS_LIMIT, GateShut, Lease, Offer, Outcome
from executor.runs.grant import Given
from executor.schemas.runs import OVER
from secretstore.database import Database
from tests.databases import sqlite_file
from tests.effort import share
from tests.executor.conftest import Bench

WORKERS = st.sampled_from(["w1", "w2"])
OUTCOMES = st.sampled_from(
    [
        Outcome("succeeded", exit_code=0),
        Outcome("failed", "exit_code", exit_code=1),
        Outcome("failed", "timed_out"),
        Outcome("lost", "lost"),
        Outcome("cancelled", "cancelled"),
    ]
)

ASKED = st.sampled_from([(0, None), (2, None), (9, ["lost"]), (2, ["timed_out", "lost"])])
TRIED_UNASKED = {"exit_code"}
"""What a run with retries and no word on the reasons is tried again for, of the reasons that occur here."""


@dataclass
class Seen:
    """What has been observed, and may never be taken back."""

    token: int = 0
    attempt: int = 0
    over: str | None = None


class LifeOfARun(RuleBasedStateMachine):
    """I6, I7. The oracle knows nothing of how `runs` works: it holds what was promised against what is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="sealrun-test-")
        self.db = Database(f"sqlite:///{sqlite_file(Path(self.folder, 'sealrun.db'), database.migrate)}")
        self.bench = Bench()
        self.earlier: list[Run] = []

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    @initialize(asked=ASKED)
    def submit(self, asked: tuple[int, list[str] | None]) -> None:
        self.retries, chosen = asked
        self.reasons = TRIED_UNASKED if chosen is None else set(chosen)
        self.run_id = self.bench.create(self.db, retries=self.retries, retry_on=chosen)
        self.leases: dict[str, list[Lease]] = {"w1": [], "w2": []}
        self.outcomes: dict[int, str] = {}
        self.passed: set[int] = set()
        self.cancelling = False
        self.seen = Seen()

    @precondition(lambda self: self.seen.over is not None)
    @rule(asked=ASKED)
    def submit_another(self, asked: tuple[int, list[str] | None]) -> None:
        """What is over stays as it is whatever happens to others; see `what_is_over_stays_as_it_is`."""
        self.earlier.append(self.row())
        self.submit(asked)

    @rule(worker=WORKERS, seconds=st.sampled_from([30, -1]))
    def claim(self, worker: str, seconds: float) -> None:
        before = self.row()
        offer = Offer(worker=worker, host="here", queues=("sealrun",), rung="landlock")
        claimed = runs.claim(self.db, self.run_id, offer, seconds)
        if claimed is None:
            return
        lease = claimed[1]
        assert before.state == "pending" and not self.cancelling
        assert not self.good(before), "a good lease was taken over"
        assert before.not_before is None or before.not_before <= self.now(), "claimed before its delay was over"
        assert lease.token > before.fencing_token and lease.attempt == before.attempt + 1
        assert lease.attempt - before.retried <= ATTEMPTS_LIMIT
        self.leases[worker].append(lease)

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data())
    def pass_gate(self, data: st.DataObject) -> None:
        lease, before = self.some_lease(data), self.row()
        try:
            runs.pass_gate(self.db, lease, lambda _: Given(None), rung="landlock", controls={})
        except GateShut:
            assert self.row() == before
        else:
            assert before.fencing_token == lease.token and self.good(before) and not self.cancelling
            assert lease.attempt not in self.passed, "an attempt passed its gate twice"
            self.passed.add(lease.attempt)

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data(), seconds=st.sampled_from([30, -1]))
    def renew(self, data: st.DataObject, seconds: float) -> None:
        """With less than nothing it expires."""
        lease, before = self.some_lease(data), self.row()
        renewal = runs.renew(self.db, Lease(lease.run_id, lease.attempt, lease.token, seconds))
        if renewal.held:
            assert before.fencing_token == lease.token and before.state not in OVER
            assert lease.attempt not in self.outcomes, "an attempt with an outcome renewed its lease"
            assert renewal.cancel_requested == self.cancelling
        else:
            assert self.row() == before

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data(), outcome=OUTCOMES)
    def finish(self, data: st.DataObject, outcome: Outcome) -> None:
        lease, before = self.some_lease(data), self.row()
        state = runs.finish(self.db, lease, outcome)
        if state is None:
            assert self.row() == before
            return
        assert before.fencing_token == lease.token and before.state not in OVER
        if self.tried_again(before, outcome.reason):
            assert state == "pending"
            self.committed(lease.attempt, outcome.state)
            self.went_back(before, counted=True)
        else:
            lost = "cancelled" if self.cancelling else "failed"
            assert state == (lost if outcome.state == "lost" else outcome.state)
            self.committed(lease.attempt, state)

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        lease, before = self.some_lease(data), self.row()
        state = runs.give_back(self.db, lease, Outcome("lost", "lost"))
        if state is None:
            assert self.row() == before
            return
        assert before.fencing_token == lease.token and before.state not in OVER
        assert state == ("cancelled" if self.cancelling else "pending")
        self.committed(lease.attempt, "cancelled" if self.cancelling else "lost")
        if state == "pending":
            self.went_back(before, counted=False)

    @rule()
    def wait(self) -> None:
        """The delay before a retry is over."""
        if self.row().not_before is not None:
            self.bench.due(self.db, self.run_id)

    @rule()
    def ring_for_retries(self) -> None:
        """Of whoever asks, one is told, and only when it is time."""
        before = self.row()
        due = before.state == "pending" and before.not_before is not None and before.not_before <= self.now()
        assert runs.end_delays(self.db) == ([(self.run_id, "sealrun")] if due else [])
        assert runs.end_delays(self.db) == []

    @rule(sure=st.integers(0, 3))
    def give_up(self, sure: int) -> None:
        """A quarter as often as the rest, which it ends."""
        before = self.row()
        if sure or not runs.give_up(self.db, self.run_id, "for an hour no worker offers Python 3.12"):
            assert self.row() == before
            return
        assert before.state == "pending" and not self.good(before) and not self.cancelling
        assert before.not_before is None or before.not_before <= self.now()
        assert self.row().state == "failed"

    @rule(sure=st.booleans())
    def cancel(self, sure: bool) -> None:
        """Half as often as the rest, which it ends."""
        if not sure:
            return
        before = self.row()
        try:
            at_once = runs.cancel(self.db, self.run_id, "bob")
        except RunOver:
            assert before.state in OVER and self.row() == before
            return
        assert before.state not in OVER
        self.cancelling = True
        assert at_once == (self.row().state == "cancelled")
        assert not (at_once and self.good(before)), "cancelled behind the back of a worker that has it"

    @rule()
    def settle(self) -> None:
        before = self.row()
        for _, state in runs.end_lost(self.db):
            assert before.state not in OVER and not self.good(before)
            assert (state == "cancelled") == self.cancelling
            if state == "pending":
                assert before.state == "running" and self.tried_again(before, "lost")
                self.committed(before.attempt, "lost")
                self.went_back(before, counted=True)
            elif before.attempt not in self.outcomes:
                self.committed(before.attempt, state)

    @invariant()
    def tokens_only_grow(self) -> None:
        """I6."""
        if not hasattr(self, "run_id"):
            return
        row = self.row()
        assert row.fencing_token >= self.seen.token and row.attempt >= self.seen.attempt
        self.seen.token, self.seen.attempt = row.fencing_token, row.attempt

    @invariant()
    def what_is_over_stays_as_it_is(self) -> None:
        """I6, I7."""
        if not hasattr(self, "run_id"):
            return
        row = self.row()
        if self.seen.over is not None:
            assert row.state == self.seen.over
        if row.state in OVER:
            self.seen.over = row.state
            assert row.finished_at is not None and row.lease_until is None
            assert runs.unclaimed(self.db, self.bench.offer, 0, 9) == []
        with self.db.reading() as session:
            for run in self.earlier:
                assert session.get(Run, run.id) == run

    @invariant()
    def each_attempt_keeps_its_outcome(self) -> None:
        """I6: an attempt's row says what was committed for it, and never something else later."""
        if not hasattr(self, "run_id"):
            return
        with self.db.reading() as session:
            rows = session.exec(select(Attempt).where(Attempt.run_id == self.run_id).order_by(Attempt.number)).all()
        for row in rows:
            if row.number in self.outcomes:
                assert row.state == self.outcomes[row.number]
            elif row.state not in ("claimed", "running"):
                self.outcomes[row.number] = row.state
        assert sum(row.state in ("claimed", "running") for row in rows) <= 1

    def tried_again(self, before: Run, reason: str | None) -> bool:
        """Whether there is a retry of a run that ends for this reason."""
        return reason in self.reasons and before.retried < self.retries and not self.cancelling

    def went_back(self, before: Run, counted: bool) -> None:
        row = self.row()
        assert row.state == "pending" and row.lease_until is None and row.fencing_token > before.fencing_token
        assert row.retried == before.retried + counted <= self.retries
        assert (row.not_before is not None) == counted

    def committed(self, attempt: int, state: str) -> None:
        assert attempt not in self.outcomes, "a second outcome for one attempt"
        self.outcomes[attempt] = state

    def some_lease(self, data: st.DataObject) -> Lease:
        """The latest, as often as any: most of what can go wrong needs a lease that is good, or was until now."""
        every = sorted((lease for held in self.leases.values() for lease in held), key=lambda lease: lease.token)
        return data.draw(st.one_of(st.just(every[-1]), st.sampled_from(every)))

    def row(self) -> Run:
        with self.db.reading() as session:
            return session.exec(select(Run).where(Run.id == self.run_id)).one()

    def good(self, row: Run) -> bool:
        """Whether somebody's lease is good: leases here last half a minute, or are over."""
        return row.lease_until is not None and row.lease_until > self.now()

    def now(self) -> object:
        from secretstore.timestamps import utc_now

        return utc_now()


TestLifeOfARun = LifeOfARun.TestCase
TestLifeOfARun.settings = settings(
    max_examples=share(20), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
