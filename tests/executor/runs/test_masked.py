"""What the masker found in an attempt: stored with its outcome or not at all, on both databases."""

from dataclasses import replace

import pytest
from sqlmodel import select

from executor import runs
from executor.models import Masked
from executor.records import history
from executor.runs import Outcome, StaleToken
from executor.runs.grant import Given
from executor.runs.masked import summed
from executor.runs.spec import Hit
from executor.schemas.receipts import SETUP
from secretstore.database import Database
from secretstore.run_connection import RunConnection
from tests.executor.conftest import Bench
from tests.executor.runs.test_receipts import refusing

FOUND = (
    Hit("API_KEY", "stdout", "as it is", 3),
    Hit("API_KEY", "result", "base64", 1),
    Hit("source lake password", "stderr", "as it is", 2),
)
DONE = Outcome("succeeded", exit_code=0, masked=FOUND)


def stored(db: Database) -> set[tuple[object, ...]]:
    with db.reading() as session:
        rows = session.exec(select(Masked)).all()
        return {(row.attempt, row.secret, row.stream, row.form, row.count, row.secret_id, row.version) for row in rows}


def test_it_is_stored_with_the_outcome(db: Database, bench: Bench) -> None:
    """With the secret and version that the receipt has under the name; what is no secret's name has neither."""
    lease = bench.claim(db, bench.create(db))
    bench.through(db, lease, bench.bundle("OTHER", "API_KEY"))
    assert runs.finish(db, lease, DONE) == "succeeded"
    assert stored(db) == {
        (1, "API_KEY", "stdout", "as it is", 3, "s-API_KEY", 2),
        (1, "API_KEY", "result", "base64", 1, "s-API_KEY", 2),
        (1, "source lake password", "stderr", "as it is", 2, None, None),
    }
    view = history.show(db, lease.run_id)
    assert list(map(str, view.masked)) == [
        "API_KEY in result, base64, 1 time",
        "API_KEY in stdout, as it is, 3 times",
        "source lake password in stderr, as it is, 2 times",
    ]
    assert view.masked[0].version == 2 and DONE.masked_count == 6


def test_a_stale_token_writes_none(db: Database, bench: Bench) -> None:
    """I6: what a worker that lost its run has to tell is refused with its outcome, and so is what comes twice."""
    lease = bench.running(db)
    assert runs.finish(db, replace(lease, token=lease.token - 1), DONE) is None
    assert stored(db) == set()
    assert runs.finish(db, lease, DONE) == "succeeded"
    assert runs.finish(db, lease, replace(DONE, masked=(Hit("API_KEY", "problem", "hex", 1),))) is None
    assert {row[2] for row in stored(db)} == {"stdout", "result", "stderr"}


def test_it_is_the_outcomes_or_the_outcome_is_not(db: Database, bench: Bench) -> None:
    """One transaction: where the rows are not taken the run has not ended."""
    lease = bench.running(db)
    with refusing(db, "executor_masked"), pytest.raises(Exception, match="not today"):
        runs.finish(db, lease, DONE)
    assert history.show(db, lease.run_id).state == "running"


def test_each_attempt_has_its_own(db: Database, bench: Bench) -> None:
    """A retry that prints nothing has none, and the one before it keeps what it had."""
    lease = bench.claim(db, bench.create(db, retries=1))
    bench.through(db, lease, bench.bundle("API_KEY"))
    assert runs.finish(db, lease, Outcome("failed", "exit_code", exit_code=1, masked=FOUND)) == "pending"
    bench.due(db, lease.run_id)
    again = bench.claim(db, lease.run_id)
    bench.through(db, again, bench.bundle("API_KEY"))
    runs.finish(db, again, Outcome("succeeded", exit_code=0))
    assert history.show(db, lease.run_id).masked == ()
    assert len(history.show(db, lease.run_id, 1).masked) == 3


def test_that_of_a_set_up_is_stored_when_its_installer_is_gone(db: Database, bench: Bench) -> None:
    """Before the run begins, beside its receipt; with or without a secret of ours."""
    of_setup = Outcome("succeeded", masked=summed([replace(hit, stream=SETUP, form="as it is") for hit in FOUND]))
    assert [hit.count for hit in of_setup.masked] == [4, 2]
    lease = bench.claim(db, bench.create(db))
    runs.close_setup(db, lease, of_setup)
    assert {row[1:5] for row in stored(db)} == {
        ("API_KEY", "setup", "as it is", 4),
        ("source lake password", "setup", "as it is", 2),
    }
    bench.through(db, lease, bench.bundle("API_KEY"))
    runs.finish(db, lease, DONE)
    assert len(history.show(db, lease.run_id).masked) == 5
    with pytest.raises(StaleToken):
        runs.close_setup(db, lease, of_setup)


def test_what_a_connection_is_made_of_is_known_where_it_is_one_secret(db: Database, bench: Bench) -> None:
    """A client's secret is a part of the secret that names both; short-lived credentials are no part of any."""
    lease = bench.claim(db, bench.create(db))
    bundle = bench.bundle("CLIENT", "KEYS", "OTHER")
    reference = {name: {"$secret": name} for name in ("CLIENT", "KEYS", "OTHER")}
    plan = (
        RunConnection("source", "lake", "s3", {"access_key_id": reference["KEYS"]}),
        RunConnection("source", "two", "s3", {"access_key_id": reference["KEYS"], "secret": reference["OTHER"]}),
        RunConnection("catalog", "main", "iceberg-rest", {"credential": reference["CLIENT"], "source": "lake"}),
    )
    given = replace(Given.as_variables(bundle), plan=plan)
    runs.pass_gate(db, lease, lambda _: given, rung="landlock", controls={})
    labels = ("catalog main client secret", "catalog mainly x", "source lake session_token", "source two session_token")
    short_lived = {"source/lake": {"expires_at": "2030-01-01T00:00:00+00:00"}}
    hits = tuple(Hit(label, "stdout", "hex", 1) for label in labels)
    runs.finish(db, lease, Outcome("succeeded", masked=hits, connections=short_lived))
    assert {row[1]: row[5:] for row in stored(db)} == {
        "catalog main client secret": ("s-CLIENT", 1),
        **dict.fromkeys(labels[1:], (None, None)),
    }
