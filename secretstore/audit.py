"""What was done, by whom: append-only, and hash-chained per project.

The canonical form of an event is JSON (keys sorted, no blanks, non-ASCII escaped) of all its fields but
`hash`; `at` is ISO 8601 in UTC with six digits of a second. `hash` is the SHA-256 of that in hexadecimal.
As `previous_hash` (64 zeros for the first event) is one of the fields, an event cannot be changed, moved or
removed from the middle without breaking the chain. Whoever can write to the database can also compute a new
chain, or cut off its end: keep a `head` elsewhere to notice that.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import func
from sqlmodel import Session, col, select

from secretstore.database import Database
from secretstore.errors import UnknownProject
from secretstore.models import AuditEvent, Project
from secretstore.timestamps import utc_now

FIRST_PREVIOUS_HASH = "0" * 64
_BATCH = 500


@dataclass(frozen=True)
class Actor:
    """Who acts, as claimed, and through which door (`cli`, `console`, `api`, `worker`)."""

    name: str
    origin: str


@dataclass(frozen=True)
class EventView:
    """An audit event as it is listed."""

    sequence: int
    at: datetime
    actor: str
    origin: str
    action: str
    subject: str
    detail: dict[str, object]
    outcome: str


@dataclass(frozen=True)
class VerifyResult:
    """What a walk along a chain found; `head` is the last good hash."""

    project: str
    checked: int
    head: str
    first_bad: int | None = None
    why: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every event is as it was written."""
        return self.first_bad is None


def append(
    session: Session,
    project_id: str,
    project: str,
    *,
    actor: Actor,
    action: str,
    subject: str,
    detail: Mapping[str, object] | None = None,
    outcome: str = "done",
) -> None:
    """Adds an event in the caller's transaction, so that it is recorded if and only if the act is.

    Call it last: on PostgreSQL other writers to this project's chain wait until the transaction ends.

    Args:
        session: A writing session.
        project_id: Whose chain.
        project: The project's name, kept for when the project is gone.
        actor: Who acts.
        action: What was done, as `secret.set`.
        subject: To what, by name, as `prod/DATABASE_URL`.
        detail: Names, ids and numbers. Never a value, a part of one, or its length.
        outcome: `done`, or how it failed.
    """
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        key = func.hashtextextended(f"sealrun audit {project_id}", 0)
        session.execute(select(func.pg_advisory_xact_lock(key)))
    last = session.exec(
        select(AuditEvent.sequence, AuditEvent.hash)
        .where(AuditEvent.project_id == project_id)
        .order_by(col(AuditEvent.sequence).desc())
        .limit(1)
    ).first()
    sequence, previous_hash = (last[0] + 1, last[1]) if last else (1, FIRST_PREVIOUS_HASH)
    event = AuditEvent(
        project_id=project_id,
        sequence=sequence,
        project=project,
        at=utc_now(),
        actor=actor.name,
        origin=actor.origin,
        action=action,
        subject=subject,
        detail=json.dumps(dict(detail or {}), sort_keys=True),
        outcome=outcome,
        previous_hash=previous_hash,
        hash="",
    )
    event.hash = _hash(event)
    session.add(event)


def list_events(db: Database, project: str, *, limit: int | None = None) -> list[EventView]:
    """Returns a project's events, oldest first, those of deleted projects of the same name included.

    Args:
        db: The database.
        project: The project's name.
        limit: At most so many, the newest.

    Raises:
        UnknownProject: When no project ever had this name.
    """
    with db.reading() as session:
        _chains(session, project)
        newest_first = (
            select(AuditEvent)
            .where(AuditEvent.project == project)
            .order_by(col(AuditEvent.at).desc(), col(AuditEvent.sequence).desc())
            .limit(limit)
        )
        return [_view(event) for event in reversed(session.exec(newest_first).all())]


def verify(db: Database, project: str) -> VerifyResult:
    """Walks a project's chain in batches and names the first event that is not as it was written.

    Deleted projects of the same name are walked too; `checked` counts all, `head` is of the youngest chain.

    Raises:
        UnknownProject: When no project ever had this name.
    """
    checked, head = 0, FIRST_PREVIOUS_HASH
    with db.reading() as session:
        for project_id in _chains(session, project):
            expected, head = 1, FIRST_PREVIOUS_HASH
            for event in _events(session, project_id):
                if why := _fault(event, expected, head):
                    return VerifyResult(project, checked, head, expected, why)
                expected, head, checked = expected + 1, event.hash, checked + 1
            if expected == 1:
                return VerifyResult(project, checked, head, 1, "the project has no events")
    return VerifyResult(project, checked, head)


def _chains(session: Session, project: str) -> list[str]:
    """Returns the ids of the projects that had this name, oldest first, and the living one in any case."""
    began = func.min(AuditEvent.at)
    ids = list(
        session.exec(
            select(AuditEvent.project_id)
            .where(AuditEvent.project == project)
            .group_by(col(AuditEvent.project_id))
            .order_by(began)
        )
    )
    living = session.exec(select(Project.id).where(Project.name == project)).first()
    if living and living not in ids:
        ids.append(living)
    if not ids:
        raise UnknownProject(project=project)
    return ids


def _events(session: Session, project_id: str) -> Iterator[AuditEvent]:
    after = -1
    while True:
        batch = session.exec(
            select(AuditEvent)
            .where(AuditEvent.project_id == project_id, col(AuditEvent.sequence) > after)
            .order_by(col(AuditEvent.sequence))
            .limit(_BATCH)
        ).all()
        if not batch:
            return
        yield from batch
        after = batch[-1].sequence
        session.expunge_all()  # bounded memory: a session keeps what it has loaded


def _fault(event: AuditEvent, expected: int, previous_hash: str) -> str | None:
    if event.sequence != expected:
        return "an event is missing"
    if event.previous_hash != previous_hash:
        return "the event does not follow the one before it"
    if event.hash != _hash(event):
        return "the event was changed"
    return None


def _hash(event: AuditEvent) -> str:
    fields = event.model_dump(exclude={"hash"}) | {"at": event.at.isoformat(timespec="microseconds")}
    return sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _view(event: AuditEvent) -> EventView:
    return EventView(
        sequence=event.sequence,
        at=event.at,
        actor=event.actor,
        origin=event.origin,
        action=event.action,
        subject=event.subject,
        detail=json.loads(event.detail),
        outcome=event.outcome,
    )
