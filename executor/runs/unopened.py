"""Environments whose secrets no live worker opens, and those that one leaves to others: for who asks, in words."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from executor.runs import needs, workers
from executor.runs.key_need import sealed
from secretstore.database import Database
from secretstore.models import Environment, KeyPair, Project


def unopened(db: Database, environment_id: str | None = None) -> Iterator[str]:
    """A sentence for each environment with secrets, or for one; nothing where no worker lives that could be asked."""
    live = [worker for worker in workers.list_workers(db, alive_only=True) if not worker.closed]
    if not live:
        return
    named: tuple[Any, ...] = (col(Project.name).label("project"), col(Environment.name).label("environment"))
    told: tuple[Any, ...] = (*named, col(Environment.id).label("environment_id"), col(KeyPair.key_service))
    found = select(*told).where(*sealed(), col(Project.id) == Environment.project_id).order_by(*named)
    if environment_id is not None:
        found = found.where(col(Environment.id) == environment_id)
    with db.reading() as session:
        rows = session.execute(found).all()
    for row in rows:
        able = [worker for worker in live if needs.KEYS.met_by(row, workers.offer_of(worker))]
        if not able:
            yield needs.KEYS.sentence.format(row)
        for worker in able:
            if (why := needs.refused_by(row, worker)) is not None:
                yield f"{worker.name} leaves runs with secrets of {row.project}/{row.environment} to others: {why}"
