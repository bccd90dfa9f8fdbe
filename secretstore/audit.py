"""What was done, by whom: append-only, and hash-chained per project.

The canonical form of an event is JSON (keys sorted, no blanks, non-ASCII escaped) of all its fields but
`hash`; `at` is ISO 8601 in UTC with six digits of a second. `hash` is the SHA-256 of that in hexadecimal.
As `previous_hash` (64 zeros for the first event) is one of the fields, an event cannot be changed, moved or
removed from the middle without breaking the chain. Whoever can write to the database can also compute a new
chain, or cut off its end: keep a `head` elsewhere to notice that. docs/audit.md says all of this at length.

Acts are linked into the chain in their own transaction. Runs only leave their events waiting, in theirs, so
that they do not queue for the chain; `link_waiting` moves those into it, many at a time.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, String, case, delete, func, insert, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from secretstore.database import Database
from secretstore.errors import RowUnreadable, UnknownProject
from secretstore.models import AuditEvent, Project, WaitingAuditEvent
from secretstore.timestamps import utc_now

FIRST_PREVIOUS_HASH = "0" * 64
_BATCH = 1000
_LAST = 2**31 - 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_COLUMNS = tuple(AuditEvent.__table__.columns)  # type: ignore[attr-defined]  # SQLModel makes it
_NAMES = tuple(column.name for column in _COLUMNS)
_WAITING = tuple(WaitingAuditEvent.__table__.columns)  # type: ignore[attr-defined]
# What the columns hold; an event is kept with a cut name rather than not at all.
_ROOM = {"actor": 255, "origin": 255, "subject": 512}


@dataclass(frozen=True)
class Actor:
    """Who acts, as claimed, and through which door (`cli`, `console`, `api`, `worker NAME`)."""

    name: str
    origin: str


@dataclass(frozen=True)
class Act:
    """What was done to what, before it has its place in a chain; the fields are those of `append`."""

    action: str
    subject: str
    detail: Mapping[str, object] = field(default_factory=dict)
    outcome: str = "done"


@dataclass(frozen=True)
class EventView:
    """An audit event with all that is hashed, and its hash; `detail` is JSON text, as it was written."""

    project_id: str
    sequence: int
    project: str
    at: datetime | None
    """None where somebody made it unreadable."""
    actor: str
    origin: str
    action: str
    subject: str
    detail: str
    outcome: str
    previous_hash: str
    hash: str

    def fields(self) -> dict[str, Any]:
        """All fields as they are hashed, and the hash."""
        return vars(self) | {"at": _moment(self.at)}


@dataclass(frozen=True)
class Head:
    """An event to be found again: its hash, and its place where that was kept, too."""

    hash: str
    sequence: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `SEQUENCE:HASH`, or a hash alone.

        Raises:
            ValueError: it is neither.
        """
        place, _, found = text.strip().rpartition(":")
        if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
            raise ValueError("a head is SEQUENCE:HASH, or 64 hexadecimal digits alone")
        return cls(found, int(place) if place else None)

    def __str__(self) -> str:
        return self.hash if self.sequence is None else f"{self.sequence}:{self.hash}"


@dataclass(frozen=True)
class Filter:
    """Which events to list. A text is met by itself, or, when it ends with `*`, by what begins with the rest."""

    since: datetime | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class VerifyResult:
    """What a walk along a chain found; `head` is the last good event, as `SEQUENCE:HASH`.

    `first_bad` is the first event that is not as it was written, `why` says what is wrong with it, or with the end.
    `project_id` says whose chain both are of: deleted projects may have had the same name.
    """

    project: str
    project_id: str
    checked: int
    head: str
    first_bad: int | None = None
    why: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every event is as it was written, and the expected head is among them."""
        return self.why is None


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
    """Add an event in the caller's transaction, so that it is recorded if and only if the act is.

    Call it last: on PostgreSQL other writers to this project's chain wait until the transaction ends.

    Args:
        project_id: whose chain.
        project: the project's name, kept for when the project is gone.
        action: what was done, as `secret.set`.
        subject: to what, by name, as `prod/DATABASE_URL`.
        detail: names, ids and numbers. Never a value, a part of one, or its length.
        outcome: `done`, or how it failed.
    """
    append_many(session, project_id, project, actor=actor, acts=[Act(action, subject, detail or {}, outcome)])


def append_many(session: Session, project_id: str, project: str, *, actor: Actor, acts: Iterable[Act]) -> None:
    """Add events as `append` does, one after the other, with one look at the chain's head."""
    session.flush()
    now = utc_now()
    _link(session, project_id, [_event(project_id, project, actor, act, now) for act in acts])


def append_later(
    session: Session,
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
        at: when it happened, by the clock the caller goes by.

    The others are those of `append`.
    """
    event = _event(project_id, project, actor, Act(action, subject, detail or {}, outcome), at)
    session.connection().execute(insert(WaitingAuditEvent), [event])


def link_waiting(
    db: Database, most: int = _BATCH, skipped: Callable[[str, Exception], None] = lambda project_id, problem: None
) -> int:
    """Move the events that wait into their projects' chains, the oldest first; returns how many.

    An event leaves the waiting room in the transaction that links it, so whoever is killed here loses and doubles
    nothing, and several may do it at once.

    Args:
        most: so many in one transaction at most; acts on the project wait that long.
        skipped: told the id of a project whose events go on waiting, and why; those of the others are linked.
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
                .returning(*_readable(session, _WAITING))
            )
            rows = sorted(session.connection().execute(taken).mappings().all(), key=lambda row: row["id"])
            _link(session, project_id, [_whole(row) for row in rows])
        linked += len(rows)
        if len(rows) < most:
            return linked


def _whole(waiting: Mapping[Any, Any]) -> dict[str, Any]:
    """An event that waited, as it is linked. One that somebody made unreadable is linked as far as it can be read."""
    event = {name: waiting[name] for name in waiting if name != "id"}
    texts = {name: _text(field) for name, field in event.items() if name != "at"}
    return texts | {"at": _as_moment(event["at"]) or utc_now()}


def _text(field: Any) -> str:
    return field.decode(errors="replace") if isinstance(field, bytes) else str(field)


def waiting_events(db: Database) -> int:
    """Return how many events wait to be linked."""
    with db.reading() as session:
        return session.exec(select(func.count()).select_from(WaitingAuditEvent)).one()


def _hold_chain(session: Session, project_id: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        key = func.hashtextextended(f"sealrun audit {project_id}", 0)
        session.execute(select(func.pg_advisory_xact_lock(key)))


def _link(session: Session, project_id: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Add events to the end of a chain; on PostgreSQL it is held until the transaction ends."""
    _hold_chain(session, project_id)
    last = session.exec(
        select(AuditEvent.sequence, AuditEvent.hash)
        .where(AuditEvent.project_id == project_id)
        .order_by(col(AuditEvent.sequence).desc())
        .limit(1)
    ).first()
    sequence, previous_hash = last or (0, FIRST_PREVIOUS_HASH)
    events = list(events)
    # SQLite takes text and bytes for a number; PostgreSQL has no number beyond the last.
    if not (isinstance(sequence, int) and isinstance(previous_hash, str) and sequence <= _LAST - len(events)):
        raise RowUnreadable(
            "the audit chain of project id {project_id} takes no further event: its last one is none that "
            "sealrun wrote",
            project_id=project_id,
            hint="sealrun audit verify names it; ask who can write to the database",
        )
    rows = []
    for event in events:
        sequence += 1
        row = {**event, "sequence": sequence, "previous_hash": previous_hash}
        previous_hash = _hash(row)
        rows.append(row | {"hash": previous_hash})
    if rows:
        session.connection().execute(insert(AuditEvent), rows)


def _event(project_id: str, project: str, actor: Actor, act: Act, at: datetime) -> dict[str, Any]:
    event = {
        "project_id": project_id,
        "project": project,
        "at": at,
        "actor": actor.name,
        "origin": actor.origin,
        "action": act.action,
        "subject": act.subject,
        "detail": json.dumps(dict(act.detail), sort_keys=True),
        "outcome": act.outcome,
    }
    return event | {name: str(event[name])[:room] for name, room in _ROOM.items()}


def list_events(db: Database, project: str, *, limit: int | None = None, only: Filter | None = None) -> list[EventView]:
    """Return a project's events in the order of their chain, those of deleted projects of the same name first.

    Args:
        limit: at most so many, the newest.
        only: which.

    Raises:
        UnknownProject: no project ever had this name.
    """
    found: list[EventView] = []
    with db.reading() as session:
        for project_id in _youngest_first(session, project):
            left = None if limit is None else limit - len(found)
            newest_first = (
                select(*_readable(session, _COLUMNS))
                .where(AuditEvent.project_id == project_id, *_wanted(only or Filter()))
                .order_by(col(AuditEvent.sequence).desc())
                .limit(left)
            )
            rows = session.execute(newest_first).mappings()
            found += [EventView(**{**row, "at": _as_moment(row["at"])}) for row in rows]
            if len(found) == limit:
                break
    return found[::-1]


def _wanted(only: Filter) -> Iterator[ColumnElement[bool]]:
    if only.since is not None:
        yield col(AuditEvent.at) >= only.since
    texts = (
        (col(AuditEvent.actor), only.actor),
        (col(AuditEvent.action), only.action),
        (col(AuditEvent.subject), only.subject),
    )
    for column, text in texts:
        if text is not None and text.endswith("*"):
            # Not LIKE, which takes a for A on one of the two databases.
            yield func.substr(column, 1, len(text) - 1) == text[:-1]
        elif text is not None:
            yield column == text


def verify(db: Database, project: str, *, expect: Head | None = None) -> VerifyResult:
    """Walk a project's chain in batches and names the first event that is not as it was written.

    Deleted projects of the same name are walked too; `checked` counts all, `head` is of the living project's chain,
    where there is none of the youngest.

    Args:
        expect: a head that was kept elsewhere: the event must still be there.

    Raises:
        UnknownProject: no project ever had this name.
    """
    checked, there = 0, expect is None
    heads: list[tuple[str, Head]] = []
    with db.reading() as session:
        # The living project's first, whatever the events say: who adds some under another id must not choose whose
        # head is told.
        for project_id in _youngest_first(session, project):
            head = Head(FIRST_PREVIOUS_HASH, 0)
            for row in _rows(session, project_id):
                expected = (head.sequence or 0) + 1
                if why := _fault(row, expected, head.hash):
                    return VerifyResult(project, project_id, checked, str(head), expected, why)
                head = Head(row["hash"], expected)
                there = there or (expect is not None and _is(head, expect))
                checked += 1
            if head.sequence == 0:
                why = "event 1 is missing: the project has no events"
                return VerifyResult(project, project_id, checked, str(head), 1, why)
            heads.append((project_id, head))
    project_id, head = heads[0]
    longest = max(found.sequence or 0 for _, found in heads)
    missing = None if there or expect is None else _missing(expect, longest)
    return VerifyResult(project, project_id, checked, str(head), None, missing)


def _is(head: Head, expect: Head) -> bool:
    return head.hash == expect.hash and expect.sequence in (None, head.sequence)


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
    """Yield what `_chains` returns, the living project's at once: finding the others takes a walk over all events."""
    living = session.exec(select(Project.id).where(Project.name == project)).first()
    if living:
        yield living
    yield from (project_id for project_id in reversed(_chains(session, project)) if project_id != living)


def _chains(session: Session, project: str) -> list[str]:
    """Return the ids of the projects that had this name, oldest first, and the living one in any case."""
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


def _rows(session: Session, project_id: str) -> Iterator[dict[str, Any]]:
    """Yield a chain's rows, a batch at a time: memory does not grow with the chain."""
    connection, after = session.connection(), -1
    columns = _readable(session, _COLUMNS)
    while True:
        batch = connection.execute(
            select(*columns)
            .where(AuditEvent.project_id == project_id, col(AuditEvent.sequence) > after)
            .order_by(col(AuditEvent.sequence))
            .limit(_BATCH)
        ).all()
        for row in batch:
            yield dict(zip(_NAMES, row, strict=True))
        if len(batch) < _BATCH:
            return
        after = batch[-1].sequence


def _fault(row: dict[str, Any], expected: int, previous_hash: str) -> str | None:
    if row["sequence"] != expected:
        return f"event {expected} is missing: the next one there is {row['sequence']}"
    if row["previous_hash"] != previous_hash:
        return f"event {expected} does not follow the one before it: one of the two was moved or rewritten"
    if not _has_its_hash(row):
        return f"event {expected} was changed, or moved: its hash is not that of its fields"
    return None


def _hash(row: dict[str, Any]) -> str:
    fields = row | {"at": _moment(row["at"])}
    fields.pop("hash", None)
    return sha256(_CANONICAL.encode(fields).encode()).hexdigest()


def _has_its_hash(row: dict[str, Any]) -> bool:
    try:
        return bool(row["hash"] == _hash(row))
    except TypeError:  # a field holds what no event does: SQLite takes bytes for text
        return False


def _moment(at: datetime | str | None) -> str | None:
    """As it is hashed, which is also how SQLite keeps it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(at, datetime) else at


def _readable(session: Session, columns: Iterable[Any]) -> list[Any]:
    """Columns whose moments are no error when somebody made them unreadable: SQLite's as they are stored.

    PostgreSQL has moments that Python has not, `infinity` among them; those become NULL.
    """
    if session.get_bind().dialect.name == "sqlite":
        return [type_coerce(column, String).label("at") if column.name == "at" else column for column in columns]
    first, last = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
    return [
        case((column.between(first, last), column)).label("at") if column.name == "at" else column for column in columns
    ]


def _as_moment(at: Any) -> datetime | None:
    try:
        return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    except (ValueError, OverflowError, AttributeError):
        return None
