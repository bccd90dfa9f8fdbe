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
_LISTEN = 0.02  # seconds of silence after which what was collected is stored
_POLL = 0.2  # seconds between two looks at whether the run was cancelled


@dataclass(frozen=True)
class Ended:
    """How a supervision ended: what was heard of it last, and when its supervisor was gone.

    `said` is the supervisor's word on the outcome, `answer` the opener's; either may have gone without one. `status` is
    the supervisor's wait status; without one nobody knows that it is gone.
    """

    said: dict[str, Any] | None
    answer: Frame | None
    status: int | None
    reaped_at: datetime | None


def follow(supervision: Supervision, keeper: LeaseKeeper, collector: Collector) -> Ended:
    """Until the supervisor has said how it ended, or has ended without a word.

    Raises:
        StaleToken: a later claim has taken the run over.
    """
    said: dict[str, Any] | None = None
    cancel_sent = False
    while said is None:
        try:
            frame = supervision.frames.receive(_LISTEN if collector.waiting else _POLL)
        except TimeoutError:
            collector.store()
        except WireBroken:
            break
        else:
            if frame is None:
                break
            if frame.kind is Kind.OUTCOME:
                said = frame.json()
            else:
                collector.take(frame)
        collector.store_what_has_waited()
        if keeper.tend():
            _tell(supervision, Kind.DEADLINE, {"deadline": keeper.deadline})
        if keeper.cancelled and not cancel_sent:
            cancel_sent = True
            _tell(supervision, Kind.CANCEL, {})
    status = supervision.reaped(REAP)
    reaped_at = datetime.now(UTC) if status is not None else None
    return Ended(said, _opener(supervision), status, reaped_at)


def _tell(supervision: Supervision, kind: Kind, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it is ending; its outcome, or the lack of one, says how
        send(supervision.supervisor, kind, document)


def _opener(supervision: Supervision) -> Frame | None:
    try:
        return supervision.answers.receive(1.0)
    except (TimeoutError, WireBroken):
        return None
