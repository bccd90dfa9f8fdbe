"""What was done, by whom: append-only, and hash-chained per project; what is of no project has a chain of its own.

The canonical form of an event is JSON (keys sorted, no blanks, non-ASCII escaped) of all its fields but `hash`; `at` is
ISO 8601 in UTC with six digits of a second. `hash` is the SHA-256 of that in hexadecimal. As `previous_hash` (64 zeros
for the first event) is one of the fields, an event cannot be changed, moved or removed from the middle without breaking
the chain. Whoever can write to the database can also compute a new chain, or cut off its end: to notice that, keep a
`head` elsewhere.

Acts are linked into the chain in their own transaction. Runs only leave their events waiting, in theirs, so that they
do not queue for the chain; `link_waiting` moves those into it, many at a time.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import String, case, delete, func, insert, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from secretstore.database import Database, table_of
from secretstore.errors import RowUnreadable
from secretstore.models import AuditEvent, Project, WaitingAuditEvent
from secretstore.timestamps import utc_now
from secretstore.transaction import Reader
from secretstore.views import hashed_moment

FIRST_PREVIOUS_HASH = "0" * 64
INSTALLATION = "(installation)"
"""In the place of a project's id and name: the chain of what is of none. No project can have this name or this id."""
_BATCH = 1000
_LAST = 2**31 - 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_WAITING = tuple(table_of(WaitingAuditEvent).columns)
_LATER = insert(table_of(WaitingAuditEvent))
# The width of the columns: an event is kept with a cut name rather than not at all.
_WIDTH = {"actor": 255, "origin": 255, "subject": 512}


@dataclass(frozen=True)
class Actor:
    """Who acts, as claimed, through which door (`cli`, `console`, `api`, `worker NAME`), and by which request there."""

    name: str
    origin: str
    request: str | None = None


@dataclass(frozen=True)
class Act:
    """What was done to what, before it has its place in a chain."""

    action: str
    """As `secret.set`."""
    subject: str
    """By name, as `prod/DATABASE_URL`."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """Names, ids and numbers. Never a secret's value, a part of one, or its length."""
    outcome: str = "done"
    """`done`, or how it failed."""


def append(session: Session, project: Project, actor: Actor, *acts: Act) -> None:
    """Add events in the caller's transaction, so that they are recorded if and only if the acts are done.

    Call it last: on PostgreSQL other writers to this project's chain wait until the transaction ends.
    """
    _append(session, project.id, project.name, actor, acts)


def append_to_installation(session: Session, actor: Actor, *acts: Act) -> None:
    """Add events of no project, such as a new person: as `append`, and last, too."""
    _append(session, INSTALLATION, INSTALLATION, actor, acts)


def append_later(
    session: Reader,
    project_id: str,
    project: str,
    *,
    actor: Actor,
    action: str,
    subject: str,
    detail: Mapping[str, object] | None = None,
    outcome: str = "done",
    at: datetime,
) -> None:
    """Leave an event in the caller's transaction for `link_waiting`; nobody waits for the chain.

    Args:
        at: when it happened, by the clock the caller goes by. The others are the fields of `Act`.
    """
    event = _event(project_id, project, actor, Act(action, subject, detail or {}, outcome), at)
    session.connection().execute(_LATER, [event])


def link_waiting(
    db: Database, most: int = _BATCH, skipped: Callable[[str, Exception], None] = lambda project_id, problem: None
) -> int:
    """Move the waiting events into their projects' chains, the oldest first; return how many.

    An event leaves the waiting room in the transaction that links it, so whoever is killed here loses and doubles
    nothing, and several may do it at once.

    Args:
        most: how many to move in one transaction; acts on the project wait that long.
        skipped: called with the id of a project whose events cannot be linked, and why; the others are.
    """
    with db.reading() as session:
        waiting = session.exec(select(WaitingAuditEvent.project_id).distinct()).all()
    linked = 0
    for project_id in waiting:
        try:
            linked += _link_project(db, project_id, most)
        except (RowUnreadable, DBAPIError) as problem:
            skipped(project_id, problem)
    return linked


def waiting_events(db: Database) -> int:
    """Return how many events wait to be linked."""
    with db.reading() as session:
        return session.exec(select(func.count()).select_from(WaitingAuditEvent)).one()


def event_hash(row: Mapping[str, Any]) -> str:
    """Return the hash of an event's fields.

    Raises:
        TypeError: a field holds what no event does: SQLite takes bytes for text.
    """
    fields = {**row, "at": hashed_moment(row["at"])}
    fields.pop("hash", None)
    return sha256(_CANONICAL.encode(fields).encode()).hexdigest()


def readable(session: Session, columns: Iterable[Any]) -> list[Any]:
    """Return the columns to select so that a moment somebody made unreadable raises no error.

    SQLite's come as they are stored. PostgreSQL has moments that Python lacks, `infinity` among them; they become NULL.
    """
    if session.get_bind().dialect.name == "sqlite":
        return [type_coerce(column, String).label("at") if column.name == "at" else column for column in columns]
    first, last = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
    return [
        case((column.between(first, last), column)).label("at") if column.name == "at" else column for column in columns
    ]


def as_moment(at: Any) -> datetime | None:
    """Return what `readable` selected as a moment; None if somebody made it unreadable."""
    try:
        return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    except (ValueError, OverflowError, AttributeError):
        return None


def _append(session: Session, project_id: str, project: str, actor: Actor, acts: Iterable[Act]) -> None:
    session.flush()
    now = utc_now()
    _link(session, project_id, [_event(project_id, project, actor, act, now) for act in acts])


def _link_project(db: Database, project_id: str, most: int) -> int:
    linked = 0
    while True:
        with db.writing() as session:
            _hold_chain(session, project_id)
            oldest = (
                select(WaitingAuditEvent.id)
                .where(WaitingAuditEvent.project_id == project_id)
                .order_by(col(WaitingAuditEvent.id))
                .limit(most)
            )
            # By id, and not up to an id: on PostgreSQL one with a lower id may be committed at any moment.
            taken = (
                delete(WaitingAuditEvent)
                .where(col(WaitingAuditEvent.id).in_(oldest))
                .returning(*readable(session, _WAITING))
            )
            rows = sorted(session.connection().execute(taken).mappings().all(), key=lambda row: row["id"])
            _link(session, project_id, [_whole(row) for row in rows])
        linked += len(rows)
        if len(rows) < most:
            return linked


def _whole(waiting: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a waiting event for the chain. One that somebody made unreadable is linked as far as it can be read."""
    texts = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for name, value in waiting.items()
        if name not in ("id", "at")
    }
    return texts | {"at": as_moment(waiting["at"]) or utc_now()}


def _hold_chain(session: Session, project_id: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        key = func.hashtextextended(f"sealrun audit {project_id}", 0)
        session.execute(select(func.pg_advisory_xact_lock(key)))


def _link(session: Session, project_id: str, events: list[dict[str, Any]]) -> None:
    """Add events to the end of a chain; on PostgreSQL it is held until the transaction ends."""
    _hold_chain(session, project_id)
    last = session.exec(
        select(AuditEvent.sequence, AuditEvent.hash)
        .where(AuditEvent.project_id == project_id)
        .order_by(col(AuditEvent.sequence).desc())
        .limit(1)
    ).first()
    sequence, previous_hash = last or (0, FIRST_PREVIOUS_HASH)
    # SQLite takes text and bytes for a number; PostgreSQL has no number beyond the last.
    if not (isinstance(sequence, int) and isinstance(previous_hash, str) and sequence <= _LAST - len(events)):
        raise RowUnreadable(
            "the audit chain of project id {project_id} cannot be continued: sealrun did not write its last event",
            project_id=project_id,
            hint="sealrun audit verify names it; ask who can write to the database",
        )
    rows = []
    for number, event in enumerate(events, sequence + 1):
        row = {**event, "sequence": number, "previous_hash": previous_hash}
        previous_hash = event_hash(row)
        rows.append(row | {"hash": previous_hash})
    if rows:
        session.connection().execute(insert(AuditEvent), rows)


def _event(project_id: str, project: str, actor: Actor, act: Act, at: datetime) -> dict[str, Any]:
    by_request = {} if actor.request is None else {"request": actor.request}
    event = {
        "project_id": project_id,
        "project": project,
        "at": at,
        "actor": actor.name,
        "origin": actor.origin,
        "action": act.action,
        "subject": act.subject,
        "detail": json.dumps({**act.detail, **by_request}, sort_keys=True),
        "outcome": act.outcome,
    }
    return event | {name: str(event[name])[:width] for name, width in _WIDTH.items()}
