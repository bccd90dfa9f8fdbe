"""Answers to requests with an Idempotency-Key: a request that is sent again is answered, and not done, again.

Not for requests or answers with a credential in them: the answer is kept, and a digest of the body. A token would be
stored in plain, and a password could be guessed by its digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col

from executor.errors import AnswerPending, KeyOfAnother, RequestUnclear
from executor.people.tables import EVERY, Answer
from secretstore.database import Database, table_of

HOURS = 24
LONGEST = 255
_PENDING_SECONDS = 120
"""After so long whoever was to answer is taken for dead, and the request is done by the next one."""


@dataclass(frozen=True)
class Request:
    """What an answer belongs to. Two people, projects or routes may have the same key."""

    principal_id: str
    project_id: str | None
    route: str
    key: str
    body: bytes = field(repr=False)

    @property
    def place(self) -> dict[str, str]:
        """The key of its row."""
        return {
            "principal_id": self.principal_id,
            "project_id": self.project_id or EVERY,
            "route": self.route,
            "key": self.key,
        }


@dataclass(frozen=True)
class Stored:
    """An answer that was given."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def begin(db: Database, request: Request) -> Stored | None:
    """Return the answer that this request had; None if it is to be done now: `finish` or `give_up` follows.

    Of several that come at once one is done.

    Raises:
        RequestUnclear: the key is empty or too long.
        AnswerPending: it is being done.
        KeyOfAnother: the key's request had another body.
    """
    if not 0 < len(request.key) <= LONGEST:
        raise RequestUnclear("an Idempotency-Key has 1 to {longest} characters", longest=LONGEST)
    body_digest = sha256(request.body).hexdigest()
    table = table_of(Answer)
    insert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    values: dict[str, Any] = {
        **request.place,
        "body_digest": body_digest,
        "begun_at": db.now(),
        "expires_at": db.after(HOURS * 3600),
    }
    # An old one is begun anew in the same statement: of two that find it over, one has it.
    dead = sa.and_(table.c.status.is_(None), table.c.begun_at <= db.after(-_PENDING_SECONDS))
    dead = sa.and_(dead, table.c.body_digest == body_digest)
    anew = {**{name: values[name] for name in ("body_digest", "begun_at", "expires_at")}, "status": None}
    begun = (
        insert(table)
        .values(**values)
        .on_conflict_do_update(
            index_elements=list(request.place),
            set_={**anew, "headers": None, "body": None},
            where=sa.or_(table.c.expires_at <= db.now(), dead),
        )
        .returning(table.c.key)
    )
    with db.writing() as session:
        if session.connection().execute(begun).first() is not None:
            return None
        found = session.get_one(Answer, request.place)
        if found.body_digest != body_digest:
            raise KeyOfAnother()
        if found.status is None:
            raise AnswerPending()
        return Stored(found.status, _headers(found.headers), found.body or b"")


def finish(db: Database, request: Request, answer: Stored) -> None:
    """Keep the answer to a request that `begin` let through."""
    kept = {"status": answer.status, "headers": _text(answer.headers), "body": answer.body}
    with db.writing() as session:
        session.execute(sa.update(Answer).where(*_is(request)).values(**kept))


def give_up(db: Database, request: Request) -> None:
    """Forget a request that was not done, as after an error of ours: the next one with this key is done."""
    with db.writing() as session:
        session.execute(sa.delete(Answer).where(*_is(request), col(Answer.status).is_(None)))


def _is(request: Request) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(table_of(Answer).c[name] == value for name, value in request.place.items())


def _text(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


def _headers(text: str | None) -> dict[str, str]:
    pairs = (line.partition(": ") for line in (text or "").splitlines())
    return {name: value for name, _, value in pairs}
