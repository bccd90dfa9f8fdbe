"""An attempt's life in its supervisor, where the worker's end is a socket of the test."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.boundary.wire import Kind, Receiver, send
from executor.sandbox.limits import Group, Mechanisms
from executor.supervisor.process import Attempt
from executor.supervisor.report import Reporter
from executor.supervisor.usage import Usage, kill_counter

LIMITS = {
    "timeout": None,
    "int_grace": 1.0,
    "term_grace": 1.0,
    "logs": {"total": 1 << 20},
    "result_bytes": 1 << 10,
    "output_bytes": 1 << 10,
}
SECOND = 1_000_000_000


class NotToBeStarted:
    """Stands for the run's own process, which waits for its environment."""

    def start(self, *_: object) -> None:
        raise AssertionError("it was started")


@pytest.fixture
def worker() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's end of the channel, and the supervisor's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def outcome(ends: tuple[socket.socket, socket.socket], deadline: int, folder: Path) -> dict[str, Any]:
    """How an attempt ends whose run is not to be started any more."""
    of_attempt(ends, deadline, folder).run({})
    heard = Receiver(ends[0])
    while (frame := heard.receive(5)) is not None:
        if frame.kind is Kind.OUTCOME:
            return dict(frame.json())
    raise AssertionError("no outcome")


def of_attempt(ends: tuple[socket.socket, socket.socket], deadline: int, folder: Path) -> Attempt:
    """An attempt that has yet to start its run."""
    theirs = ends[1]
    job = {"target": {}, "base": {}, "limits": LIMITS, "view": {"uid": None}, "private": str(folder), "folders": []}
    go = {"deadline": deadline, "variables": {}, "secrets": False}
    waiting: Any = NotToBeStarted()
    return Attempt(
        theirs,
        Receiver(theirs),
        Reporter(theirs),
        job,
        waiting,
        go,
        Usage(kill_counter()),
        Group(Mechanisms(), "", "", {}),
    )


def test_a_run_whose_lease_ran_out_meanwhile_is_not_started(
    worker: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """I6: who has taken it over may have started it already; opening secrets and assuming roles take their time."""
    past = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - SECOND
    assert outcome(worker, past, tmp_path)["reason"] == "lost"


def test_a_run_that_was_cancelled_meanwhile_is_not_started(
    worker: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """Nor does it begin only to be interrupted."""
    send(worker[0], Kind.CANCEL, {})
    later = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 60 * SECOND
    assert outcome(worker, later, tmp_path)["reason"] == "cancelled"


def test_a_value_that_is_not_masked_is_told_whatever_was_claimed_of_it(
    worker: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """I9: nobody who stored it saw that it is short but the one who says it is not; its value is not told (I10)."""
    past = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - SECOND
    of_attempt(worker, past, tmp_path).run({"PIN": b" 4711 ", "TOKEN": b"hunter2-long-enough"})
    heard, said = Receiver(worker[0]), b""
    while (frame := heard.receive(5)) is not None and frame.kind is not Kind.OUTCOME:
        said += frame.payload if frame.kind is Kind.STDERR else b""
    assert b"PIN has under 8 bytes" in said and b"it is not masked" in said
    assert b"TOKEN" not in said and b"4711" not in said


@pytest.mark.parametrize("how", ["lease", "worker"])
def test_a_run_that_is_lost_while_it_is_collected_has_not_succeeded(
    worker: tuple[socket.socket, socket.socket], tmp_path: Path, how: str
) -> None:
    """I6: its files are not whole; a lease that is renewed in time is heard of."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    attempt = of_attempt(worker, now - SECOND, tmp_path)
    send(worker[0], Kind.DEADLINE, {"deadline": now + 60 * SECOND})
    assert attempt._expected() and attempt.ending.reason is None
    if how == "lease":
        send(worker[0], Kind.DEADLINE, {"deadline": now - SECOND})
    else:
        worker[0].close()
    assert not attempt._expected() and attempt.ending.reason == "lost"
