"""The state of a run: who may take it, what a token permits, how it ends. On both databases."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import select

from executor import runs
from executor.errors import RunOver, UnknownRun
from executor.models import ReceiptSecret, Run
from executor.records import files, history, logs
from executor.runs import ATTEMPTS_LIMIT, GateShut, Lease, Offer, Outcome, StaleToken, output, settling
from executor.runs.grant import Given
from executor.schemas.output import Piece
from secretstore.database import Database
from tests.executor.conftest import Bench

DONE = Outcome("succeeded", exit_code=0)


def attempts(db: Database, run_id: str) -> list[tuple[int, str, str]]:
    """Number, state and receipt of each attempt."""
    found = history.show(db, run_id).attempts
    return [(one.number, one.state, one.receipt.status if one.receipt else "none") for one in found]


def stored(db: Database, run_id: str) -> Run:
    with db.reading() as session:
        return session.exec(select(Run).where(Run.id == run_id)).one()


# Claiming -----------------------------------------------------------------------------------------


def test_a_claim_gives_a_lease_and_a_later_claim_nothing(db: Database, bench: Bench) -> None:
    """The first claim has the run; until its lease is over nobody else gets it."""
    run_id = bench.create(db, variables={"MODE": "fast"})
    run, lease = runs.claim(db, run_id, bench.offer, 30)
    assert (lease.attempt, lease.token, run.variables, run.lease_owner) == (1, 1, {"MODE": "fast"}, "w1")
    assert runs.claim(db, run_id, bench.offer, 30) is None
    assert attempts(db, run_id) == [(1, "claimed", "none")]


def test_a_lease_that_ran_out_before_the_gate_is_claimable_again(db: Database, bench: Bench) -> None:
    """I7: a worker lost before the gate costs nothing but time; the next attempt has a higher token."""
    run_id = bench.create(db)
    first = bench.claim(db, run_id, seconds=-1)
    second = bench.claim(db, run_id)
    assert (second.attempt, second.token) == (first.attempt + 1, first.token + 1)
    assert attempts(db, run_id) == [(1, "lost", "none"), (2, "claimed", "none")]


def test_a_claim_takes_only_what_the_worker_can_do(db: Database, bench: Bench) -> None:
    """Queue, host and rung of the claim's WHERE: nothing beyond the offer is taken, or even shown as waiting."""
    strict = bench.create(db, rung_min="landlock", queue="reports", host="there")

    def taken(**fields: object) -> bool:
        fitting = {"worker": "w", "host": "there", "queues": ("sealrun", "reports"), "rung": "landlock"}
        offer = Offer(**(fitting | fields))
        waiting = (strict, "reports") in runs.unclaimed(db, offer, 0, 9)
        claimed = runs.claim(db, strict, offer, -1) is not None
        assert waiting == claimed
        return claimed

    assert not taken(host="here")
    assert not taken(queues=("sealrun",))
    assert not taken(rung="process")
    assert taken()
    assert taken(rung="namespace")


@pytest.mark.parametrize("run_id", ["0" * 32, "", "nonsense'; --"])
def test_an_unknown_id_is_no_claim(db: Database, bench: Bench, run_id: str) -> None:
    """A bell with an id that does not exist changes nothing."""
    assert runs.claim(db, run_id, bench.offer, 30) is None


def test_a_run_that_is_over_is_never_claimed(db: Database, bench: Bench) -> None:
    """I6: a late bell for a finished run starts nothing."""
    lease = bench.running(db)
    assert runs.finish(db, lease, DONE)
    assert runs.claim(db, lease.run_id, bench.offer, 30) is None
    assert runs.unclaimed(db, bench.offer, 0, 9) == []


# The gate -----------------------------------------------------------------------------------------


def test_the_gate_writes_the_receipt_before_anything_is_opened(db: Database, bench: Bench) -> None:
    """I4: state, attempt and one receipt row for each secret are committed together, as `opening`."""
    run_id = bench.create(db)
    lease = bench.claim(db, run_id)
    bundle = bench.bundle("API_KEY", "db.url")
    assert bench.through(db, lease, bundle) is bundle
    seen = history.show(db, run_id)
    assert (seen.state, seen.receipt.status, seen.receipt.rung) == ("running", "opening", "landlock")
    assert [(entry.name, entry.version, entry.channel) for entry in seen.receipt.secrets] == [
        ("API_KEY", 1, "environment"),
        ("db.url", 2, "environment"),
    ]
    assert seen.started_at is not None
    assert seen.receipt.opened_at is None and seen.receipt.dropped_at is None


def test_a_bundle_that_cannot_be_read_leaves_the_gate_shut(db: Database, bench: Bench) -> None:
    """I4: when reading the bundle fails, nothing of the gate was written, and the run still waits for its gate."""
    run_id = bench.create(db)
    lease = bench.claim(db, run_id)

    def broken(_: object) -> Given:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runs.pass_gate(db, lease, broken, rung="landlock", controls={})
    assert stored(db, run_id).state == "pending" and stored(db, run_id).started_at is None
    assert attempts(db, run_id) == [(1, "claimed", "none")]
    with db.reading() as session:
        assert session.exec(select(ReceiptSecret)).all() == []
    bench.through(db, lease)


def test_the_gate_is_shut_for_whoever_may_not_pass(db: Database, bench: Bench) -> None:
    """I6: cancelled, lease over, token stale, passed before, finished, given back: no bundle is even read."""
    read: list[object] = []

    def shut(lease: Lease) -> None:
        with pytest.raises(GateShut):
            runs.pass_gate(db, lease, read.append, rung="landlock", controls={})

    cancelled = bench.claim(db, bench.create(db))
    assert not runs.cancel(db, cancelled.run_id, "ada")
    shut(cancelled)
    expired = bench.claim(db, bench.create(db), seconds=-1)
    shut(expired)
    bench.claim(db, expired.run_id)
    shut(expired)
    passed = bench.running(db)
    shut(passed)
    runs.finish(db, passed, DONE)
    shut(passed)
    returned = bench.claim(db, bench.create(db))
    assert runs.give_back(db, returned, Outcome("lost", "lost"))
    shut(returned)
    assert read == []


def test_a_gate_without_secrets_has_a_receipt_that_says_none(db: Database, bench: Bench) -> None:
    """A run without secrets opens nothing, and its receipt does not claim otherwise."""
    lease = bench.running(db)
    receipt = history.show(db, lease.run_id).receipt
    assert receipt.status == "none" and receipt.secrets == ()
    runs.finish(db, lease, Outcome("succeeded", dropped_at=datetime.now(UTC)))
    assert history.show(db, lease.run_id).receipt.status == "none"


# Tokens -------------------------------------------------------------------------------------------


def test_a_stale_token_writes_nothing(db: Database, bench: Bench) -> None:
    """I6: after a later claim the earlier lease can renew, log, leave files, give back and finish nothing."""
    run_id = bench.create(db)
    stale = bench.claim(db, run_id, seconds=-1)
    current = bench.claim(db, run_id)
    before = stored(db, run_id)
    assert not runs.renew(db, stale).held
    assert not runs.give_back(db, stale, Outcome("lost", "lost"))
    assert not runs.finish(db, stale, DONE)
    refuse_all_writes(db, stale)
    assert stored(db, run_id) == before
    assert attempts(db, run_id) == [(1, "lost", "none"), (2, "claimed", "none")]
    assert runs.renew(db, current).held


def refuse_all_writes(db: Database, lease: Lease) -> None:
    piece = Piece(1, "stdout", datetime.now(UTC), b"late")
    with pytest.raises(StaleToken):
        output.append(db, lease, [piece])
    with pytest.raises(StaleToken):
        output.append(db, lease, [], [output.file(lease, "report.txt", 4)])
    with pytest.raises(StaleToken):
        output.append(db, lease, [], [output.file_piece(lease, "report.txt", 0, b"late")])
    assert logs.read(db, lease.run_id)[0] == []
    assert files.list_files(db, lease.run_id, lease.attempt) == []


def test_an_attempt_that_was_given_back_has_lost_its_token(db: Database, bench: Bench) -> None:
    """I6: a worker that wakes up after its attempt was settled as lost commits no other outcome, and holds nothing."""
    lease = bench.running(db, seconds=-1, retries=9, retry_on=["lost"])
    assert runs.end_lost(db) == [(lease.run_id, "pending")]
    assert not runs.renew(db, lease).held
    assert not runs.finish(db, lease, DONE)
    assert not runs.give_back(db, lease, Outcome("lost", "lost"))
    refuse_all_writes(db, lease)
    assert attempts(db, lease.run_id) == [(1, "lost", "none")]
    assert stored(db, lease.run_id).state == "pending"
    bench.due(db, lease.run_id)
    assert bench.claim(db, lease.run_id).attempt == 2


def test_finish_happens_once(db: Database, bench: Bench) -> None:
    """I6: the first outcome stands; a repeated or another one is refused, and so is all that comes after."""
    lease = bench.running(db)
    assert runs.finish(db, lease, Outcome("failed", "exit_code", "it ended", exit_code=3, result=[1], note="said"))
    assert not runs.finish(db, lease, DONE)
    assert not runs.give_back(db, lease, Outcome("lost", "lost"))
    assert not runs.renew(db, lease).held
    with pytest.raises(StaleToken):
        output.append(db, lease, [Piece(1, "stdout", datetime.now(UTC), b"late")])
    seen = history.show(db, lease.run_id)
    assert (seen.state, seen.reason, seen.message, seen.exit_code) == ("failed", "exit_code", "it ended", 3)
    assert (seen.result, seen.note) == ([1], "said")
    assert attempts(db, lease.run_id) == [(1, "failed", "none")]


def test_a_finished_run_closes_its_receipt(db: Database, bench: Bench) -> None:
    """Opened and dropped are recorded once the supervisor is gone, with the further name a secret was given."""
    lease = bench.claim(db, bench.create(db))
    bench.through(db, lease, bench.bundle("db.url"))
    opened = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    dropped = opened + timedelta(seconds=2)
    runs.finish(db, lease, Outcome("succeeded", opened_at=opened, dropped_at=dropped, aliases={"db.url": "DB_URL"}))
    receipt = history.show(db, lease.run_id).receipt
    assert (receipt.status, receipt.opened_at, receipt.dropped_at) == ("closed", opened, dropped)
    assert receipt.secrets[0].alias == "DB_URL"


def test_a_receipt_of_a_lost_supervisor_stays_open(db: Database, bench: Bench) -> None:
    """Where nobody saw the supervisor go, the receipt does not say that the secrets were dropped."""
    lease = bench.claim(db, bench.create(db))
    bench.through(db, lease, bench.bundle("API_KEY"))
    runs.finish(db, lease, Outcome("failed", "lost"))
    assert history.show(db, lease.run_id).receipt.status == "opening"


# Cancelling ---------------------------------------------------------------------------------------


def test_a_pending_run_is_cancelled_at_once(db: Database, bench: Bench) -> None:
    """Nobody has it, so there is nobody to ask."""
    run_id = bench.create(db)
    assert runs.cancel(db, run_id, "bob")
    seen = stored(db, run_id)
    assert (seen.state, seen.reason, seen.cancel_requested_by) == ("cancelled", "cancelled", "bob")
    assert seen.finished_at is not None
    assert runs.claim(db, run_id, bench.offer, 30) is None
    with pytest.raises(RunOver):
        runs.cancel(db, run_id, "bob")


def test_a_claimed_or_running_run_is_asked_to_end(db: Database, bench: Bench) -> None:
    """Its worker learns of it at the next renewal; who asked first is kept; then the gate stays shut."""
    for lease in (bench.claim(db, bench.create(db)), bench.running(db)):
        assert not runs.renew(db, lease).cancel_requested
        assert not runs.cancel(db, lease.run_id, "bob")
        assert not runs.cancel(db, lease.run_id, "carol")
        renewal = runs.renew(db, lease)
        assert renewal.held and renewal.cancel_requested
        assert stored(db, lease.run_id).cancel_requested_by == "bob"
        assert runs.finish(db, lease, Outcome("cancelled", "cancelled"))


def test_a_run_abandoned_before_its_gate_is_cancelled_whole(db: Database, bench: Bench) -> None:
    """The lease is over, so it is cancelled at once, and the attempt that was lost does not stay `claimed` for ever."""
    lease = bench.claim(db, bench.create(db), seconds=-1)
    assert runs.cancel(db, lease.run_id, "bob")
    assert attempts(db, lease.run_id) == [(1, "lost", "none")]
    assert not runs.finish(db, lease, DONE)


def test_cancelling_what_does_not_exist_says_so(db: Database) -> None:
    """An unknown id is a sentence, not a database error."""
    with pytest.raises(UnknownRun):
        runs.cancel(db, "0" * 32, "bob")


def test_cancelling_what_is_over_says_how_it_ended(db: Database, bench: Bench) -> None:
    """A committed outcome stands."""
    lease = bench.running(db)
    runs.finish(db, lease, DONE)
    with pytest.raises(RunOver, match="succeeded"):
        runs.cancel(db, lease.run_id, "bob")
    assert stored(db, lease.run_id).cancel_requested_at is None


# Lost ---------------------------------------------------------------------------------------------


def test_a_run_lost_past_its_gate_fails_with_a_reason(db: Database, bench: Bench) -> None:
    """I7: it may have done part of its work, so it is not repeated unasked; it ends, and says why."""
    lease = bench.running(db, seconds=-1)
    assert runs.end_lost(db) == [(lease.run_id, "failed")]
    seen = stored(db, lease.run_id)
    assert (seen.state, seen.reason) == ("failed", "lost")
    assert "part of its work" in seen.message
    assert attempts(db, lease.run_id) == [(1, "failed", "none")]
    assert runs.end_lost(db) == []


def test_a_lost_run_that_may_be_repeated_gets_another_attempt(db: Database, bench: Bench) -> None:
    """I7: A run to be tried again when lost is given back, up to the limit of attempts; then it fails."""
    run_id = bench.create(db, retries=9, retry_on=["lost"])
    for number in range(1, ATTEMPTS_LIMIT + 1):
        bench.due(db, run_id)
        lease = bench.claim(db, run_id)
        assert lease.attempt == number
        bench.through(db, lease)
        runs.renew(db, Lease(run_id, lease.attempt, lease.token, -1))
        over = number == ATTEMPTS_LIMIT
        assert runs.end_lost(db) == [(run_id, "failed" if over else "pending")]
    assert stored(db, run_id).state == "failed"
    assert [state for _, state, _ in attempts(db, run_id)] == ["lost"] * (ATTEMPTS_LIMIT - 1) + ["failed"]


def test_attempts_lost_before_the_gate_end_at_the_limit(db: Database, bench: Bench) -> None:
    """I7: a run that kills every worker that prepares it does not go round for ever."""
    run_id = bench.create(db)
    for _ in range(ATTEMPTS_LIMIT):
        bench.claim(db, run_id, seconds=-1)
    assert runs.claim(db, run_id, bench.offer, 30) is None
    assert runs.unclaimed(db, bench.offer, 0, 9) == []
    assert runs.end_lost(db) == [(run_id, "failed")]
    assert str(ATTEMPTS_LIMIT) in stored(db, run_id).message


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(db: Database, bench: Bench) -> None:
    """I7: asked to end and then lost, past the gate or before it, it is cancelled, also where it could be repeated."""
    running = bench.running(db, retries=9, retry_on=["lost"])
    claimed = bench.claim(db, bench.create(db))
    for lease in (running, claimed):
        runs.cancel(db, lease.run_id, "bob")
        runs.renew(db, Lease(lease.run_id, lease.attempt, lease.token, -1))
    assert sorted(runs.end_lost(db)) == sorted((lease.run_id, "cancelled") for lease in (running, claimed))
    assert {stored(db, lease.run_id).state for lease in (running, claimed)} == {"cancelled"}


@pytest.mark.parametrize("retry", [False, True])
def test_a_run_past_its_gate_is_taken_over_by_nobody(db: Database, bench: Bench, retry: bool) -> None:
    """I7: its lease is over, yet it may have done part of its work: no bell starts it, before it was settled."""
    lease = bench.running(db, seconds=-1, retries=9 * retry, retry_on=["lost"])
    assert runs.claim(db, lease.run_id, bench.offer, 30) is None
    assert runs.unclaimed(db, bench.offer, 0, 9) == []
    assert not runs.cancel(db, lease.run_id, "bob"), "only a janitor says that it is lost"
    assert attempts(db, lease.run_id) == [(1, "running", "none")]
    assert runs.end_lost(db) == [(lease.run_id, "cancelled")]


def test_nothing_that_lives_is_taken_for_lost(db: Database, bench: Bench) -> None:
    """Pending, claimed, running and finished runs with good leases are left alone."""
    bench.create(db)
    bench.claim(db, bench.create(db))
    bench.running(db)
    runs.finish(db, bench.running(db), DONE)
    assert runs.end_lost(db) == []


def test_a_lease_renewed_at_the_last_moment_is_not_settled(
    db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: between a janitor's look and its verdict the worker may renew; the verdict is then no longer true."""
    leases = [bench.running(db, seconds=-1, retries=9 * retry, retry_on=["lost"]) for retry in (False, True)]
    real = runs.finish

    def renewed_first(db: Database, lease: Lease, *rest: object, **more: object) -> str | None:
        assert runs.renew(db, Lease(lease.run_id, lease.attempt, lease.token, 30)).held
        return real(db, lease, *rest, **more)

    monkeypatch.setattr(settling, "finish", renewed_first)
    assert runs.end_lost(db) == []
    monkeypatch.undo()
    for lease in leases:
        assert runs.finish(db, lease, DONE)


def test_what_a_target_maps_is_kept_with_the_run(db: Database, bench: Bench) -> None:
    """It is asked once, when the run is accepted; a claim has it as it was."""
    target = {"kind": "function", "path": "a.py", "function": "f", "args": [], "text": {}, "json": {}}
    run_id = bench.create(db, target=target | {"sources": {"data": "lake"}, "catalogs": {"cat": "main"}})
    claimed = runs.claim(db, run_id, bench.offer, 30)
    assert claimed is not None and claimed[0].mapped == {"data": "source/lake", "cat": "catalog/main"}
    plain = runs.claim(db, bench.create(db), bench.offer, 30)
    assert plain is not None and plain[0].mapped == {}


# Waiting ------------------------------------------------------------------------------------------


def test_unclaimed_shows_what_has_waited_long_enough(db: Database, bench: Bench) -> None:
    """Runs whose bell was not heard, the oldest first, as many as asked for; not those that somebody has."""
    waiting = [bench.create(db) for _ in range(3)]
    bench.claim(db, bench.create(db))
    abandoned = bench.claim(db, bench.create(db), seconds=-1)
    cancelled = bench.create(db)
    runs.cancel(db, cancelled, "bob")
    found = [(run_id, "sealrun") for run_id in (*waiting, abandoned.run_id)]
    assert runs.unclaimed(db, bench.offer, 0, 99) == found
    assert runs.unclaimed(db, bench.offer, 0, 2) == found[:2]
    assert runs.unclaimed(db, bench.offer, 60, 99) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_leases_follow_the_clock_of_the_database(db: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose own clock is a day off takes and loses leases as everybody else."""
    from secretstore import database, timestamps

    for module in (database, timestamps):
        monkeypatch.setattr(module, "utc_now", lambda: datetime.now(UTC) + timedelta(days=1))
    run_id = bench.create(db)
    bench.claim(db, run_id)
    assert runs.claim(db, run_id, bench.offer, 30) is None
    with db.reading() as session:
        said = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
    row = stored(db, run_id)
    assert abs((row.created_at - said).total_seconds()) < 60
    assert 20 < (row.lease_until - said).total_seconds() <= 30


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_long_transaction_does_not_lengthen_a_lease(db: Database, bench: Bench) -> None:
    """PostgreSQL's `now()` is when the transaction began; the gate asks for the clock."""
    run_id = bench.create(db)
    lease = bench.claim(db, run_id, seconds=0.3)

    with db.writing() as session:
        session.connection().execute(text("SELECT pg_sleep(0.4)"))
        late = session.exec(select(Run.id).where(Run.id == run_id, runs.claimable(db.now()))).first()
    assert late == run_id
    with pytest.raises(GateShut):
        bench.through(db, lease)
