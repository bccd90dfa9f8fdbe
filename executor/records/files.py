"""Files a run left: listed, and written out again."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from sqlmodel import col, select

from executor.models import Output, OutputChunk
from executor.schemas.output import MaskedIn, OutputFile
from executor.source.results import make_folder
from secretstore.database import Database
from secretstore.errors import FolderUnusable


def list_files(db: Database, run_id: str, attempt: int) -> list[OutputFile]:
    """What an attempt left, by path."""
    with db.reading() as session:
        rows = session.exec(
            select(Output).where(Output.run_id == run_id, Output.attempt == attempt).order_by(col(Output.path))
        ).all()
    return [OutputFile(row.path, row.size, row.withheld, *_masked(row.masked)) for row in rows]


def _masked(told: dict[str, Any] | None) -> tuple[tuple[MaskedIn, ...], int]:
    if told is None:
        return (), 0
    return tuple(MaskedIn(**one) for one in told["first"]), told["more"]


def download(db: Database, run_id: str, attempt: int, folder: Path) -> list[Path]:
    """Write an attempt's files below `folder` and return their paths; existing files are replaced whole.

    A path was chosen by the run's code, so it is not trusted: it cannot leave the folder, by `..` or by a link.

    Raises:
        FolderUnusable: a file could not be written; those before it are.
    """
    written = []
    programs = _programs(db, run_id, attempt)
    for file in list_files(db, run_id, attempt):
        if file.withheld is not None:
            continue
        names = PurePosixPath(file.path).parts
        if not names or ".." in names or PurePosixPath(file.path).is_absolute():
            continue
        target = folder.joinpath(*names)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            continue
        # Of no name that a run could have chosen, and not longer than one.
        partial = target.with_name(f".{secrets.token_hex(16)}.part")
        try:
            make_folder(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o777 if file.path in programs else 0o666
            with open(partial, "xb", opener=_with_mode(mode)) as out:
                for data in parts(db, run_id, attempt, file.path):
                    out.write(data)
            os.replace(partial, target)
        except OSError as error:
            raise FolderUnusable(
                "{path} could not be written: {why}",
                path=target,
                why=os.strerror(error.errno or 0),
                hint="choose an empty folder; a run may leave names that this file system takes for one another",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        written.append(target)
    return written


def _programs(db: Database, run_id: str, attempt: int) -> set[str]:
    """The files that are programs, and that a run was asked to keep as such."""
    with db.reading() as session:
        these = (Output.run_id == run_id, Output.attempt == attempt, col(Output.executable))
        return set(session.exec(select(Output.path).where(*these)))


def _with_mode(mode: int) -> Callable[[str, int], int]:
    """Opens a new file with what the user's own umask leaves of a mode."""
    return lambda path, flags: os.open(path, flags, mode)


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
