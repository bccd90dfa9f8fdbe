"""What holds the room in the database: counted by its bytes, whatever the database's own pages take beside them."""

from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from executor import models
from executor.models import Run
from executor.runs import retention
from executor.runs.retention import Pruning
from executor.schemas.pruning import Prunable
from secretstore.database import Database


def prunable(db: Database, pruning: Pruning) -> Prunable:
    """What deleting would free, of output and files; the rest of what runs leave is small."""
    condition = retention.due(pruning)
    with db.reading() as session:
        count = session.exec(select(func.count()).select_from(Run).where(condition)).one()
        held = [
            session.exec(select(_bytes(table)).where(table.run_id == Run.id, condition)).one()
            for table in (models.LogChunk, models.OutputChunk)
        ]
    return Prunable(runs=count, output_bytes=held[0], file_bytes=held[1])


def by_kind(db: Database) -> dict[str, int]:
    """The bytes of output, of files and of uploaded source."""
    tables = {"output": models.LogChunk, "files": models.OutputChunk, "source": models.SourceBundleChunk}
    with db.reading() as session:
        return {kind: session.exec(select(_bytes(table))).one() for kind, table in tables.items()}


def _bytes(table: Any) -> Any:
    return func.coalesce(func.sum(func.length(col(table.data))), 0)
