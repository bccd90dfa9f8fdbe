"""Rows that no sealrun wrote: each harms itself alone, and what nobody asks for goes on for all the others."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import bindparam, text

from executor import runs
from executor.errors import RunMisplaced
from executor.runs import unserved, workers
from executor.worker import janitor
from executor.worker.duties import Duty, perform
from secretstore import audit, audit_reading
from secretstore.audit import Actor
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import Database, UtcDateTime
from secretstore.errors import DatabaseUnavailable
from tests.executor.conftest import Bench

NO_MOMENT = {"sqlite": "no moment", "postgresql": "-infinity"}


def execute(db: Database, statement: str, **values: object) -> None:
    with db.writing() as session:
        moments = [bindparam(name, type_=UtcDateTime()) for name, one in values.items() if isinstance(one, datetime)]
        session.connection().execute(text(statement).bindparams(*moments), values)


def leave(db: Database, project_id: str, project: str) -> None:
    """An event that waits."""
    with db.writing() as session:
        audit.append_later(
            session, project_id, project,
            actor=Actor("ada@here", "worker w1"), action="secrets.open", subject="default", at=datetime.now(UTC),
        )  # fmt: skip


def test_a_lost_run_whose_row_cannot_be_read_is_settled_like_the_others(db: Database, bench: Bench) -> None:
    """I7: a moment that is none, in a column nobody needs for it, keeps neither it nor another run from ending."""
    lost = [bench.running(db, seconds=-1) for _ in range(3)]
    execute(db, "UPDATE executor_run SET created_at = :at WHERE id = :id", at=NO_MOMENT[db.dialect], id=lost[1].run_id)
    assert janitor.settle_lost(db) == 3


@pytest.mark.parametrize(
    "forged",
    [{"retry_on": "5"}, {"retry_on": "{}"}, {"retries": 2**31 - 1, "retried": 5000}, {"retried": -(2**31)}],
    ids=lambda forged: ",".join(forged),
)
def test_what_a_row_says_of_retries_is_taken_for_no_more_than_it_can_mean(
    db: Database, bench: Bench, forged: dict[str, object]
) -> None:
    """I7: no list of reasons, numbers that none of ours writes: they keep neither it nor another run from ending."""
    lost = [bench.running(db, seconds=-1) for _ in range(3)]
    for column, value in ({"retries": 1, "retry_on": '["lost"]'} | forged).items():
        execute(db, f"UPDATE executor_run SET {column} = :value WHERE id = :id", value=value, id=lost[1].run_id)
    assert [state for _, state in runs.end_lost(db)] == ["failed"] * 3


def test_a_run_whose_row_cannot_be_read_is_ended_by_who_would_take_it(db: Database, bench: Bench) -> None:
    """I7: it would be the first that is rung for, for ever, and the others would wait."""
    bad, good = bench.create(db), bench.create(db)
    execute(db, "UPDATE executor_run SET created_at = :at WHERE id = :id", at=NO_MOMENT[db.dialect], id=bad)
    assert runs.claim(db, bad, bench.offer, 30) is None
    with db.reading() as session:
        found = session.connection().execute(
            text("SELECT state, reason, message, lease_owner FROM executor_run WHERE id = :id"), {"id": bad}
        )
        assert [*found.one()] == ["failed", "internal_error", "its row in the database cannot be read", None]
    execute(db, "UPDATE executor_run SET rung_at = :past", past=datetime.now(UTC) - timedelta(hours=1))
    assert runs.unclaimed(db, bench.offer, 2, 1) == [(good, "sealrun")]


@pytest.mark.parametrize("column", ["created_at", "queue_timeout"])
def test_a_run_whose_row_cannot_be_read_keeps_no_other_from_being_given_up(
    db: Database, bench: Bench, column: str
) -> None:
    """I7: nobody can take it, nor the others; each is ended with its sentence."""
    bad, *others = [bench.create(db, queue="nobodys") for _ in range(3)]
    nothing = NO_MOMENT[db.dialect] if column == "created_at" else {"sqlite": "long", "postgresql": "NaN"}[db.dialect]
    execute(db, f"UPDATE executor_run SET {column} = :bad WHERE id = :id", bad=nothing, id=bad)
    execute(db, "UPDATE executor_run SET rung_at = :past", past=datetime.now(UTC) - timedelta(hours=1))
    assert {run_id for run_id, _ in unserved.end_unserved(db, 600)} == {bad, *others}


def test_a_run_that_cannot_be_settled_keeps_no_other_from_it(db: Database, bench: Bench) -> None:
    """I7: the database refuses one of them, whatever for."""
    lost = [bench.running(db, seconds=-1) for _ in range(3)]
    refuse = "NEW.id = '" + lost[1].run_id + "' AND NEW.state = 'failed'"
    make = [
        f"CREATE TRIGGER refuse BEFORE UPDATE ON executor_run WHEN {refuse} BEGIN SELECT RAISE(ABORT, 'not today'); END"
    ]
    if db.dialect == "postgresql":
        make = [
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$BEGIN RAISE 'not today'; END$$ LANGUAGE plpgsql",
            "CREATE TRIGGER refuse BEFORE UPDATE ON executor_run FOR EACH ROW "
            f"WHEN ({refuse}) EXECUTE FUNCTION refuse()",
        ]
    for statement in make:
        execute(db, statement)
    assert janitor.settle_lost(db) == 2


def test_a_chain_that_takes_no_event_holds_up_no_other_project(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody put the last possible number at its end: its events go on waiting, and those of the others do not."""
    for project in ("a-shop", "b-shop", "c-shop"):
        leave(db, project, project)
    audit.link_waiting(db)
    last = 2**63 - 1 if db.dialect == "sqlite" else 2**31 - 1
    execute(db, "UPDATE secretstore_audit_event SET sequence = :last WHERE project = 'a-shop'", last=last)
    for project in ("a-shop", "b-shop", "c-shop"):
        leave(db, project, project)
    assert janitor.link_audit(db) == 2
    assert audit.waiting_events(db) == 1
    assert "project id a-shop" in caplog.text
    assert audit_reading.verify(db, "b-shop").ok and audit_reading.verify(db, "c-shop").ok


def test_a_worker_whose_row_cannot_be_read_is_passed_over(db: Database, bench: Bench) -> None:
    """Submitters go by the heartbeats: one bad row is no reason to see no worker, or to refuse every run."""
    bad = workers.appear(db, bench.offer, 11, 4)
    workers.appear(db, bench.offer, 12, 4)
    execute(db, "UPDATE executor_worker SET started_at = :at WHERE id = :id", at=NO_MOMENT[db.dialect], id=bad)
    assert 12 in [view.pid for view in workers.list_workers(db, alive_only=True)]


@pytest.mark.parametrize("claimed", [{"project_id": "p2"}, {"project": "toys"}, {"environment": "staging"}])
def test_a_run_is_given_nothing_of_a_place_that_its_row_does_not_name(
    db: Database, bench: Bench, claimed: dict[str, str]
) -> None:
    """I4: its audit event would stand in the chain of another project, or of none, or name another environment."""
    items = (SealedItem("s-1", "KEY", 1, b"sealed"),)
    bundle = SealedBundle("shop", "p1", "default", "e1", 1, "f1", "local:0", b"wrapped", items)
    lease = bench.claim(db, bench.create(db, **claimed))
    with pytest.raises(RunMisplaced):
        bench.through(db, lease, bundle)
    assert runs.renew(db, lease).held and audit.waiting_events(db) == 0


def test_a_duty_that_fails_keeps_no_other_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    """I7: a worker beats, settles and links on, whatever one of these meets; itself is tried again."""
    done: list[str] = []

    def fails() -> None:
        done.append("bad")
        raise ValueError("no moment")

    def unreachable() -> None:
        done.append("away")
        raise DatabaseUnavailable(url="sqlite:///x")

    duties = [Duty("bad", fails, 0), Duty("good", lambda: done.append("good"), 0), Duty("late", fails, 0, 1e12)]
    perform(duties)
    perform(duties)
    assert done == ["bad", "good"] * 2 and "bad: unforeseen" in caplog.text
    done.clear()
    perform([Duty("away", unreachable, 60), *duties])
    assert done == ["away"], "what needs the database waits with it"
