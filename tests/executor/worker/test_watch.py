"""From the gate to the end: a supervisor is told what it has to know, and heard to its last word."""

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from executor.boundary.supervision import Supervision
from executor.boundary.wire import Frame, Kind, Receiver, send
from executor.runs import StaleToken
from executor.worker.collecting import Collector
from executor.worker.lease import LeaseKeeper
from executor.worker.watch import Ended, follow


@dataclass
class Keeper:
    """A lease that is due at each of the first few looks."""

    due: int = 0
    deadline: int = 100
    cancelled: bool = False
    left: bool = False
    stale: bool = False
    trouble: str | None = None
    held_up: str | None = None
    tended: int = 0

    def tend(self) -> bool:
        self.tended += 1
        if self.stale:
            raise StaleToken
        if self.due:
            self.due, self.deadline = self.due - 1, self.deadline + 1
            return True
        return False


@dataclass
class Collected:
    frames: list[Kind] = field(default_factory=list)
    full: bool = False
    held_up: str | None = None
    unkept: str | None = None
    left: int = 0  # looks after which all is stored

    def take(self, frame: Frame) -> None:
        self.frames.append(frame.kind)

    def ended(self, timeout: float) -> bool:
        self.left -= 1
        return self.left < 0

    def check(self) -> None: ...

    end = abandon = give_way = check


@dataclass
class Place:
    """A supervision, and the other ends of it."""

    supervision: Supervision
    supervisor: socket.socket
    opener: socket.socket
    status: int

    def follow(self, keeper: Keeper, collected: Collected | None = None) -> tuple[Ended, list[Kind]]:
        collected = collected or Collected()
        ended = follow(self.supervision, cast(LeaseKeeper, keeper), cast(Collector, collected))
        return ended, collected.frames

    def ends(self, said: dict[str, Any] | None = None) -> None:
        if said is not None:
            send(self.supervisor, Kind.OUTCOME, said)
        os.write(self.status, json.dumps({"status": 0}).encode())
        for end in (self.supervisor, self.opener):
            end.close()
        os.close(self.status)


@pytest.fixture
def place() -> Iterator[Place]:
    (ours, theirs), (asking, answering) = socket.socketpair(), socket.socketpair()
    status, status_write = os.pipe()
    with ours, asking:
        yield Place(
            Supervision(ours, asking, Receiver(ours), Receiver(asking), status), theirs, answering, status_write
        )
    os.close(status)


def test_a_supervisor_is_told_each_new_deadline(place: Place) -> None:
    """I8: else it would end a run whose lease is good, at the deadline that it was started with."""
    heard = Receiver(place.supervisor)

    def supervisor() -> list[dict[str, Any]]:
        try:
            told = [heard.receive(5) for _ in range(2)]
        finally:
            place.ends({"reason": None})
        return [frame.json() for frame in told if frame is not None and frame.kind is Kind.DEADLINE]

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(supervisor)
        ended, _ = place.follow(Keeper(due=2))
        assert told.result() == [{"deadline": 101}, {"deadline": 102}]
    assert ended.said == {"reason": None} and ended.reaped_at is not None


def test_a_cancellation_is_passed_on_once(place: Place) -> None:
    """I8: whoever asks again changes nothing: the supervisor has its own steps from then on."""
    heard = Receiver(place.supervisor)

    def supervisor() -> list[Kind]:
        try:
            told = [heard.receive(5)]
            with pytest.raises(TimeoutError):
                told.append(heard.receive(0.5))
        finally:
            place.ends({"reason": "cancelled"})
        return [frame.kind for frame in told if frame is not None]

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(supervisor)
        place.follow(Keeper(cancelled=True))
        assert told.result() == [Kind.CANCEL]


def test_what_comes_before_the_outcome_is_collected(place: Place) -> None:
    """In its order; with what the opener said, and the moment in which the supervisor was gone."""
    send(place.supervisor, Kind.STDOUT, b"out")
    send(place.supervisor, Kind.STDERR, b"err")
    send(place.opener, Kind.OPENED, {"at": "2030-01-01T00:00:00+00:00"})
    place.ends({"reason": None})
    ended, frames = place.follow(Keeper())
    assert frames == [Kind.STDOUT, Kind.STDERR]
    assert ended.answer is not None and ended.answer.kind is Kind.OPENED and ended.status == 0


def test_who_ends_without_a_word_is_followed_no_further(place: Place) -> None:
    """I7: there is no outcome, and nobody waits for one."""
    place.ends()
    ended, _ = place.follow(Keeper())
    assert (ended.said, ended.answer, ended.status) == (None, None, 0)


def test_who_has_lost_the_run_stops_following(place: Place) -> None:
    """I6: what it would write is refused anyway; its supervisor is cut off by whoever leaves."""
    with pytest.raises(StaleToken):
        place.follow(Keeper(stale=True))
    place.ends()


def test_the_lease_is_kept_while_the_end_of_the_output_is_stored(place: Place) -> None:
    """I7: a slow database costs no run that is over its outcome."""
    place.ends({"reason": None})
    keeper = Keeper()
    ended, _ = place.follow(keeper, Collected(left=3))
    assert keeper.tended == 3 and ended.reaped_at is not None


def test_a_run_whose_output_cannot_be_kept_is_ended_for_it(place: Place) -> None:
    """Once, with the reason; why it is stands with its end, and its follower is told meanwhile."""
    heard = Receiver(place.supervisor)

    def supervisor() -> list[Any]:
        try:
            told = heard.receive(5)
        finally:
            place.ends({"reason": "storage_failed"})
        return [told and (told.kind, told.json())]

    keeper = Keeper()
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(supervisor)
        ended, _ = place.follow(keeper, Collected(unkept="its disk is full", held_up="it waits"))
        assert told.result() == [(Kind.CANCEL, {"reason": "storage_failed"})]
    assert (ended.unkept, keeper.held_up) == ("its disk is full", "it waits")
