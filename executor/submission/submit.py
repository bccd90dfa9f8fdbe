"""Accept a run: row, commit, then ring. A bell that fails to ring is not a failed submit."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from executor import runs
from executor.broker.doorbell import ring_all
from executor.errors import NeverServed, StandbyFailed
from executor.models import RunSpec
from executor.runs import needs
from executor.runs.plans import DIRECT, Door
from executor.schemas.run_operations import Submitted
from executor.settings import Settings
from executor.submission import standby
from executor.submission.standby import Standby
from secretstore.database import Database

if TYPE_CHECKING:
    from celery import Celery


def accept(
    db: Database,
    settings: Settings,
    app: Callable[[], "Celery"],
    spec: RunSpec,
    actor: str,
    waiting: Standby,
    door: Door = DIRECT,
) -> Submitted:
    """Accept a run and tell the workers; start one if no broker is configured and none is alive.

    Raises:
        KeyTaken: its idempotency key belongs to a run that is not the same.
        NeverServed: a worker of this machine lives, and none can ever take the run; it was not accepted.
        WorkerUnsupported: no worker can be started here; the run was not accepted.
        BrokerUnavailable: there is no broker to start; the run was not accepted.
    """
    try:
        return accept_all(db, settings, app, [spec], actor, waiting, door)[0]
    except runs.Refused as refused:
        raise refused.why from None


def accept_all(
    db: Database,
    settings: Settings,
    app: Callable[[], "Celery"],
    specs: Sequence[RunSpec],
    actor: str,
    waiting: Standby,
    door: Door = DIRECT,
) -> list[Submitted]:
    """Accept runs in one transaction, all or none, and tell the workers; start one as `accept` does.

    Raises:
        Refused: one of them cannot be, for what `accept` raises of it.
        WorkerUnsupported, BrokerUnavailable: no worker can be started here.
    """
    if not settings.embedded:
        return submit_all(db, app(), specs, actor, door)
    if live := needs.live_workers(settings, db):
        for place, spec in enumerate(specs):
            if (why := needs.in_vain(spec, live)) is not None:
                raise runs.Refused(place, NeverServed(why=why))
        return submit_all(db, app(), specs, actor, door)
    if waiting.starts:
        standby.check_can_start()
    # Nobody would hear a bell: the worker that is started looks for waiting runs before anything else.
    accepted = runs.accept_all(db, specs, actor, door)
    try:
        started = waiting.ensure()
    except StandbyFailed:  # the worker that an earlier run started has failed: start another for this run
        started = waiting.ensure()
    return [Submitted(run_id, rung=True, new=new, started=started) for run_id, new in accepted]


def submit(db: Database, app: "Celery", spec: RunSpec, actor: str, door: Door = DIRECT) -> Submitted:
    """Accept a run and tell the workers.

    Raises:
        KeyTaken: its idempotency key belongs to a run that is not the same.
    """
    try:
        return submit_all(db, app, [spec], actor, door)[0]
    except runs.Refused as refused:
        raise refused.why from None


def submit_all(
    db: Database, app: "Celery", specs: Sequence[RunSpec], actor: str, door: Door = DIRECT
) -> list[Submitted]:
    """Accept runs, all or none, and tell the workers.

    Raises:
        Refused: the idempotency key of one belongs to a run that is not the same.
    """
    accepted = runs.accept_all(db, specs, actor, door)
    # Also of what was submitted before: that submitter may have ended before it rang.
    told = ring_all(app, [(run_id, spec.queue) for (run_id, _), spec in zip(accepted, specs, strict=True)])
    return [Submitted(run_id, place < told, new) for place, (run_id, new) in enumerate(accepted)]
