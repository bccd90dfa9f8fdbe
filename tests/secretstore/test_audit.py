"""The audit trail: complete, in the act's own transaction, and a change of it is found."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from threading import Barrier, Thread

import pytest
from sqlalchemy import text
from sqlmodel import select

from secretstore import audit, audit_reading, vault
from secretstore.audit import Act, Actor
from secretstore.database import Database
from secretstore.errors import UnknownProject
from secretstore.models import AuditEvent, Project
from secretstore.pins import Pins
from secretstore.vault import Birth

CANARY = b"canary-5d1f0b7e-value"


@pytest.fixture
def trail(shop: Database, actor: Actor, pins: Pins) -> Database:
    """`shop` with ten events: three of its making, seven of the other kinds."""
    vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.delete_secret(shop, "shop", "default", "TOKEN", actor=actor)
    vault.set_variable(shop, "shop", "default", "REGION", "eu-canary", actor=actor)
    vault.delete_variable(shop, "shop", "default", "REGION", actor=actor)
    vault.set_project(shop, "shop", network="none", actor=actor)
    vault.delete_environment(shop, "shop", "staging", actor=actor)
    return shop


def test_every_act_is_recorded_by_name_without_values(trail: Database) -> None:
    """Each change has an event with who, through what, and which; no event shows a value."""
    events = audit_reading.list_events(trail, "shop")
    assert [(event.sequence, event.action, event.subject) for event in events] == [
        (1, "project.create", "shop"),
        (2, "environment.create", "default"),
        (3, "environment.create", "staging"),
        (4, "secret.set", "default/TOKEN"),
        (5, "secret.set", "default/TOKEN"),
        (6, "secret.delete", "default/TOKEN"),
        (7, "variable.set", "default/REGION"),
        (8, "variable.delete", "default/REGION"),
        (9, "project.set", "shop"),
        (10, "environment.delete", "staging"),
    ]
    assert {(event.actor, event.origin, event.outcome) for event in events} == {("ada@example", "test", "done")}
    assert json.loads(events[4].detail)["version"] == 2
    assert "canary" not in repr(events)


def test_the_newest_events_can_be_asked_for(trail: Database) -> None:
    """A limit keeps the newest, still in the order they happened."""
    assert [event.sequence for event in audit_reading.list_events(trail, "shop", limit=3)] == [8, 9, 10]


def test_a_whole_chain_verifies(trail: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events are walked, in batches, and the head is the last one's hash."""
    with trail.reading() as session:
        head = session.exec(select(AuditEvent.hash).where(AuditEvent.sequence == 10)).one()
    for batch in (500, 10, 3, 1):
        monkeypatch.setattr(audit, "_BATCH", batch)
        result = audit_reading.verify(trail, "shop")
        assert (result.ok, result.checked, result.head) == (True, 10, f"10:{head}")


def test_the_hash_is_the_documented_one(trail: Database) -> None:
    """Anyone can recompute it: SHA-256 of sorted, compact JSON of all fields but the hash."""
    with trail.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.sequence == 4)).one()
    fields = {
        "project_id": event.project_id,
        "sequence": 4,
        "project": "shop",
        "at": event.at.isoformat(timespec="microseconds"),
        "actor": "ada@example",
        "origin": "test",
        "action": "secret.set",
        "subject": "default/TOKEN",
        "detail": event.detail,
        "outcome": "done",
        "previous_hash": event.previous_hash,
    }
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert sha256(canonical.encode("ascii")).hexdigest() == event.hash


def test_a_frozen_event_keeps_its_hash() -> None:
    """Chains that exist must verify for ever: this event was hashed by the first revision's code."""
    event = {
        "project_id": "0123456789abcdef0123456789abcdef",
        "sequence": 2,
        "project": "shop",
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "actor": "zoë@example 🗝",
        "origin": "cli",
        "action": "secret.set",
        "subject": "default/db.url",
        "detail": '{"secret_id": "fedcba9876543210fedcba9876543210", "version": 7}',
        "outcome": "done",
        "previous_hash": "ab" * 32,
    }
    assert audit.event_hash(event) == "a6250b86c00b4f84d032471c23d69f08e7d200af71af5ee1b37e60c83533ad68"


@pytest.mark.parametrize(
    ("change", "first_bad"),
    [
        *(
            (f"UPDATE secretstore_audit_event SET {field} = 'x' WHERE sequence = 5", 5)
            for field in (
                "actor",
                "origin",
                "action",
                "subject",
                "detail",
                "outcome",
                "previous_hash",
                "hash",
            )
        ),
        ("UPDATE secretstore_audit_event SET at = '2020-01-01T00:00:00.000000+00:00' WHERE sequence = 5", 5),
        ("UPDATE secretstore_audit_event SET project = 'web' WHERE sequence = 5", 5),
        ("DELETE FROM secretstore_audit_event WHERE sequence = 5", 5),
        ("DELETE FROM secretstore_audit_event WHERE sequence = 1", 1),
        ("DELETE FROM secretstore_audit_event", 1),
        ("UPDATE secretstore_audit_event SET sequence = 99 WHERE sequence = 5", 5),
        ("UPDATE secretstore_audit_event SET sequence = sequence - 1 WHERE sequence > 10", None),
        ("UPDATE secretstore_audit_event SET project_id = 'x' WHERE sequence = 5", 5),
    ],
)
def test_a_change_is_found_and_named(trail: Database, change: str, first_bad: int | None) -> None:
    """Whatever field is edited, and whichever event is removed or moved, the first bad sequence is named."""
    with trail.writing() as session:
        session.execute(text(change))
    result = audit_reading.verify(trail, "shop")
    assert result.first_bad == first_bad
    assert result.ok is (first_bad is None)
    assert result.ok or result.why


def test_what_cannot_be_read_is_a_changed_event(trail: Database) -> None:
    """SQLite keeps whatever it is given: a moment that is none and bytes in place of text are found, and no error."""
    wrongs = [("actor", "12"), ("detail", "'{'")]
    if trail.dialect == "sqlite":
        wrongs += [("at", "'yesterday'"), ("detail", "x'00ff'"), ("hash", "x'00ff'")]
    for field, wrong in wrongs:
        with trail.writing() as session:
            (kept,) = session.execute(text(f"SELECT {field} FROM secretstore_audit_event WHERE sequence = 5")).one()
            session.execute(text(f"UPDATE secretstore_audit_event SET {field} = {wrong} WHERE sequence = 5"))
        assert audit_reading.verify(trail, "shop").first_bad == 5
        with trail.writing() as session:
            session.execute(
                text(f"UPDATE secretstore_audit_event SET {field} = :kept WHERE sequence = 5"), {"kept": kept}
            )
    assert audit_reading.verify(trail, "shop").ok


def test_no_word_stands_for_the_hash_of_what_cannot_be_hashed(trail: Database) -> None:
    """Of the last event neither, which no other follows."""
    if trail.dialect != "sqlite":
        pytest.skip("PostgreSQL takes no bytes for text")
    with trail.writing() as session:
        change = "UPDATE secretstore_audit_event SET action = x'00ff', hash = 'not an event' WHERE sequence = 10"
        session.execute(text(change))
    assert audit_reading.verify(trail, "shop").first_bad == 10


def test_a_rewritten_event_breaks_the_next(trail: Database) -> None:
    """Who edits an event and gives it a fitting hash is found out by the event after it."""
    with trail.writing() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.sequence == 5)).one()
        event.actor = "nobody"
        event.hash = audit.event_hash(event.model_dump())
    assert audit_reading.verify(trail, "shop").first_bad == 6


def test_two_events_that_changed_places_are_found(trail: Database) -> None:
    """An event's place in the chain is part of it."""
    with trail.writing() as session:
        for old, new in ((5, 50), (6, 5), (50, 6)):
            session.execute(text(f"UPDATE secretstore_audit_event SET sequence = {new} WHERE sequence = {old}"))
    assert audit_reading.verify(trail, "shop").first_bad == 5


def test_an_act_that_is_undone_leaves_no_event(shop: Database, actor: Actor) -> None:
    """The event is part of the act's transaction."""
    with pytest.raises(ZeroDivisionError), shop.writing() as session:
        place = session.exec(select(Project)).one()
        audit.append(session, place, actor, Act("x", "y"))
        _ = 1 / 0
    assert len(audit_reading.list_events(shop, "shop")) == 3


def test_the_trail_outlives_the_project(trail: Database, actor: Actor, birth: Birth) -> None:
    """A deleted project is listed and verified by name, a destroyed one too; the next has its own chain."""
    vault.delete_project(trail, "shop", actor=actor)
    assert audit_reading.verify(trail, "shop").checked == 11
    vault.destroy_project(trail, "shop", actor=actor)
    assert audit_reading.verify(trail, "shop").checked == 12
    vault.create_project(trail, "shop", actor=actor, birth=birth)
    actions = [event.action for event in audit_reading.list_events(trail, "shop")]
    assert actions[-4:] == ["project.delete", "project.destroy", "project.create", "environment.create"]
    result = audit_reading.verify(trail, "shop")
    assert (result.ok, result.checked) == (True, 14)
    with trail.writing() as session:
        session.execute(text("UPDATE secretstore_audit_event SET actor = 'x' WHERE action = 'project.delete'"))
    assert audit_reading.verify(trail, "shop").first_bad == 11


def test_an_unknown_project_is_said(trail: Database) -> None:
    """A name no project ever had is an error, and not an empty trail."""
    for ask in (audit_reading.list_events, audit_reading.verify):
        with pytest.raises(UnknownProject):
            ask(trail, "web")


def test_appending_at_once_keeps_one_chain(shop: Database, actor: Actor) -> None:
    """Writers that hold no other lock than the chain's still append one after the other."""
    with shop.reading() as session:
        place = session.exec(select(Project)).one()
    barrier = Barrier(8)

    def work() -> None:
        barrier.wait(10)
        for _ in range(10):
            with shop.writing() as session:
                audit.append(session, place, actor, Act("x", "y"))

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    result = audit_reading.verify(shop, "shop")
    assert (result.ok, result.checked) == (True, 83)
