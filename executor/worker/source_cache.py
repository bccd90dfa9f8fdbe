"""An uploaded source as a folder on this machine: fetched once, verified, and then only read."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.errors import SourceDamaged, SourceUnavailable
from executor.source import bundles
from executor.source.packing import size_text
from executor.source.unpacking import TooLarge, Unacceptable, unpack
from executor.worker.cache import SOURCES, Shelf
from executor.worker.lease import LeaseKeeper
from secretstore.database import Database


@dataclass(frozen=True)
class Upload:
    """An uploaded source: where to, whose it is, and its name."""

    db: Database
    project_id: str
    digest: str


@contextlib.contextmanager
def cached_source(upload: Upload, root: Path, limit: int, keeper: LeaseKeeper) -> Iterator[Path]:
    """The folder of an upload, kept while the context lasts.

    Args:
        upload: what is wanted.
        root: the worker's cache.
        limit: bytes that its files may have in all.
        keeper: is asked again and again while it is fetched, or while somebody else does; what it raises ends that.

    Raises:
        SourceUnavailable: it is not in the database, there is more in it than `limit`, or this machine has no room.
        SourceDamaged: it is not what its name says; it is removed, so that the next submission uploads it again.
        GateShut, StaleToken: from `keeper`.
    """
    db, project_id, digest = upload.db, upload.project_id, upload.digest
    # Both are of the run's row, and become folders.
    if not re.fullmatch("[0-9a-f]{64}", digest) or not re.fullmatch("[0-9a-z]{1,64}", project_id):
        raise SourceUnavailable(digest=digest[:12])

    def build(folder: Path) -> None:
        try:
            unpack(_tended(bundles.pieces(db, project_id, digest), keeper), folder, digest, limit)
        except TooLarge:
            raise SourceUnavailable(
                "the uploaded source {digest} is larger than this worker takes: {limit} of files",
                digest=digest[:12],
                limit=size_text(limit),
                hint="set SEALRUN_SOURCE_LIMIT_MIB for the worker, too, or upload less",
            ) from None
        except Unacceptable as refused:
            raise SourceDamaged(digest=digest[:12], why=str(refused)) from None

    with contextlib.ExitStack() as ending:
        try:
            shelf = Shelf(SOURCES, root, (project_id, "sources"))
            entry = ending.enter_context(shelf.made(digest, build, keeper))
        except SourceDamaged:
            bundles.discard(db, project_id, digest)
            raise
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise SourceUnavailable(
                "the uploaded source {digest} could not be unpacked in {folder}: {why}",
                digest=digest[:12],
                folder=root,
                why=why,
                hint="make room or rights there, or set SEALRUN_CACHE for the worker",
            ) from None
        yield entry.path


def _tended(pieces: Iterator[bytes], keeper: LeaseKeeper) -> Iterator[bytes]:
    for piece in pieces:
        keeper.check()
        yield piece
