"""What a run needs of a worker: one table, asked in SQL by a claim, and in Python by who says what is missing."""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Row, and_, false, or_, true
from sqlalchemy import select as select_rows

from executor.runs import workers
from executor.runs.conditions import RUN, among
from executor.runs.key_need import KeyNeed, key_service, left_to_others
from executor.runs.spec import RUNGS, Offer
from executor.schemas.workers import WorkerView
from executor.settings import QUEUE, Settings
from secretstore.database import Database


class Asking(Protocol):
    """What has needs: a run's row, its specification, or a view of it.

    Which key service its secrets need is in none of them, as it changes while a run waits: see `asking`.
    """

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


@dataclass(frozen=True, eq=False)  # columns compare to SQL
class Need:
    """That what a column of the run names is among what a worker offers.

    `offered` says what that is. An `optional` column may be empty: then the run needs nothing of the kind. `short` and
    `sentence` have the run in them, by `str.format`. What is `of_machine` is the same for every worker of a machine,
    whoever starts it and how: a queue is not, nor what its sandbox gives, which root may have and a user not.
    """

    column: Any
    offered: Callable[[Offer], Collection[str]]
    short: str
    sentence: str
    optional: bool = False
    of_machine: bool = False

    def sql(self, offer: Offer, one: bool = False) -> ColumnElement[bool]:
        """Whether a worker that offers this meets it, asked of a run's row."""
        named = among(self.column, self.offered(offer))
        return or_(self.column.is_(None), named) if self.optional else named

    def met_by(self, run: Asking, offer: Offer) -> bool:
        """The same of a run that is at hand."""
        asked = getattr(run, self.column.key)
        return (asked is None and self.optional) or asked in self.offered(offer)


@dataclass(frozen=True)
class PlaceNeed:
    """That a worker serves the run's project and environment, by a pattern as `shop/staging` or `shop/*`."""

    short: str
    sentence: str

    def sql(self, offer: Offer, one: bool = False) -> ColumnElement[bool]:
        """Whether a worker that offers this meets it, asked of a run's row."""
        columns = (RUN.c.project, RUN.c.environment)
        served = (
            and_(*(true() if named == "*" else column == named for column, named in zip(columns, halves, strict=True)))
            for halves in map(_halves, offer.places)
        )
        return or_(false(), *served)

    def met_by(self, run: Asking, offer: Offer) -> bool:
        """The same of a run that is at hand."""
        return any(
            project in ("*", run.project) and environment in ("*", run.environment)
            for project, environment in map(_halves, offer.places)
        )


def _halves(pattern: str) -> tuple[str, str]:
    project, _, environment = pattern.partition("/")
    return project, environment


def _up_to(rung: str) -> Sequence[str]:
    """A stronger sandbox serves who asks for a weaker one; one that nobody knows serves nobody."""
    return RUNGS[: RUNGS.index(rung) + 1] if rung in RUNGS else ()


KEYS = KeyNeed(
    "the key service {0.key_service}",
    "no worker has the key service {0.key_service}, which the secrets of {0.project}/{0.environment} need"
    " (list it in the SEALRUN_KEYS of a worker)",
)

_SANDBOX = "no worker offers the sandbox "

# In the order in which one would look for the mistake.
NEEDS: tuple[Need | PlaceNeed | KeyNeed, ...] = (
    Need(
        RUN.c.host,
        lambda offer: (offer.host,),
        "the machine {0.host}",
        "no worker runs on {0.host}, where this run's source is",
        optional=True,
    ),
    Need(
        RUN.c.queue,
        lambda offer: offer.queues,
        "the queue {0.queue}",
        "no worker takes runs of the queue {0.queue} (start one: sealrun worker -Q {0.queue})",
    ),
    PlaceNeed(
        "the place {0.project}/{0.environment}",
        "no worker serves {0.project}/{0.environment}",
    ),
    Need(
        RUN.c.rung_min,
        lambda offer: _up_to(offer.rung),
        "the sandbox {0.rung_min}",
        _SANDBOX + "{0.rung_min} (this run needs it, or a stronger one)",
        optional=True,
    ),
    Need(
        RUN.c.network,
        lambda offer: offer.networks,
        "the network {0.network}",
        "no worker offers the network {0.network} (this run, or its project, asks for it)",
    ),
    Need(
        RUN.c.python_version,
        lambda offer: offer.pythons,
        "Python {0.python_version}",
        "no worker offers Python {0.python_version} (this run needs it)",
        optional=True,
        of_machine=True,
    ),
    KEYS,
)

# What says what a run needs.
_ASKED = (
    RUN.c.id, RUN.c.project, RUN.c.environment, RUN.c.environment_id, RUN.c.queue, RUN.c.host,
    RUN.c.rung_min, RUN.c.network, RUN.c.python_version,
)  # fmt: skip


def asking(db: Database, *conditions: ColumnElement[bool], most: int | None = None) -> Sequence[Row[Any]]:
    """What these runs need, with the key service of the secrets that they may be given, None where they are given none.

    It is what decides and nothing more: a row that cannot be read as a whole is no reason to let others wait.
    """
    with db.reading() as session:
        return session.execute(select_rows(*_ASKED, key_service()).where(*conditions).limit(most)).all()


def suits(offer: Offer, *, one: bool = False) -> ColumnElement[bool]:
    """What the run asks for is what the worker can give: a claim takes nothing else. Asked of `one` run, or of many."""
    return and_(*(need.sql(offer, one) for need in NEEDS), *left_to_others(offer, one))


def able(run: Asking, live: Sequence[WorkerView]) -> list[WorkerView]:
    """Those of these workers that could take the run, as far as their key services do not refuse."""
    offers = ((worker, workers.offer_of(worker)) for worker in live if not worker.closed)
    return [worker for worker, offer in offers if all(need.met_by(run, offer) for need in NEEDS)]


def refused_by(run: Asking, worker: WorkerView) -> str | None:
    """What its key service said, where the worker leaves the run to others."""
    found = worker.refused.get(getattr(run, "environment_id", ""))
    return None if found is None or getattr(run, "key_service", None) is None else found.said


def unmet(run: Asking, live: Sequence[WorkerView]) -> list[str]:
    """Why none of these workers takes the run, a sentence per need; empty where one of them does."""
    if not live:
        return ["no worker is running"]
    if all(worker.closed for worker in live):
        return [f"no worker takes a run: {live[0].closed}"]
    if found := able(run, live):
        said = {worker.name: refused_by(run, worker) for worker in found}
        told = "; ".join(f"{name}: {why}" for name, why in said.items())
        return [f"no worker's key service opens its secrets: {told}"] if all(said.values()) else []
    offers = [workers.offer_of(worker) for worker in live if not worker.closed]
    # Of each need, which workers meet it.
    met = {need: [need.met_by(run, offer) for offer in offers] for need in NEEDS}
    if alone := [need.sentence.format(run) for need in NEEDS if not any(met[need])]:
        return alone
    apart = [need.short.format(run) for need in NEEDS if not all(met[need])]
    return [f"no one worker offers all of {', '.join(apart)} (this run needs them together)"]


def in_vain(run: Asking, live: Sequence[WorkerView], keys: bool = False) -> str | None:
    """What no worker of one machine can offer, if these are of it; None where another one might.

    It is for where all workers are on one machine: there, such a run would wait for nothing. `keys` is for who knows
    that what these offer is of this moment: a key file that was put back is another than at the last heartbeat.
    """
    offers = [workers.offer_of(worker) for worker in live]
    said = []
    for need in NEEDS:
        if isinstance(need, PlaceNeed) or not (keys if isinstance(need, KeyNeed) else need.of_machine):
            continue
        if offers and not any(need.met_by(run, one) for one in offers):
            has = dict.fromkeys(word for one in offers for word in need.offered(one))
            said.append(f"{need.sentence.format(run)}; this machine has {', '.join(has) or 'none'}")
    return "; ".join(said) or None


def waiting_for(run: Asking, live: Sequence[WorkerView]) -> str | None:
    """The same as one line, with how to give up what can be; None where a worker takes the run."""
    said = unmet(run, live)
    if any(one.startswith(_SANDBOX) for one in said):  # as its project asked for when it was submitted
        said.append("where its project asks for less by now: sealrun runs cancel, and submit it anew")
    return "; ".join(said) or None


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


def _has_process(pid: int) -> bool:
    """A worker that was killed a moment ago still has a fresh heartbeat."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
