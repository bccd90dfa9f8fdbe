"""Links that work once: the one with which the first admin is made."""

from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_rows
from sqlmodel import col

from executor.errors import LinkSpent
from executor.people import accounts, passwords, sessions
from executor.people.holding import grants_of
from executor.people.opaque import digest, new_opaque
from executor.people.principal import INSTALLATION, Principal
from executor.people.record import record
from executor.people.sessions import NewSession
from executor.people.tables import Link
from secretstore.audit import Act, Actor
from secretstore.database import Database

FIRST_ADMIN, MINUTES = "first admin", 10


def make_first_admin_link(db: Database) -> str | None:
    """Return the secret of a link with which the first admin is made; None where there is one.

    One made before ends. It belongs into a page that only this machine's user can read, and into a URL's fragment.
    """
    secret = new_opaque()
    with db.writing() as session:
        accounts.hold_admins(session)
        if accounts.has_admin(session):
            return None
        session.execute(delete_rows(Link).where(col(Link.purpose) == FIRST_ADMIN))
        now = session.execute(select_rows(db.after(MINUTES * 60))).scalar_one()
        session.add(Link(digest=digest(secret), purpose=FIRST_ADMIN, expires_at=now))
    return secret


def spend_first_admin_link(
    db: Database, secret: str, name: str, password: str, address: str, *, origin: str = "api"
) -> NewSession:
    """Make the first admin, and log them in; the link is spent then.

    Raises:
        LinkSpent: it was used, is too old, or there is an admin.
        NameRefused, PasswordRefused, AlreadyExists: it cannot be; the link is still in force.
    """
    accounts.check_account_name(name)
    kept = passwords.hashed(password, name)
    actor = Actor(name, origin)
    with accounts.named_once(name), db.writing() as session:
        accounts.hold_admins(session)
        spent = (
            delete_rows(Link)
            .where(
                col(Link.digest) == digest(secret), col(Link.purpose) == FIRST_ADMIN, col(Link.expires_at) > db.now()
            )
            .returning(col(Link.digest))
        )
        if session.execute(spent).first() is None or accounts.has_admin(session):
            raise LinkSpent(minutes=MINUTES)
        account = accounts.add(session, db, "person", name, accounts.LOCAL, name, actor)
        account.password, account.logged_in_at = kept, account.created_at
        admin = accounts.give_admin(session, db, account, actor)
        cookie = sessions.begin(db, session, account.id, address)
        principal = Principal("person", account.id, name, grants_of(db, session, account.id), way="session")
        made = Act("user.create", name, {"account_id": account.id, "kind": "person", "by": "first admin link"})
        record(session, INSTALLATION, actor, made, admin)
    return NewSession(cookie, principal)
