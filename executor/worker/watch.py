"""From the gate to the end: take what a supervisor sends, keep the lease, pass on a cancellation."""

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from executor.boundary.supervision import Supervision
from executor.boundary.wire import Frame, Kind, WireBroken, send
from executor.worker.collecting import Collector
from executor.worker.lease import LeaseKeeper

REAP = 15.0  # seconds for a supervisor that has said its last word to be gone
UNKEPT = "storage_failed"
"""The reason of a run whose output cannot be kept."""
STOPPED = "worker_stopped"
"""What a supervisor is told of a run whose worker stops; the run is `lost`."""

_POLL = 0.2  # seconds between two looks at whether the run was cancelled


@dataclass(frozen=True)
class Ended:
    """How a supervision ended: what was heard of it last, and when its supervisor was gone.

    `said` is the supervisor's word on the outcome, `answer` the opener's; either may have gone without one. `status` is
    the supervisor's wait status; without one nobody knows that it is gone. `unkept` is why some of the run's output
    could not be stored, `unrenewed` why its lease was not renewed the last time.
    """

    said: dict[str, Any] | None
    answer: Frame | None
    status: int | None
    reaped_at: datetime | None
    unkept: str | None = None
    unrenewed: str | None = None


def follow(supervision: Supervision, keeper: LeaseKeeper, collector: Collector) -> Ended:
    """Until the supervisor has said how it ended, or has ended without a word, and what it sent is stored.

    Raises:
        StaleToken: a later claim has taken the run over.
    """
    try:
        said = _heard(supervision, keeper, collector)
        status = supervision.reaped(REAP)
        reaped_at = datetime.now(UTC) if status is not None else None
        answer = _opener(supervision)
        collector.end()
        while not collector.ended(_POLL):
            _tend(keeper, collector)
    except BaseException:
        collector.abandon()
        raise
    return Ended(said, answer, status, reaped_at, collector.unkept, keeper.trouble)


def _heard(supervision: Supervision, keeper: LeaseKeeper, collector: Collector) -> dict[str, Any] | None:
    """The supervisor's word on the outcome; None where it ended without one."""
    end_sent = False
    while True:
        collector.check()
        if collector.full:
            # Nothing is read, and so the run waits at its pipe; the lease is kept as ever.
            collector.wait_for_room(_POLL)
        else:
            collector.give_way()
            try:
                frame = supervision.frames.receive(_POLL)
            except TimeoutError:
                pass
            except WireBroken:
                return None
            else:
                if frame is None:
                    return None
                if frame.kind is Kind.OUTCOME:
                    said: dict[str, Any] = frame.json()
                    return said
                collector.take(frame)
        if _tend(keeper, collector):
            _tell(supervision, Kind.DEADLINE, {"deadline": keeper.deadline})
        if not end_sent and (keeper.cancelled or collector.unkept or keeper.left):
            end_sent = True
            reason = None if keeper.cancelled else UNKEPT if collector.unkept else STOPPED
            _tell(supervision, Kind.CANCEL, {"reason": reason} if reason else {})


def _tend(keeper: LeaseKeeper, collector: Collector) -> bool:
    keeper.held_up = collector.held_up
    return keeper.tend()


def _tell(supervision: Supervision, kind: Kind, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it is ending; its outcome, or the lack of one, says how
        send(supervision.supervisor, kind, document)


def _opener(supervision: Supervision) -> Frame | None:
    try:
        return supervision.answers.receive(1.0)
    except (TimeoutError, WireBroken):
        return None
