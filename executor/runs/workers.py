"""Which workers live: a heartbeat row each, so that a submitter knows without asking the broker."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update
from sqlmodel import col
from sqlmodel import select as select_one

from executor.models import Run, Worker, new_id
from executor.runs.spec import Offer
from executor.schemas.workers import Refusal, WorkerView
from secretstore.database import Database

BEAT = 2.0  # seconds between two heartbeats
SILENCE = 10.0  # seconds after which a worker is taken for dead

_VIEWED = tuple(
    col(field)
    for field in (
        Worker.name, Worker.host, Worker.pid, Worker.queues, Worker.rung, Worker.networks, Worker.pythons,
        Worker.places, Worker.key_services, Worker.refused, Worker.slots, Worker.closed, Worker.seen_at,
    )
)  # fmt: skip


def offer_of(worker: WorkerView) -> Offer:
    """What a worker can give."""
    return Offer(
        worker.name, worker.host, worker.queues, worker.rung, worker.networks, worker.pythons, worker.places,
        worker.key_services, tuple(worker.refused),
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
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.id) == worker_id).values(seen_at=db.now(), **values))


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
    with db.reading() as session:
        # The database's clock wrote it: what lies ahead of that is no heartbeat.
        lately = col(Worker.seen_at).between(db.after(-SILENCE), db.after(SILENCE))
        alive = (col(Worker.stopped_at).is_(None)) & lately
        ended = col(Worker.stopped_at).is_not(None)
        statement = select(*_VIEWED, alive.label("lives"), ended.label("ended")).order_by(col(Worker.seen_at).desc())
        if alive_only:
            statement = statement.where(alive)
        elif within is not None:
            statement = statement.where(col(Worker.seen_at).between(db.after(-within), db.after(SILENCE)))
        else:
            statement = statement.limit(100)
        rows = session.execute(statement).all()
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
            slots=row.slots,
            closed=row.closed,
            seen_at=row.seen_at,
            alive=bool(row.lives),
            stopped=bool(row.ended),
        )
        for row in rows
    ]


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
