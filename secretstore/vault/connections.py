"""Data sources and catalogs of an environment: settings that name secrets. Nothing here can open one."""

from collections.abc import Sequence
from dataclasses import replace

from sqlmodel import Session, col, select

from secretstore.connections import S3_LIKE, planned
from secretstore.models import Connection
from secretstore.planned import CATALOG, SOURCE, Planned


def connection_plan(session: Session, environment_id: str) -> list[Planned]:
    """Returns an environment's sources and catalogs as runs are given them, read in the caller's transaction.

    What cannot be given is among them, and says why: a row that is not in order keeps nobody else's run from starting.
    """
    query = (
        select(Connection.role, Connection.name, Connection.kind, Connection.settings)
        .where(Connection.environment_id == environment_id, col(Connection.role).in_((SOURCE, CATALOG)))
        .order_by(col(Connection.role).desc(), col(Connection.name))
    )
    found = [planned(role, name, kind, settings) for role, name, kind, settings in session.exec(query)]
    return [_with_its_source(entry, found) for entry in found]


def _with_its_source(entry: Planned, found: Sequence[Planned]) -> Planned:
    """The entry; a catalog whose source cannot be given cannot be given either."""
    name = entry.settings.get("source") if entry.role == CATALOG else None
    if name is None:
        return entry
    source = next((other for other in found if (other.role, other.name) == (SOURCE, name)), None)
    if source is None:
        return replace(entry, settings={}, refused=f"its source {name} is not there")
    if source.refused is not None:
        return replace(entry, settings={}, refused=f"its source {name} is refused: {source.refused}")
    if source.kind not in S3_LIKE:
        return replace(entry, settings={}, refused=f"its source {name} is of kind {source.kind}, which has no bucket")
    return entry
