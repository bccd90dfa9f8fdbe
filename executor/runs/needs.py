"""What a run needs of a worker, and which of it no live worker offers, in words: by the rules of `runs.suits`."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from executor.runs import RUNGS, workers
from executor.runs.workers import WorkerView
from executor.settings import QUEUE, Settings
from secretstore.database import Database


class Asking(Protocol):
    """What has needs: a run's row, its specification, or a view of it."""

    @property
    def project(self) -> str: ...
    @property
    def environment(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def host(self) -> str | None: ...
    @property
    def rung_min(self) -> str | None: ...
    @property
    def network(self) -> str: ...
    @property
    def python_version(self) -> str | None: ...


def unmet(run: Asking, live: Sequence[WorkerView]) -> list[str]:
    """Why none of these workers takes the run, a sentence per need; empty where one of them does."""
    if not live:
        return ["no worker is running"]
    needs = list(_needs(run))
    if any(all(need.met_by(worker) for need in needs) for worker in live):
        return []
    if alone := [need.sentence for need in needs if not any(map(need.met_by, live))]:
        return alone
    apart = [need.short for need in needs if not all(map(need.met_by, live))]
    return [f"no one worker offers all of {', '.join(apart)} (this run needs them together)"]


def waiting_for(run: Asking, live: Sequence[WorkerView]) -> str | None:
    """The same as one line; None where a worker takes the run."""
    return "; ".join(unmet(run, live)) or None


def live_workers(settings: Settings, db: Database, queue: str = QUEUE) -> list[WorkerView]:
    """Workers that take what is submitted here to this queue, and live."""
    beating = workers.list_workers(db, alive_only=True)
    # A process id is a number of one machine. Only with nothing configured is a worker's machine known to be this one:
    # elsewhere others may have the same host name, as containers and machines under one SEALRUN_HOST do.
    return [
        worker
        for worker in beating
        if worker.host == settings.host
        and queue in worker.queues
        and (not settings.embedded or _has_process(worker.pid))
    ]


@dataclass(frozen=True)
class _Need:
    short: str
    sentence: str
    met_by: Callable[[WorkerView], bool]


def _needs(run: Asking) -> Iterator[_Need]:
    """In the order in which one would look for the mistake."""
    place = f"{run.project}/{run.environment}"
    yield _Need(
        f"the machine {run.host}",
        f"no worker runs on {run.host}, where this run's source is",
        lambda worker: run.host is None or worker.host == run.host,
    )
    yield _Need(
        f"the queue {run.queue}",
        f"no worker takes runs of the queue {run.queue} (start one: sealrun worker -Q {run.queue})",
        lambda worker: run.queue in worker.queues,
    )
    yield _Need(
        f"the place {place}",
        f"no worker serves {place}",
        lambda worker: any(_covers(pattern, run) for pattern in worker.places),
    )
    yield _Need(
        f"the sandbox {run.rung_min}",
        f"no worker offers the sandbox {run.rung_min} (this run's project needs it, or a stronger one)",
        lambda worker: run.rung_min is None or run.rung_min in _up_to(worker.rung),
    )
    yield _Need(
        f"the network {run.network}",
        f"no worker offers the network {run.network} (this run's project needs it)",
        lambda worker: run.network in worker.networks,
    )
    yield _Need(
        f"Python {run.python_version}",
        f"no worker offers Python {run.python_version} (this run needs it)",
        lambda worker: run.python_version is None or run.python_version in worker.pythons,
    )


def _covers(pattern: str, run: Asking) -> bool:
    project, _, environment = pattern.partition("/")
    return project in ("*", run.project) and environment in ("*", run.environment)


def _up_to(rung: str) -> Sequence[str]:
    return RUNGS[: RUNGS.index(rung) + 1] if rung in RUNGS else ()


def _has_process(pid: int) -> bool:
    """A worker that was killed a moment ago still has a fresh heartbeat."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
