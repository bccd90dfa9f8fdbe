"""Receipts: one per attempt and phase, written at the gate or nothing is opened, closed by what is known. On both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from executor import runs
from executor.errors import ReceiptRefused
from executor.models import Receipt
from executor.records import history, secret_uses
from executor.runs import Lease, Outcome
from executor.runs.grant import Given
from secretstore import audit, audit_reading, vault
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import Database
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.models import WaitingAuditEvent
from secretstore.pins import Pins
from tests.executor.conftest import Bench

OPENED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DROPPED = OPENED + timedelta(seconds=2)


def many(count: int) -> SealedBundle:
    items = tuple(SealedItem(f"s-{number}", f"NAME_{number}", 1, b"sealed") for number in range(count))
    return SealedBundle("shop", "p1", "default", "e1", 3, "f" * 64, "local:0", b"wrapped", items)


def waiting(db: Database) -> list[tuple[str, str, str, str, str]]:
    """The audit events that wait, in order."""
    with db.reading() as session:
        rows = session.exec(select(WaitingAuditEvent).order_by(WaitingAuditEvent.id)).all()
        return [(row.actor, row.origin, row.action, row.subject, row.outcome) for row in rows]


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database meanwhile; rows of one statement count once."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@contextmanager
def refusing(db: Database, table: str) -> Iterator[None]:
    """Meanwhile the database takes no row of this table."""
    make = [f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not today'); END"]
    end = "DROP TRIGGER refuse"
    if db.dialect == "postgresql":
        make = [
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$BEGIN RAISE 'not today'; END$$ LANGUAGE plpgsql",
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        ]
        end += f" ON {table}"
    with db.writing() as session:
        for statement in make:
            session.connection().exec_driver_sql(statement)
    yield
    with db.writing() as session:
        session.connection().exec_driver_sql(end)


class TestTheGate:
    def test_the_receipt_says_what_may_be_opened(self, db: Database, bench: Bench) -> None:
        """I4: key pair, secrets, versions and the moment are committed with the state, and an event waits."""
        lease = bench.claim(db, bench.create(db))
        bundle = many(2)
        long_ago = datetime.now(UTC) - timedelta(days=3, hours=1)
        later = datetime.now(UTC) + timedelta(days=3)
        expired, due = replace(bundle.items[0], expires_at=long_ago), replace(bundle.items[1], expires_at=later)
        bench.through(db, lease, replace(bundle, items=(expired, due)))

        (attempt,) = history.show(db, lease.run_id).attempts
        (receipt,) = attempt.receipts
        assert (receipt.phase, receipt.status, receipt.may_have_been_opened) == ("run", "opening", True)
        assert (receipt.environment_id, receipt.generation, receipt.fingerprint) == ("e1", 3, "f" * 64)
        assert (receipt.key_service, receipt.opening_at) == ("local:0", attempt.started_at)
        assert [(entry.name, entry.expires_at) for entry in receipt.secrets] == [("NAME_0", long_ago), ("NAME_1", None)]
        assert waiting(db) == [("ada@here", "worker w1", "secrets.open", "default", "begun")]

    def test_it_takes_as_many_statements_for_a_thousand_secrets_as_for_one(
        self, db: Database, bench: Bench, keys: LocalKeys, pins: Pins
    ) -> None:
        """I4: one query for ciphertexts, one write for the receipt's secrets, however many there are."""
        actor = vault.Actor("ada@here", "test")

        def birth(place: KeyPlace, generation: int) -> WrappedKeyPair:
            return generate_wrapped(keys, place, generation)

        project = vault.create_project(db, "shop", actor=actor, birth=birth)
        counts = {}
        for count in (1, 1000):
            environment = vault.create_environment(db, "shop", f"with-{count}", actor=actor, birth=birth)
            vault.put(db, "shop", environment.name, "NAME_0", b"a-sealed-value", actor=actor, pins=pins)
            if count > 1:
                copy_secret(db, environment.id, count)
            spec = {"project_id": project.id, "environment_id": environment.id, "environment": environment.name}
            lease = bench.claim(db, bench.create(db, **spec))
            with statements(db.engine) as sent:
                given = runs.pass_gate(
                    db,
                    lease,
                    lambda session, of=environment.id: Given.as_variables(vault.sealed_bundle(session, of, None)),
                    rung="landlock",
                    controls={},
                )
            assert given.bundle is not None and len(given.bundle.items) == count
            assert len([one for one in sent if "FROM secretstore_secret " in one and "sealed" in one]) == 1
            with statements(db.engine) as at_the_end:
                runs.finish(
                    db,
                    lease,
                    Outcome(
                        "succeeded",
                        opened_at=OPENED,
                        dropped_at=DROPPED,
                        aliases={item.name: f"ALSO_{item.name}" for item in given.bundle.items},
                    ),
                )
            counts[count] = (len(sent), len(at_the_end))
            receipt = history.show(db, lease.run_id).receipt
            assert receipt is not None and receipt.secrets[-1].alias == f"ALSO_{receipt.secrets[-1].name}"
        print(f"{db.dialect}: statements at the gate and at the end: {counts}")
        assert counts[1] == counts[1000]

    def test_it_is_shut_where_it_cannot_be_recorded(self, db: Database, bench: Bench) -> None:
        """I4: no receipt, no audit event: no bundle, and the run still waits, so that it can end with a reason."""
        for table in ("secretstore_audit_waiting", "executor_receipt", "executor_receipt_secret"):
            with refusing(db, table):
                lease = bench.claim(db, bench.create(db))
                with pytest.raises(ReceiptRefused, match="did not store the run's receipt"):
                    bench.through(db, lease, many(2))
                view = history.show(db, lease.run_id)
                assert (view.state, view.receipt, waiting(db)) == ("pending", None, [])
                # I7: the refusal itself may be as impossible to record; the run ends all the same.
                assert runs.finish(db, lease, Outcome("failed", "secrets_unavailable", refused="receipt_refused"))
                assert history.show(db, lease.run_id).state == "failed"
                recorded = table != "secretstore_audit_waiting"
                assert waiting(db) == [("ada@here", "worker w1", "secrets.open", "default", "refused")] * recorded
                audit.link_waiting(db)

    def test_a_run_without_secrets_leaves_no_receipt_and_no_event(self, db: Database, bench: Bench) -> None:
        """It opens nothing, so there is nothing to record, and a table that takes no receipts does not stop it."""
        with refusing(db, "executor_receipt"):
            lease = bench.running(db)
            runs.finish(db, lease, Outcome("succeeded", dropped_at=DROPPED))
        assert waiting(db) == []
        with db.reading() as session:
            assert session.exec(select(Receipt)).all() == []


class TestTheEnd:
    def test_a_receipt_says_what_is_known(self, db: Database, bench: Bench) -> None:
        """I4: opened and dropped, or not opened and why; where neither is known it stays open. So says the audit."""
        for outcome, status, ended, opening in (
            (Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED), "closed", "done", "opened"),
            (Outcome("failed", dropped_at=DROPPED, not_opened="no key file"), "closed", "failed", "not_opened"),
            (Outcome("failed", "lost"), "opening", "unknown", "may_have_been_opened"),
            (Outcome("failed", "lost", dropped_at=DROPPED), "opening", "unknown", "may_have_been_opened"),
            (Outcome("failed", "lost", opened_at=OPENED), "opening", "unknown", "opened"),
        ):
            lease = bench.claim(db, bench.create(db))
            bench.through(db, lease, many(1))
            assert runs.finish(db, lease, outcome)
            receipt = history.show(db, lease.run_id).receipt
            assert receipt is not None
            dropped_at = None if outcome.not_opened else outcome.dropped_at
            assert (receipt.status, receipt.opened_at, receipt.dropped_at) == (status, outcome.opened_at, dropped_at)
            assert receipt.reason == outcome.not_opened
            events = [(event[2], event[4]) for event in waiting(db)]
            assert events == [("secrets.open", "begun"), ("secrets.close", ended)]
            (use,) = secret_uses.runs_given(db, "s-0", 1, limit=1)
            assert (use.id, use.opening) == (lease.run_id, opening)
            audit.link_waiting(db)

    def test_a_receipt_that_cannot_be_closed_does_not_keep_a_run_from_ending(self, db: Database, bench: Bench) -> None:
        """I7: its outcome is committed, and the receipt goes on saying that the secrets may have been opened."""
        lease = bench.claim(db, bench.create(db))
        bench.through(db, lease, many(1))
        done = Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED, result={"n": 1})
        with refusing(db, "secretstore_audit_waiting"):
            assert runs.finish(db, lease, done)
        view = history.show(db, lease.run_id)
        assert (view.state, view.result) == ("succeeded", {"n": 1})
        assert view.receipt is not None and view.receipt.may_have_been_opened

    @pytest.mark.parametrize("table", ["executor_result", "executor_receipt", "secretstore_audit_waiting"])
    def test_a_refusal_in_passing_does_not_leave_it_open(self, db: Database, bench: Bench, table: str) -> None:
        """I4: what the database refuses once, of the outcome or of the receipt, is written at the second try."""
        lease = bench.claim(db, bench.create(db))
        bench.through(db, lease, many(1))
        refused: list[str] = []

        def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if table in statement and not refused:
                refused.append(statement)
                raise DBAPIError(None, None, Exception("deadlock detected"))

        event.listen(db.engine, "before_cursor_execute", refuse)
        assert runs.finish(db, lease, Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED, result={"n": 1}))
        assert len(refused) == 1
        view = history.show(db, lease.run_id)
        assert view.receipt is not None and view.result == {"n": 1}
        assert (view.receipt.status, view.receipt.dropped_at) == ("closed", DROPPED)

    def test_every_attempt_keeps_its_own(self, db: Database, bench: Bench) -> None:
        """A lost attempt's receipt stays open beside the closed one of the attempt that followed."""
        lease = bench.claim(db, bench.create(db, retries=9, retry_on=["lost"]))
        bench.through(db, lease, many(1))
        assert runs.give_back(db, lease, Outcome("lost", "lost"))
        again = bench.claim(db, lease.run_id)
        bench.through(db, again, many(2))
        runs.finish(db, again, Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED))
        view = history.show(db, lease.run_id)
        assert [(one.number, one.receipt and one.receipt.status) for one in view.attempts] == [
            (1, "opening"),
            (2, "closed"),
        ]
        assert [len(one.receipts[0].secrets) for one in view.attempts] == [1, 2]
        assert view.receipt == view.attempts[1].receipt

    def test_the_events_of_runs_reach_the_chain(self, db: Database, bench: Bench) -> None:
        """Begun and closed, with run, attempt, phase, generation and count, and without names or values of secrets."""
        lease = bench.claim(db, bench.create(db))
        bench.through(db, lease, many(2))
        runs.finish(db, lease, Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED))
        assert audit.link_waiting(db) == 2
        begun, closed = audit_reading.list_events(db, "shop")
        detail = f'{{"attempt": 1, "generation": 3, "phase": "run", "run": "{lease.run_id}", "secrets": 2}}'
        assert (begun.action, begun.outcome, begun.detail) == ("secrets.open", "begun", detail)
        assert (closed.action, closed.outcome, closed.detail) == ("secrets.close", "done", detail)
        assert audit_reading.verify(db, "shop").ok and waiting(db) == []


class TestWhoSawIt:
    def used(self, db: Database, bench: Bench, version: int, at: datetime, outcome: Outcome | None = None) -> Lease:
        """A run that was given this version of one secret, as long ago as `at` says."""
        lease = bench.claim(db, bench.create(db))
        item = SealedItem("s-0", "API_KEY", version, b"sealed")
        bench.through(db, lease, replace(many(1), items=(item,)))
        runs.finish(db, lease, outcome or Outcome("succeeded", opened_at=OPENED, dropped_at=DROPPED))
        with db.writing() as session:
            session.connection().execute(
                text("UPDATE executor_receipt_secret SET given_at = :at WHERE run_id = :run"),
                {
                    "at": at if db.dialect == "postgresql" else at.isoformat(timespec="microseconds"),
                    "run": lease.run_id,
                },
            )
        return lease

    def test_a_versions_runs_are_counted_and_listed_latest_first(self, db: Database, bench: Bench) -> None:
        """How many runs saw a version, which was the last, and each of them with how its opening went."""
        first = self.used(db, bench, 1, OPENED)
        second = self.used(db, bench, 1, OPENED + timedelta(days=1), Outcome("failed", "lost"))
        third = self.used(db, bench, 2, OPENED + timedelta(days=2))
        uses = secret_uses.versions_used(db, "s-0")
        assert {use.version: (use.runs, use.last_run) for use in uses.values()} == {
            1: (2, second.run_id),
            2: (1, third.run_id),
        }
        assert uses[1].last_given_at == OPENED + timedelta(days=1)
        listed = secret_uses.runs_given(db, "s-0", 1)
        assert [(use.id, use.opening, use.state) for use in listed] == [
            (second.run_id, "may_have_been_opened", "failed"),
            (first.run_id, "opened", "succeeded"),
        ]
        assert [use.id for use in secret_uses.runs_given(db, "s-0", 1, limit=1)] == [second.run_id]
        assert secret_uses.runs_given(db, "s-0", 9) == [] and secret_uses.versions_used(db, "s-9") == {}

    def test_last_used_passes_over_openings_that_failed(
        self, db: Database, bench: Bench, keys: LocalKeys, pins: Pins
    ) -> None:
        """The latest moment at which it was, or may have been, opened; a secret never given is left out."""
        actor = vault.Actor("ada@here", "test")

        def birth(place: KeyPlace, generation: int) -> WrappedKeyPair:
            return generate_wrapped(keys, place, generation)

        project = vault.create_project(db, "shop", actor=actor, birth=birth)
        for name in ("API_KEY", "NEVER"):
            vault.put(db, "shop", "default", name, b"a-sealed-value", actor=actor, pins=pins)
        of_real = vault.secret_id(db, "shop", "default", "API_KEY")
        assert secret_uses.last_used(db, project.id) == {}
        failed = Outcome("failed", "secrets_unavailable", not_opened="no key file")
        self.used(db, bench, 1, OPENED)
        self.used(db, bench, 1, OPENED + timedelta(days=1), Outcome("failed", "lost"))
        self.used(db, bench, 1, OPENED + timedelta(days=2), failed)
        with db.writing() as session:
            session.connection().execute(text("UPDATE executor_receipt_secret SET secret_id = :id"), {"id": of_real})
        assert secret_uses.last_used(db, project.id) == {of_real: OPENED + timedelta(days=1)}


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> LocalKeys:
    """The key service of a new key file."""
    path = tmp_path_factory.mktemp("keys") / "local.key"
    create_local_key(path)
    return LocalKeys(path)


@pytest.fixture
def pins(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Pins:
    """What one sealer remembers of key pairs, nothing to begin with."""
    return Pins(tmp_path_factory.mktemp("pins") / "known_keys", database_url)


def copy_secret(db: Database, environment_id: str, count: int) -> None:
    """As many secrets, with the bytes of the one that is there: nobody opens them here."""
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    numbers = f"(SELECT a.d + 10 * b.d + 100 * c.d AS n FROM ({digits}) a, ({digits}) b, ({digits}) c)"
    columns = "current_version, last_version, maskable, as_file, created_at, created_by, updated_at, updated_by"
    with db.writing() as session:
        execute = session.connection().execute
        execute(
            text(
                f"INSERT INTO secretstore_secret (id, project_id, environment_id, name, {columns})"
                " SELECT 'copy-' || n, project_id, environment_id, 'NAME_' || n, "
                f"{columns} FROM secretstore_secret, {numbers} x WHERE environment_id = :of AND n BETWEEN 1 AND :last"
            ),
            {"of": environment_id, "last": count - 1},
        )
        execute(
            text(
                "INSERT INTO secretstore_secret_version (secret_id, version, generation, sealed, maskable, created_at,"
                " created_by) SELECT c.id, v.version, v.generation, v.sealed, v.maskable, v.created_at, v.created_by"
                " FROM secretstore_secret_version v JOIN secretstore_secret o ON o.id = v.secret_id"
                " JOIN secretstore_secret c ON c.environment_id = o.environment_id AND c.id <> o.id"
                " WHERE o.environment_id = :of AND o.name = 'NAME_0'"
            ),
            {"of": environment_id},
        )
