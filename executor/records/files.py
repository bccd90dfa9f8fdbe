"""Files a run left: listed, and written out again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from executor.models import Output, OutputChunk
from executor.schemas.output import MaskedIn, OutputFile
from executor.source import results
from secretstore.database import Database


def list_files(db: Database, run_id: str, attempt: int) -> list[OutputFile]:
    """What an attempt left, by path."""
    with db.reading() as session:
        rows = session.exec(
            select(Output).where(Output.run_id == run_id, Output.attempt == attempt).order_by(col(Output.path))
        ).all()
    return [OutputFile(row.path, row.size, row.withheld, *_masked(row.masked), row.executable) for row in rows]


def _masked(told: dict[str, Any] | None) -> tuple[tuple[MaskedIn, ...], int]:
    if told is None:
        return (), 0
    return tuple(MaskedIn(**one) for one in told["first"]), told["more"]


def download(db: Database, run_id: str, attempt: int, folder: Path) -> list[Path]:
    """Write an attempt's files below `folder` and return their paths; existing files are replaced whole.

    Raises:
        FolderUnusable: a file could not be written; those before it are.
    """
    there = (file for file in list_files(db, run_id, attempt) if file.withheld is None)
    written = (
        results.write(folder, file.path, parts(db, run_id, attempt, file.path), file.executable) for file in there
    )
    return [path for path in written if path is not None]


def parts(db: Database, run_id: str, attempt: int, path: str) -> Iterator[bytes]:
    """A file's bytes, a part at a time."""
    sequence = -1
    while True:
        with db.reading() as session:
            row = session.exec(
                select(OutputChunk)
                .where(
                    OutputChunk.run_id == run_id,
                    OutputChunk.attempt == attempt,
                    OutputChunk.path == path,
                    col(OutputChunk.sequence) > sequence,
                )
                .order_by(col(OutputChunk.sequence))
                .limit(1)
            ).first()
        if row is None:
            return
        sequence = row.sequence
        yield row.data
