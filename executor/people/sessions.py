"""Sessions of browsers: an opaque id in a cookie, its digest in a row. The row's end is the session's."""

from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlmodel import Session, col, delete

from executor.errors import Unauthenticated
from executor.people.holding import grants_of
from executor.people.opaque import digest, new_opaque
from executor.people.principal import FRESH_MINUTES, Principal
from executor.people.tables import Account, BrowserSession
from secretstore.database import Database

IDLE_SECONDS = 2 * 3600
LONGEST_SECONDS = 12 * 3600
"""A session ends so long after its last use, and so long after its log-in whatever is done with it."""

_GRACE_SECONDS = 10
"""How long a changed id still counts: requests that were under way have it."""
_SEEN_SECONDS = 60


@dataclass(frozen=True)
class NewSession:
    """A session that has begun: what the cookie is to hold, and whose it is."""

    cookie: str = field(repr=False)
    principal: Principal


def authenticate_session(db: Database, cookie: str) -> Principal:
    """Return who a cookie stands for, with what they may do now.

    Raises:
        Unauthenticated: there is no such session, it is over, or its owner is disabled.
    """
    if not cookie:
        raise _over()
    with db.reading() as session:
        found = session.execute(
            select(
                BrowserSession,
                Account,
                col(BrowserSession.asked_at) > db.after(-FRESH_MINUTES * 60),
                col(BrowserSession.seen_at) < db.after(-_SEEN_SECONDS),
                col(BrowserSession.digest) == digest(cookie),
            )
            .join(Account, col(Account.id) == col(BrowserSession.account_id))
            .where(_is(db, cookie), *_in_force(db))
        ).first()
        if found is None:
            raise _over()
        row, account, fresh, unseen, current = found
        owned = grants_of(db, session, account.id)
    if unseen:
        _touch(db, row.digest)
    return Principal(
        "person", account.id, account.name, owned, way="session", fresh=bool(fresh), renew=row.renew and bool(current)
    )


def begin(db: Database, session: Session, account_id: str, address: str, replaced: str | None = None) -> str:
    """Begin a session in the caller's transaction; return what the cookie is to hold.

    Args:
        replaced: the cookie that the browser had before: a log-in ends that session.
    """
    cookie = new_opaque()
    if replaced:
        session.execute(delete(BrowserSession).where(col(BrowserSession.digest) == digest(replaced)))
    now = session.execute(select(db.now())).scalar_one()
    session.add(
        BrowserSession(
            digest=digest(cookie),
            account_id=account_id,
            created_at=now,
            asked_at=now,
            seen_at=now,
            expires_at=now + timedelta(seconds=LONGEST_SECONDS),
            address=address,
        )
    )
    return cookie


def renew(db: Database, cookie: str) -> str | None:
    """Change a session's id, which somebody may have seen who should not; None if another request just did so."""
    new = new_opaque()
    changed = (
        update(BrowserSession)
        .where(col(BrowserSession.digest) == digest(cookie))
        .values(
            digest=digest(new),
            renew=False,
            previous_digest=digest(cookie),
            previous_until=db.after(_GRACE_SECONDS),
        )
        .returning(col(BrowserSession.account_id))
    )
    with db.writing() as session:
        return new if session.execute(changed).first() is not None else None


def proved_again(db: Database, cookie: str) -> str | None:
    """Note that the credential was given again, and change the session's id; see `renew`."""
    with db.writing() as session:
        session.execute(
            update(BrowserSession).where(col(BrowserSession.digest) == digest(cookie)).values(asked_at=db.now())
        )
    return renew(db, cookie)


def end(db: Database, cookie: str) -> None:
    """Log out: the session is over in every process."""
    with db.writing() as session:
        session.execute(delete(BrowserSession).where(_is(db, cookie)))


def _is(db: Database, cookie: str) -> ColumnElement[bool]:
    shown = digest(cookie)
    before = and_(col(BrowserSession.previous_digest) == shown, col(BrowserSession.previous_until) > db.now())
    return or_(col(BrowserSession.digest) == shown, before)


def _in_force(db: Database) -> tuple[ColumnElement[bool], ...]:
    return (
        col(BrowserSession.expires_at) > db.now(),
        col(BrowserSession.seen_at) > db.after(-IDLE_SECONDS),
        col(Account.disabled_at).is_(None),
    )


def _touch(db: Database, kept: str) -> None:
    """Note that it is used, once a minute at most: of many requests at a time one writes."""
    unseen = (col(BrowserSession.digest) == kept, col(BrowserSession.seen_at) < db.after(-_SEEN_SECONDS))
    with db.writing() as session:
        session.execute(update(BrowserSession).where(*unseen).values(seen_at=db.now()))


def _over() -> Unauthenticated:
    return Unauthenticated("nobody is logged in here, or the session is over", hint="log in again")
