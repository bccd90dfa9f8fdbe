"""Uploaded source in the database: once per project and content, in pieces, valid only when complete.

Each piece is compressed on its own, so uploads of the same content share pieces whatever the compressor: two at once
complement each other, and the next one completes what a killed one began. A bundle belongs to one project.
"""

import zlib
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from executor.errors import SourceDamaged, SourceRefused, SourceUnavailable
from executor.models import Run, SourceBundle, SourceBundleChunk, SourceUpload
from executor.source.packing import Packed
from secretstore.database import Database

PIECE = 1 << 20  # bytes of the archive
KEPT = 86_400.0
"""Seconds that a bundle without a run is kept: longer than the time between its upload and its run."""

_TRIES = 3
_AT_A_TIME = 4


def upload(db: Database, project_id: str, packed: Packed) -> str:
    """Store an archive, unless it is stored already; return its digest. Safe concurrently, and if interrupted.

    Raises:
        SourceRefused: somebody removed it again and again.
    """
    digest = packed.digest
    for _ in range(_TRIES):
        if _announced(db, project_id, packed):
            return digest
        with db.reading() as session:
            there = set(session.exec(select(SourceBundleChunk.sequence).where(_pieces_of(project_id, digest))))
        for sequence in range(_count(packed.size)):
            if sequence not in there:
                data = zlib.compress(packed.tar[sequence * PIECE : (sequence + 1) * PIECE])
                values = {"project_id": project_id, "digest": digest, "sequence": sequence, "data": data}
                with db.writing() as session:
                    _execute(session, _insert(db)(SourceBundleChunk).values(**values).on_conflict_do_nothing())
        if _completed(db, project_id, packed):
            return digest
    raise SourceRefused(
        "the source could not be uploaded: somebody keeps removing it from the database",
        hint="submit the run again",
    )


def uploaded_by(db: Database, project_id: str, packed: Packed, by: str) -> str:
    """As `upload`, of somebody who has sent all of the archive, which is remembered.

    Raises:
        SourceRefused: as of `upload`.
    """
    upload(db, project_id, packed)
    row = {"project_id": project_id, "digest": packed.digest, "by": by, "at": db.now()}
    with db.writing() as session:
        remembered = _insert(db)(SourceUpload).values(**row)
        _execute(session, remembered.on_conflict_do_update(index_elements=["project_id", "digest", "by"], set_=row))
    return packed.digest


def require_uploaded(db: Database, project_id: str, digest: str, by: str) -> None:
    """Refuse a bundle that somebody has not sent themselves, whether it is there or not.

    Raises:
        SourceUnavailable: it is not there, or others have sent it.
    """
    with db.reading() as session:
        sent = session.get(SourceUpload, (project_id, digest, by))
        found = session.get(SourceBundle, (project_id, digest))
    if sent is None or found is None or not found.complete:
        raise SourceUnavailable(digest=digest[:12])


def pieces(db: Database, project_id: str, digest: str) -> Iterator[bytes]:
    """Yield the archive's pieces, in order.

    Raises:
        SourceUnavailable: it is missing or incomplete.
        SourceDamaged: a piece is missing or broken.
    """
    with db.reading() as session:
        found = session.get(SourceBundle, (project_id, digest))
    if found is None or not found.complete:
        raise SourceUnavailable(digest=digest[:12])
    left, at = found.size, 0
    while left > 0:
        with db.reading() as session:
            some = session.exec(
                select(SourceBundleChunk.sequence, SourceBundleChunk.data)
                .where(_pieces_of(project_id, digest), col(SourceBundleChunk.sequence) >= at)
                .order_by(col(SourceBundleChunk.sequence))
                .limit(_AT_A_TIME)
            ).all()
        if not some:
            raise SourceDamaged(digest=digest[:12], why="a piece of it is missing")
        for sequence, data in some:
            piece = _opened(data)
            if sequence != at or len(piece) != min(left, PIECE):
                raise SourceDamaged(digest=digest[:12], why="a piece of it is missing or broken")
            left, at = left - len(piece), at + 1
            yield piece


def discard(db: Database, project_id: str, digest: str) -> None:
    """Remove a damaged bundle, so that the next submission of the same source uploads it again."""
    with db.writing() as session:
        _remove(session, and_(col(SourceBundle.project_id) == project_id, col(SourceBundle.digest) == digest))


def delete_unused(db: Database, limit: int = 20) -> int:
    """Delete bundles, complete or not, of which no run is left but pruned ones, last uploaded over a day ago.

    Returns:
        How many were deleted; at most `limit` in one call.
    """
    # An upload writes to the same row, so the database puts it either before or after the deletion.
    referred = select(Run.id).where(
        Run.project_id == SourceBundle.project_id, Run.bundle == SourceBundle.digest, col(Run.pruned_by).is_(None)
    )
    unused = and_(col(SourceBundle.used_at) < db.after(-KEPT), ~referred.correlate(SourceBundle).exists())
    with db.reading() as session:
        due = session.exec(select(SourceBundle.project_id, SourceBundle.digest).where(unused).limit(limit)).all()
    deleted = 0
    for project_id, digest in due:
        with db.writing() as session:
            this = and_(col(SourceBundle.project_id) == project_id, col(SourceBundle.digest) == digest)
            deleted += _remove(session, and_(this, unused))
    return deleted


def _announced(db: Database, project_id: str, packed: Packed) -> bool:
    """Record that a bundle is in use; tell whether it is complete."""
    now = db.now()
    row = {"project_id": project_id, "digest": packed.digest, "size": packed.size, "files": packed.entries}
    with db.writing() as session:
        announced = (
            _insert(db)(SourceBundle)
            .values(**row, complete=False, created_at=now, used_at=now)
            .on_conflict_do_update(index_elements=["project_id", "digest"], set_={"used_at": now})
            .returning(SourceBundle.complete)
        )
        return bool(session.connection().execute(announced).scalar_one())


def _completed(db: Database, project_id: str, packed: Packed) -> bool:
    """Mark a bundle as complete; False if somebody has removed pieces."""
    stored = (
        select(func.count()).select_from(SourceBundleChunk).where(_pieces_of(project_id, packed.digest))
    ).scalar_subquery()
    statement = (
        update(SourceBundle)
        .where(col(SourceBundle.project_id) == project_id, col(SourceBundle.digest) == packed.digest)
        .where(stored == _count(packed.size))
        .values(complete=True, size=packed.size, files=packed.entries, used_at=db.now())
    )
    with db.writing() as session:
        return _execute(session, statement) == 1


def _remove(session: Session, which: ColumnElement[bool]) -> int:
    statement = delete(SourceBundle).where(which).returning(col(SourceBundle.project_id), col(SourceBundle.digest))
    gone = session.connection().execute(statement).all()
    for project_id, digest in gone:
        _execute(session, delete(SourceBundleChunk).where(_pieces_of(project_id, digest)))
        of_it = col(SourceUpload.project_id) == project_id, col(SourceUpload.digest) == digest
        _execute(session, delete(SourceUpload).where(*of_it))
    return len(gone)


def _pieces_of(project_id: str, digest: str) -> ColumnElement[bool]:
    return and_(col(SourceBundleChunk.project_id) == project_id, col(SourceBundleChunk.digest) == digest)


def _count(size: int) -> int:
    return -(-size // PIECE)


def _opened(data: bytes) -> bytes:
    """Decompress a piece, to at most its size and one byte, whatever it holds."""
    try:
        return zlib.decompressobj().decompress(data, PIECE + 1)
    except zlib.error:
        return b""


def _insert(db: Database) -> Any:
    return sqlite.insert if db.dialect == "sqlite" else postgresql.insert


def _execute(session: Session, statement: Any) -> int:
    statement = statement.execution_options(synchronize_session=False)
    return cast("CursorResult[Any]", session.connection().execute(statement)).rowcount
