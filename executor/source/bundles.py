"""Uploaded source in the database: once per project and content, in pieces, complete or not there.

A piece is compressed by itself, so that whoever uploads the same content uploads the same pieces, whichever compressor
is at work: two at once fill in for each other, and what a killed one began, the next one ends. A bundle is found under
its project alone.
"""

import zlib
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from executor.errors import SourceDamaged, SourceRefused, SourceUnavailable
from executor.models import Run, SourceBundle, SourceBundleChunk
from executor.source.packing import Packed
from secretstore.database import Database

PIECE = 1 << 20  # bytes of the archive
KEPT = 86_400.0
"""Seconds for which a bundle that no run refers to is kept: longer than anybody takes from its upload to the run."""

_TRIES = 3
_AT_A_TIME = 4


def upload(db: Database, project_id: str, packed: Packed) -> str:
    """Store an archive, or find that it is stored; returns its digest. Safe by many at once, and when it breaks off.

    Raises:
        SourceRefused: it was removed meanwhile, again and again.
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
        "the source could not be uploaded: somebody removes it from the database again and again",
        hint="submit the run again",
    )


def pieces(db: Database, project_id: str, digest: str) -> Iterator[bytes]:
    """The archive, in order.

    Raises:
        SourceUnavailable: there is none, or it is not complete.
        SourceDamaged: a piece is missing, or is not what was stored.
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
    """Remove a bundle that is not what it was, so that whoever submits the same source uploads it again."""
    with db.writing() as session:
        _remove(session, and_(col(SourceBundle.project_id) == project_id, col(SourceBundle.digest) == digest))


def delete_unused(db: Database, limit: int = 20) -> int:
    """Delete bundles, half uploaded ones too, that no run refers to and nobody has uploaded for a day.

    Returns how many; at most `limit` in one call.
    """
    # A submitter's last use is written in the same row, so it and this do not cross: one of them comes first.
    referred = select(Run.id).where(Run.project_id == SourceBundle.project_id, Run.bundle == SourceBundle.digest)
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
    """Write that it is used now; whether it is complete."""
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
    """Write that all pieces are there; False where somebody has removed some."""
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
    return len(gone)


def _pieces_of(project_id: str, digest: str) -> ColumnElement[bool]:
    return and_(col(SourceBundleChunk.project_id) == project_id, col(SourceBundleChunk.digest) == digest)


def _count(size: int) -> int:
    return -(-size // PIECE)


def _opened(data: bytes) -> bytes:
    """A piece, never more than its size and one byte however it was made."""
    try:
        return zlib.decompressobj().decompress(data, PIECE + 1)
    except zlib.error:
        return b""


def _insert(db: Database) -> Any:
    return sqlite.insert if db.dialect == "sqlite" else postgresql.insert


def _execute(session: Session, statement: Any) -> int:
    statement = statement.execution_options(synchronize_session=False)
    return cast("CursorResult[Any]", session.connection().execute(statement)).rowcount
