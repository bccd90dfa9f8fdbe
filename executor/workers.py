"""Which workers live: a heartbeat row each, so that a submitter knows without asking the broker."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlmodel import col, select

from executor.models import Worker, new_id
from executor.runs import Offer
from secretstore.database import Database

BEAT = 2.0  # seconds between two heartbeats
SILENCE = 10.0  # seconds after which a worker is taken for dead


@dataclass(frozen=True)
class WorkerView:
    """A worker as its last heartbeat showed it."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    rung: str
    slots: int
    started_at: datetime
    seen_at: datetime
    alive: bool


def appear(db: Database, offer: Offer, pid: int, slots: int) -> str:
    """Enter a worker; returns the id its heartbeats carry."""
    with db.writing() as session:
        now = session.exec(select(db.now())).one()
        row = Worker(
            id=new_id(),
            name=offer.worker,
            host=offer.host,
            pid=pid,
            queues=",".join(offer.queues),
            rung=offer.rung,
            slots=slots,
            started_at=now,
            seen_at=now,
        )
        session.add(row)
        return row.id


def beat(db: Database, worker_id: str) -> None:
    """Say that it lives."""
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.id) == worker_id).values(seen_at=db.now()))


def leave(db: Database, worker_id: str) -> None:
    """Say that it ends."""
    with db.writing() as session:
        session.exec(update(Worker).where(col(Worker.id) == worker_id).values(stopped_at=db.now()))


def list_workers(db: Database, alive_only: bool = False) -> list[WorkerView]:
    """Workers, the latest seen first."""
    with db.reading() as session:
        alive = (col(Worker.stopped_at).is_(None)) & (col(Worker.seen_at) > db.after(-SILENCE))
        statement = select(Worker, alive).order_by(col(Worker.seen_at).desc())
        rows = session.exec(statement.where(alive) if alive_only else statement.limit(100)).all()
    return [
        WorkerView(
            row.name, row.host, row.pid, tuple(row.queues.split(",")), row.rung, row.slots, row.started_at, row.seen_at,
            bool(lives),
        )
        for row, lives in rows
    ]  # fmt: skip
