"""Events that wait for their chain: linked in order, once, whoever is killed meanwhile; and what a head can show."""

import json
import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Thread

import pytest
from sqlalchemy import text
from sqlmodel import select

from secretstore import audit, audit_reading, vault
from secretstore.audit import Actor
from secretstore.audit_reading import Filter
from secretstore.database import Database
from secretstore.models import Project
from secretstore.views import Head

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
RUNNER = Actor("ada@example", "worker w1@here")


def leave(db: Database, project_id: str, numbers: range, project: str = "shop") -> None:
    """Leave an event for each number, each in a transaction of its own."""
    for number in numbers:
        with db.writing() as session:
            audit.append_later(
                session,
                project_id,
                project,
                actor=RUNNER,
                action="secrets.open",
                subject="default",
                detail={"number": number},
                at=AT + timedelta(seconds=number),
            )


def numbers(db: Database, project: str = "shop") -> list[int]:
    """What the linked events are about, in the order of the chain."""
    events = audit_reading.list_events(db, project, only=Filter(action="secrets.open"))
    return [json.loads(event.detail)["number"] for event in events]


@pytest.fixture
def project_id(shop: Database) -> str:
    with shop.reading() as session:
        return session.exec(select(Project.id)).one()


class TestLinking:
    def test_oldest_first_many_at_once_and_each_once(self, shop: Database, project_id: str) -> None:
        """After linking nothing waits, the chain verifies, and acts and runs share it."""
        leave(shop, project_id, range(5))
        leave(shop, "of-a-deleted-project", range(2), "gone")
        assert (audit.waiting_events(shop), numbers(shop)) == (7, [])
        assert audit.link_waiting(shop, most=2) == 7
        assert (audit.waiting_events(shop), audit.link_waiting(shop)) == (0, 0)
        assert numbers(shop) == [0, 1, 2, 3, 4] and numbers(shop, "gone") == [0, 1]
        vault.set_project(shop, "shop", network="none", actor=RUNNER)
        assert [event.sequence for event in audit_reading.list_events(shop, "shop")] == list(range(1, 10))
        for project, checked in (("shop", 9), ("gone", 2)):
            found = audit_reading.verify(shop, project)
            assert (found.ok, found.checked) == (True, checked)

    def test_an_event_of_an_undone_transaction_does_not_wait(self, shop: Database, project_id: str) -> None:
        """It is left in the caller's transaction."""
        with pytest.raises(ZeroDivisionError), shop.writing() as session:
            audit.append_later(session, project_id, "shop", actor=RUNNER, action="x", subject="y", at=AT)
            _ = 1 / 0
        assert audit.waiting_events(shop) == 0

    def test_names_too_long_for_the_record_are_cut(self, shop: Database, project_id: str) -> None:
        """An event with a cut name is worth more than none; what is hashed is what is kept."""
        with shop.writing() as session:
            audit.append_later(
                session, project_id, "shop", actor=Actor("a" * 999, "o" * 999), action="x", subject="é" * 999, at=AT
            )
        audit.link_waiting(shop)
        event = audit_reading.list_events(shop, "shop")[-1]
        assert (len(event.actor), len(event.origin), len(event.subject)) == (255, 255, 512)
        assert audit_reading.verify(shop, "shop").ok

    def test_linkers_killed_at_any_moment_lose_and_double_nothing(
        self, shop: Database, database_url: str, project_id: str
    ) -> None:
        """Processes link, two at a time, and are killed one after the other, while events are left and acts happen."""
        linkers = [Linker(database_url) for _ in range(8)]  # forked before this process has a thread
        backlog, count = 700, 760
        with shop.writing() as session:
            for number in range(backlog):
                audit.append_later(
                    session, project_id, "shop", actor=RUNNER, action="secrets.open", subject="default",
                    detail={"number": number}, at=AT + timedelta(seconds=number),
                )  # fmt: skip
        writer = Thread(target=leave, args=(shop, project_id, range(backlog, count)))
        chance = random.Random(7)
        writer.start()
        try:
            linkers[0].begin()
            for one, following in pairwise(linkers):
                following.begin()
                time.sleep(chance.uniform(0.005, 0.05))  # any moment will do
                one.kill()
                vault.set_project(shop, "shop", network="none", actor=RUNNER)
        finally:
            for linker in linkers:
                linker.kill()
            writer.join(60)
        left = audit.waiting_events(shop)
        assert audit.link_waiting(shop) == left
        assert sorted(numbers(shop)) == list(range(count))
        found = audit_reading.verify(shop, "shop")
        assert (found.why, found.checked) == (None, 3 + count + len(linkers) - 1)
        print(f"{shop.dialect}: {left} of {count} were left when all linkers had been killed")


class Linker:
    """A process that links the events that wait, few at a time, from `begin` until it is killed."""

    def __init__(self, url: str) -> None:
        (reading, self._go), (ready, warm) = os.pipe(), os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._go)
                db = Database(url)
                leave(db, "elsewhere", range(1), "elsewhere")
                audit.link_waiting(db)
                os.write(warm, b"!")
                os.read(reading, 1)
                while True:
                    audit.link_waiting(db, most=3)
            finally:
                os._exit(1)
        os.close(reading)
        os.close(warm)
        assert os.read(ready, 1) == b"!"
        os.close(ready)

    def begin(self) -> None:
        os.write(self._go, b"!")

    def kill(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
            os.close(self._go)
            self._pid = 0
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it linked until it was killed"


class TestHeads:
    def test_a_head_is_found_again(self, shop: Database, project_id: str) -> None:
        """By place and hash, or by hash alone, also when the chain has grown since."""
        head = Head.parse(audit_reading.verify(shop, "shop").head)
        leave(shop, project_id, range(3))
        audit.link_waiting(shop)
        for kept in (head, Head(head.hash)):
            assert audit_reading.verify(shop, "shop", expect=kept).ok

    def test_what_a_chain_alone_cannot_show(self, shop: Database, project_id: str) -> None:
        """A cut tail and a rewritten chain verify, and are found by a head that was kept elsewhere."""
        leave(shop, project_id, range(3))
        audit.link_waiting(shop)
        head = Head.parse(audit_reading.verify(shop, "shop").head)
        assert head.sequence == 6
        with shop.writing() as session:
            session.execute(text("DELETE FROM secretstore_audit_event WHERE sequence > 4"))
        assert audit_reading.verify(shop, "shop").ok
        cut = audit_reading.verify(shop, "shop", expect=head)
        assert (cut.ok, cut.first_bad) == (False, None)
        assert "ends with event 4, and event 6 was expected: its end was cut off" in str(cut.why)
        assert "no event has the expected hash" in str(audit_reading.verify(shop, "shop", expect=Head(head.hash)).why)
        leave(shop, project_id, range(10, 13))
        audit.link_waiting(shop)
        assert audit_reading.verify(shop, "shop").ok
        rewritten = audit_reading.verify(shop, "shop", expect=head)
        assert "event 6 is not the expected one: the chain was rewritten" in str(rewritten.why)

    def test_events_added_under_another_id_do_not_choose_the_head(self, shop: Database, project_id: str) -> None:
        """The head is the living project's: else one that is kept would say nothing of the project's own chain."""
        before = audit_reading.verify(shop, "shop")
        with shop.writing() as session:
            forged = dict.fromkeys(("action", "subject", "detail", "outcome", "actor", "origin"), "x")
            event = forged | {"project_id": "forged", "project": "shop", "at": datetime(2999, 1, 1, tzinfo=UTC)}
            audit._link(session, "forged", [event])
        after = audit_reading.verify(shop, "shop")
        assert (after.ok, after.checked) == (True, before.checked + 1)
        assert (after.head, after.project_id) == (before.head, project_id)

    def test_an_event_that_was_made_unreadable_is_linked_and_listed(self, shop: Database, project_id: str) -> None:
        """It must not hold up those behind it, which could be taken away unseen while they wait."""
        leave(shop, project_id, range(2))
        bad = {"at": "no moment", "detail": b"\xff"} if shop.dialect == "sqlite" else {"at": "infinity"}
        with shop.writing() as session:
            for field, value in bad.items():
                change = text(f"UPDATE secretstore_audit_waiting SET {field} = :value WHERE id = 1")
                session.execute(change, {"value": value})
        assert audit.link_waiting(shop) == 2
        assert audit_reading.verify(shop, "shop").ok
        with shop.writing() as session:
            change = text("UPDATE secretstore_audit_event SET at = :value WHERE sequence = 4")
            session.execute(change, {"value": bad["at"]})
        assert audit_reading.verify(shop, "shop").first_bad == 4
        assert audit_reading.list_events(shop, "shop")[3].at is None

    @pytest.mark.parametrize("text_", ["", "12", ":", "x:" + "0" * 64, "12:" + "g" * 64, "0" * 63, "A" * 64])
    def test_what_is_no_head_is_refused(self, text_: str) -> None:
        """SEQUENCE:HASH or a hash, in lower case as it was printed."""
        with pytest.raises(ValueError):
            Head.parse(text_)


class TestFilters:
    def test_by_whom_what_and_since_when(self, shop: Database, project_id: str) -> None:
        """Exactly, or by a beginning; the limit counts what was met."""
        leave(shop, project_id, range(4))
        audit.link_waiting(shop)

        def met(limit: int | None = None, **fields: object) -> list[int]:
            only = Filter(**fields)  # type: ignore[arg-type]  # fields of a filter
            return [event.sequence for event in audit_reading.list_events(shop, "shop", limit=limit, only=only)]

        assert met(action="secrets.open") == met(action="secrets.*") == [4, 5, 6, 7]
        assert met(action="Secrets.*") == met(action="secrets") == []
        assert met(actor="ada*", limit=2) == [6, 7]
        assert met(subject="staging") == [3] and met(subject="stag*") == [3]
        assert met(since=datetime.now(UTC) - timedelta(minutes=5)) == [1, 2, 3]
        assert met(since=AT + timedelta(seconds=2), action="secrets.open") == [6, 7]
