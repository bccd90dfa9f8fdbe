"""Which workers live: a heartbeat row each, so that a submitter knows without asking the broker."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from sqlalchemy import Select, Update, bindparam, select, update
from sqlmodel import col
from sqlmodel import select as select_one

from executor.models import Run, Worker, new_id
from executor.runs.spec import Offer
from executor.schemas.workers import Refusal, WorkerView
from secretstore.database import Database, clock, table_of

BEAT = 2.0  # seconds between two heartbeats
SILENCE = 10.0  # seconds after which a worker is taken for dead

_WORKER = table_of(Worker)
_VIEWED = tuple(
    _WORKER.c[name]
    for name in (
        "name", "host", "pid", "queues", "rung", "networks", "pythons", "places", "key_services", "refused", "signers",
        "slots", "closed", "seen_at",
    )
)  # fmt: skip


def offer_of(worker: WorkerView) -> Offer:
    """What a worker can give."""
    return Offer(
        worker.name, worker.host, worker.queues, worker.rung, worker.networks, worker.pythons, worker.places,
        worker.key_services, tuple(worker.refused), worker.signers,
    )  # fmt: skip


def appear(db: Database, offer: Offer, pid: int, slots: int) -> str:
    """Enter a worker; returns the id its heartbeats carry."""
    with db.writing() as session:
        now = session.exec(select_one(db.now())).one()
        row = Worker(
            id=new_id(),
            name=offer.worker,
            host=offer.host,
            pid=pid,
            queues=",".join(offer.queues),
            rung=offer.rung,
            networks=list(offer.networks),
            pythons=list(offer.pythons),
            places=list(offer.places),
            key_services=list(offer.key_services),
            signers=list(offer.signers),
            slots=slots,
            started_at=now,
            seen_at=now,
        )
        session.add(row)
        return row.id


def beat(
    db: Database,
    worker_id: str,
    closed: str | None = None,
    key_services: Sequence[str] = ("*",),
    refused: Mapping[str, Refusal] = {},
) -> None:
    """Say that it lives; why it takes no run, what it can unwrap by now, and which environments it leaves to others."""
    values = {"closed": closed, "key_services": list(key_services), "refused": _told(refused)}
    with db.acting() as transaction:
        bound = {"of_worker": worker_id, "now": db.from_now(), **values}
        transaction.execute(_beating(db.dialect), bound)


@cache
def _beating(dialect: str) -> Update:
    """A heartbeat; what it says beside is set by the columns' names."""
    return update(_WORKER).where(_WORKER.c.id == bindparam("of_worker")).values(seen_at=clock(dialect, "now"))


def leave_to_others(db: Database, name: str, refused: Mapping[str, Refusal]) -> None:
    """Say which environments a worker leaves to others, by id."""
    its = (col(Worker.name) == name, col(Worker.stopped_at).is_(None))
    with db.writing() as session:
        session.exec(update(Worker).where(*its).values(refused=_told(refused)))


def _told(refused: Mapping[str, Refusal]) -> dict[str, list[str]]:
    return {environment: [one.place, one.said] for environment, one in refused.items()}


def leave(db: Database, worker_id: str) -> None:
    """Say that it ends."""
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.id) == worker_id).values(stopped_at=db.now()))


def list_workers(db: Database, alive_only: bool = False, within: float | None = None) -> list[WorkerView]:
    """Workers, the latest seen first: those that live, those seen within so many seconds, else the last hundred."""
    which: _Which = "alive" if alive_only else "latest" if within is None else "seen"
    bound: dict[str, Any] = {"early": db.from_now(-SILENCE), "late": db.from_now(SILENCE)}
    if which == "seen":
        bound["since"] = db.from_now(-(within or 0))
    with db.looking() as transaction:
        rows = transaction.execute(_listing(db.dialect, which), bound).all()
    return [
        WorkerView(
            name=row.name,
            host=row.host,
            pid=row.pid,
            queues=tuple(row.queues.split(",")),
            rung=row.rung,
            networks=tuple(row.networks),
            pythons=tuple(row.pythons),
            places=tuple(row.places),
            key_services=tuple(row.key_services),
            refused={environment: Refusal(*told) for environment, told in row.refused.items()},
            signers=tuple(row.signers),
            slots=row.slots,
            closed=row.closed,
            seen_at=row.seen_at,
            alive=bool(row.lives),
            stopped=bool(row.ended),
        )
        for row in rows
    ]


_Which = Literal["alive", "seen", "latest"]


@cache
def _listing(dialect: str, which: _Which) -> Select[Any]:
    seen = _WORKER.c.seen_at
    # The database's clock wrote it: what lies ahead of that is no heartbeat.
    lately = seen.between(clock(dialect, "early"), clock(dialect, "late"))
    alive = _WORKER.c.stopped_at.is_(None) & lately
    ended = _WORKER.c.stopped_at.is_not(None)
    found = select(*_VIEWED, alive.label("lives"), ended.label("ended")).order_by(seen.desc())
    if which == "alive":
        return found.where(alive)
    return (
        found.limit(100)
        if which == "latest"
        else found.where(seen.between(clock(dialect, "since"), clock(dialect, "late")))
    )


def leased(db: Database) -> dict[str, list[str]]:
    """The runs of which somebody has a good lease, by the name of the worker, the longest first."""
    with db.reading() as session:
        rows = session.execute(
            select(col(Run.lease_owner), col(Run.id))
            .where(col(Run.lease_owner).is_not(None), col(Run.lease_until) >= db.now())
            .order_by(col(Run.started_at).is_(None), col(Run.started_at), col(Run.id))
        ).all()
    found: dict[str, list[str]] = {}
    for owner, run_id in rows:
        found.setdefault(owner, []).append(run_id)
    return found
