"""Read the audit chain: list events, and verify that nobody changed them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from secretstore.audit import FIRST_PREVIOUS_HASH, INSTALLATION, as_moment, event_hash, readable
from secretstore.database import Database
from secretstore.errors import UnknownProject
from secretstore.models import AuditEvent, Project
from secretstore.views import EventView, Head, VerifyResult

_BATCH = 1000
_COLUMNS = tuple(AuditEvent.__table__.columns)  # type: ignore[attr-defined]  # SQLModel makes it


@dataclass(frozen=True)
class Filter:
    """Which events to list. A text matches itself, or, if it ends with `*`, everything that begins with the rest."""

    since: datetime | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None


def list_events(db: Database, project: str, *, limit: int | None = None, only: Filter | None = None) -> list[EventView]:
    """Return a project's events in the order of their chain, those of deleted projects of the same name first.

    Args:
        project: its name, or `INSTALLATION`.
        limit: how many, the newest; None for all.
        only: which.

    Raises:
        UnknownProject: no project ever had this name.
    """
    found: list[EventView] = []
    with db.reading() as session:
        for project_id in _youngest_first(session, project):
            left = None if limit is None else limit - len(found)
            newest_first = (
                select(*readable(session, _COLUMNS))
                .where(AuditEvent.project_id == project_id, *_conditions(only or Filter()))
                .order_by(col(AuditEvent.sequence).desc())
                .limit(left)
            )
            rows = session.execute(newest_first).mappings()
            found += [EventView(**{**row, "at": as_moment(row["at"])}) for row in rows]
            if len(found) == limit:
                break
    return found[::-1]


def export_events(db: Database, project: str, *, since: datetime | None = None) -> Iterator[list[EventView]]:
    """Yield all events that `list_events` lists, some at a time: memory does not grow with the chain.

    No transaction stays open in between: whoever reads slowly keeps nobody from writing.

    Raises:
        UnknownProject: no project ever had this name; before the first are yielded.
    """
    with db.reading() as session:
        oldest_first = list(_youngest_first(session, project))[::-1]
    return _exported(db, oldest_first, since)


def _exported(db: Database, project_ids: list[str], since: datetime | None) -> Iterator[list[EventView]]:
    for project_id in project_ids:
        after, full = -1, True
        while full:
            with db.reading() as session:
                rows = session.execute(
                    select(*readable(session, _COLUMNS))
                    .where(AuditEvent.project_id == project_id, col(AuditEvent.sequence) > after)
                    .where(*_conditions(Filter(since=since)))
                    .order_by(col(AuditEvent.sequence))
                    .limit(_BATCH)
                ).mappings()
                found = [EventView(**{**row, "at": as_moment(row["at"])}) for row in rows]
            full = len(found) == _BATCH
            if found:
                after = found[-1].sequence
                yield found


def verify(db: Database, project: str, *, expect: Head | None = None) -> VerifyResult:
    """Walk a project's chain in batches and name the first event that was altered.

    Deleted projects of the same name are checked too; `checked` counts all, `head` is of the living project's chain, or
    of the youngest if none lives.

    Args:
        expect: a head that was kept elsewhere: the event must still be there.

    Raises:
        UnknownProject: no project ever had this name.
    """
    checked, there = 0, expect is None
    heads: list[tuple[str, Head]] = []
    with db.reading() as session:
        # The living project's first, whatever the events say: whoever adds some under another id must not choose whose
        # head is reported.
        for project_id in _youngest_first(session, project):
            head = Head(FIRST_PREVIOUS_HASH, 0)
            for row in _rows(session, project_id):
                expected = (head.sequence or 0) + 1
                if why := _fault(row, expected, head.hash):
                    return VerifyResult(project, project_id, checked, str(head), expected, why)
                head = Head(row["hash"], expected)
                there = there or (
                    expect is not None and head.hash == expect.hash and expect.sequence in (None, expected)
                )
                checked += 1
            if head.sequence == 0 and (project != INSTALLATION or expect is not None):
                why = "event 1 is missing: the project has no events"
                return VerifyResult(project, project_id, checked, str(head), 1, why)
            heads.append((project_id, head))
    project_id, head = heads[0]
    longest = max(found.sequence or 0 for _, found in heads)
    missing = None if there or expect is None else _missing(expect, longest)
    return VerifyResult(project, project_id, checked, str(head), None, missing)


def _conditions(only: Filter) -> Iterator[ColumnElement[bool]]:
    if only.since is not None:
        yield col(AuditEvent.at) >= only.since
    texts = (
        (col(AuditEvent.actor), only.actor),
        (col(AuditEvent.action), only.action),
        (col(AuditEvent.subject), only.subject),
    )
    for column, text in texts:
        if text is not None and text.endswith("*"):
            # Not LIKE: SQLite's ignores case.
            yield func.substr(column, 1, len(text) - 1) == text[:-1]
        elif text is not None:
            yield column == text


def _missing(expect: Head, longest: int) -> str:
    if expect.sequence is not None and expect.sequence > longest:
        return (
            f"the chain ends with event {longest}, and event {expect.sequence} was expected: "
            "its end was cut off, or the database is an older one"
        )
    if expect.sequence is not None:
        return f"event {expect.sequence} is not the expected one: the chain was rewritten, or is another project's"
    return "no event has the expected hash: the end was cut off, the chain was rewritten, or it is another project's"


def _youngest_first(session: Session, project: str) -> Iterator[str]:
    """Yield the ids of the projects that had this name, the living one first.

    That one comes at once: finding the others takes a walk over all events.
    """
    if project == INSTALLATION:
        yield INSTALLATION
        return
    # Deleted or not: the name is its own until it is destroyed.
    its_own = (Project.name == project, col(Project.destroyed_at).is_(None))
    living = session.exec(select(Project.id).where(*its_own)).first()
    if living:
        yield living
    began = func.min(AuditEvent.at)
    ids = session.exec(
        select(AuditEvent.project_id)
        .where(AuditEvent.project == project)
        .group_by(col(AuditEvent.project_id))
        .order_by(began.desc())
    ).all()
    if not ids and not living:
        raise UnknownProject(project=project)
    yield from (project_id for project_id in ids if project_id != living)


def _rows(session: Session, project_id: str) -> Iterator[dict[str, Any]]:
    """Yield a chain's rows, a batch at a time: memory does not grow with the chain."""
    after, columns = -1, readable(session, _COLUMNS)
    while True:
        batch = session.execute(
            select(*columns)
            .where(AuditEvent.project_id == project_id, col(AuditEvent.sequence) > after)
            .order_by(col(AuditEvent.sequence))
            .limit(_BATCH)
        ).all()
        for row in batch:
            yield dict(zip((column.name for column in _COLUMNS), row, strict=True))
        if len(batch) < _BATCH:
            return
        after = batch[-1].sequence


def _fault(row: dict[str, Any], expected: int, previous_hash: str) -> str | None:
    if row["sequence"] != expected:
        return f"event {expected} is missing: the next one there is {row['sequence']}"
    if row["previous_hash"] != previous_hash:
        return f"event {expected} does not follow the one before it: one of the two was moved or rewritten"
    try:
        intact = row["hash"] == event_hash(row)
    except TypeError:
        intact = False
    return None if intact else f"event {expected} was changed, or moved: its hash is not that of its fields"
