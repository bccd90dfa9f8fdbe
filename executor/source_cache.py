"""An uploaded source as a folder on this machine: fetched once, verified, and then only read."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from executor import bundles, cache
from executor.errors import SourceDamaged, SourceUnavailable
from executor.packing import size_text
from executor.unpacking import TooLarge, Unacceptable, unpack
from secretstore.database import Database


@contextlib.contextmanager
def cached_source(
    db: Database, root: Path, project_id: str, digest: str, limit: int, beat: Callable[[], None]
) -> Iterator[Path]:
    """The folder of a bundle, kept while the context lasts.

    Args:
        db: where it was uploaded to.
        root: the worker's cache.
        project_id: whose it is.
        digest: its name.
        limit: bytes that its files may have in all.
        beat: called again and again while it is fetched, or while somebody else does; what it raises ends that.

    Raises:
        SourceUnavailable: it is not in the database, there is more in it than `limit`, or this machine has no room.
        SourceDamaged: it is not what its name says; it is removed, so that the next submission uploads it again.
    """
    if not re.fullmatch("[0-9a-f]{64}", digest) or not re.fullmatch("[0-9a-z]{1,64}", project_id):
        raise SourceUnavailable(digest=digest[:12])

    def build(folder: Path) -> None:
        try:
            unpack(_with_beat(bundles.pieces(db, project_id, digest), beat), folder, digest, limit)
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
            folder = ending.enter_context(cache.entry(root, project_id, "sources", digest, build, beat))
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
        yield folder


def _with_beat(pieces: Iterator[bytes], beat: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        beat()
        yield piece
