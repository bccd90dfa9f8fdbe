"""Accounts: people and service accounts, made, listed, disabled, enabled and deleted."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from executor.errors import LastAdmin, UnknownAccount
from executor.people import passwords
from executor.people.holding import end_all, end_sessions
from executor.people.principal import INSTALLATION
from executor.people.record import record
from executor.people.roles import ADMIN
from executor.people.tables import EVERY, Account, BrowserSession, Group, GroupMember, Membership, Token
from executor.schemas.people import AccountView
from secretstore.audit import Act, Actor
from secretstore.database import Database
from secretstore.errors import AlreadyExists, NameRefused

LOCAL, SERVICE = "local", "service"
"""Issuers that are none: of people with a password here, and of service accounts."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}")
_ADMIN_PLACE = (
    col(Membership.role) == ADMIN,
    col(Membership.project_id) == EVERY,
    col(Membership.environment_id) == EVERY,
)


def create(
    db: Database,
    name: str,
    *,
    password: str | None = None,
    service: bool = False,
    admin: bool = False,
    actor: Actor,
) -> AccountView:
    """Make a person with a password, or a service account without one.

    Raises:
        NameRefused, PasswordRefused: it cannot be.
        AlreadyExists: somebody has the name.
    """
    check_account_name(name)
    kept = None if service else passwords.hashed(password or "", name)  # slow, and so outside the transaction
    with named_once(name), db.writing() as session:
        account = add(session, db, "service" if service else "person", name, SERVICE if service else LOCAL, name, actor)
        account.password = kept
        session.flush()
        acts = [Act("user.create", name, {"account_id": account.id, "kind": account.kind, "issuer": account.issuer})]
        if admin:
            acts.append(give_admin(session, db, account, actor))
        record(session, INSTALLATION, actor, *acts)
        return view(account, admin)


def add(session: Session, db: Database, kind: str, name: str, issuer: str, subject: str, actor: Actor) -> Account:
    """Add the row of an account in the caller's transaction."""
    account = Account(
        kind=kind, name=name, issuer=issuer, subject=subject, created_at=_now(session, db), created_by=actor.name
    )
    session.add(account)
    session.flush()
    return account


def give_admin(session: Session, db: Database, account: Account, actor: Actor) -> Act:
    """Make an account an admin of the installation; return what the record is to say."""
    session.add(
        Membership(
            holder_id=account.id,
            project_id=EVERY,
            environment_id=EVERY,
            role=ADMIN,
            given_at=_now(session, db),
            given_by=actor.name,
        )
    )
    session.flush()
    detail = {"role": ADMIN, "place": INSTALLATION.shown, "holder_id": account.id, "kind": account.kind}
    return Act("member.add", f"{account.name}: {ADMIN} of {INSTALLATION.shown}", detail)


def list_accounts(db: Database) -> list[AccountView]:
    """Return all accounts by name."""
    with db.reading() as session:
        admins = set(session.exec(select(Membership.holder_id).where(*_ADMIN_PLACE)))
        return [view(one, one.id in admins) for one in session.exec(select(Account).order_by(col(Account.name)))]


def get(db: Database, name: str) -> AccountView:
    """Return an account.

    Raises:
        UnknownAccount: there is none of this name.
    """
    with db.reading() as session:
        account = account_named(session, name)
        return view(account, _is_admin(session, account.id))


def account_named(session: Session, name: str) -> Account:
    """Return the row of an account.

    Raises:
        UnknownAccount: there is none of this name.
    """
    found = session.exec(select(Account).where(Account.name == name)).first()
    if found is None:
        raise UnknownAccount(name=name)
    return found


def disable(db: Database, name: str, *, actor: Actor) -> AccountView:
    """Keep an account out: its sessions and tokens end at once, for good; its roles stay.

    Raises:
        UnknownAccount: there is none of this name.
        LastAdmin: nobody else is admin.
    """
    with db.writing() as session, keeping_an_admin(session, name):
        account = account_named(session, name)
        if account.disabled_at is None:
            account.disabled_at, account.disabled_by = _now(session, db), actor.name
            session.add(account)
        end_all(db, session, account.id, actor.name)
        record(session, INSTALLATION, actor, Act("user.disable", name, {"account_id": account.id}))
        return view(account, _is_admin(session, account.id))


def enable(db: Database, name: str, *, actor: Actor) -> AccountView:
    """Let a disabled account in again; it has to log in, and to make new tokens.

    Raises:
        UnknownAccount: there is none of this name.
    """
    with db.writing() as session:
        account = account_named(session, name)
        account.disabled_at = account.disabled_by = None
        session.add(account)
        record(session, INSTALLATION, actor, Act("user.enable", name, {"account_id": account.id}))
        return view(account, _is_admin(session, account.id))


def delete_account(db: Database, name: str, *, actor: Actor) -> AccountView:
    """Delete an account with its roles, sessions and tokens. Who has an issuer may log in anew, without any role.

    Raises:
        UnknownAccount: there is none of this name.
        LastAdmin: nobody else is admin.
    """
    with db.writing() as session, keeping_an_admin(session, name):
        account = account_named(session, name)
        was = view(account, _is_admin(session, account.id))
        session.execute(delete(BrowserSession).where(col(BrowserSession.account_id) == account.id))
        session.execute(delete(Token).where(col(Token.account_id) == account.id))
        session.execute(delete(GroupMember).where(col(GroupMember.account_id) == account.id))
        session.execute(delete(Membership).where(col(Membership.holder_id) == account.id))
        session.delete(account)
        record(session, INSTALLATION, actor, Act("user.delete", name, {"account_id": account.id}))
    return was


def set_password(db: Database, name: str, password: str, *, actor: Actor) -> AccountView:
    """Set the password of a person who has one; all their sessions end.

    Raises:
        UnknownAccount: there is none of this name.
        NameRefused: it is a service account, or an issuer vouches for this person.
        PasswordRefused: it cannot be.
    """
    kept = passwords.hashed(password, name)
    with db.writing() as session:
        account = account_named(session, name)
        if account.issuer != LOCAL:
            raise NameRefused(name=name, why="it has no password here, and never has one")
        account.password = kept
        session.add(account)
        end_sessions(session, account.id)
        record(session, INSTALLATION, actor, Act("user.password", name, {"account_id": account.id}))
        return view(account, _is_admin(session, account.id))


def has_admin(session: Session) -> bool:
    """Whether anybody is admin of the installation, be it a group."""
    return session.exec(select(Membership.holder_id).where(*_ADMIN_PLACE).limit(1)).first() is not None


@contextmanager
def keeping_an_admin(session: Session, name: str) -> Iterator[None]:
    """Refuse a change after which nobody could log in as admin, where somebody can. Two changes wait for each other.

    Raises:
        LastAdmin: of the name given.
    """
    hold_admins(session)
    before = _admins(session)
    yield
    session.flush()
    if before and not _admins(session):
        raise LastAdmin(name=name)


def hold_admins(session: Session) -> None:
    """Keep others from changing who is admin until the transaction ends; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("sealrun admins", 0))))


def check_account_name(name: str) -> None:
    """Refuse a name that an account cannot have.

    Raises:
        NameRefused: it breaks the rule.
    """
    if not _NAME.fullmatch(name):
        raise NameRefused(name=name, why="it has to be 1 to 63 of a-z, 0-9 and . _ @ + -, with a letter or digit first")


@contextmanager
def named_once(name: str) -> Iterator[None]:
    """Report a second account of a name as `AlreadyExists`: two may make it at once."""
    try:
        yield
    except IntegrityError:
        raise AlreadyExists(what="user", name=name) from None


def view(account: Account, admin: bool = False) -> AccountView:
    """An account as it is shown."""
    shown: dict[str, Any] = {name: getattr(account, name) for name in AccountView.model_fields if name != "admin"}
    return AccountView(**shown, admin=admin)


def holder_named(session: Session, db: Database, name: str, *, group: bool, issuer: str | None) -> Account | Group:
    """Return who is to have a role; a group that no log-in has told of yet is made.

    Raises:
        UnknownAccount: there is no such account, or it is not clear whose group it is.
    """
    if not group:
        return account_named(session, name)
    if issuer is None:
        people = select(Account.issuer).where(Account.kind == "person", Account.issuer != LOCAL)
        known = {*session.exec(people), *session.exec(select(Group.issuer))}
        if len(known) != 1:
            raise UnknownAccount('whose group is "{name}"?', name=name, hint="give its issuer's URL: --issuer URL")
        (issuer,) = known
    found = session.exec(select(Group).where(Group.issuer == issuer, Group.name == name)).first()
    if found is None:
        found = Group(issuer=issuer, name=name)
        session.add(found)
        session.flush()
    return found


def _admins(session: Session) -> int:
    able = (col(Account.kind) == "person", col(Account.disabled_at).is_(None))
    found = select(func.count()).select_from(Membership).join(Account, col(Account.id) == col(Membership.holder_id))
    return int(session.execute(found.where(*_ADMIN_PLACE, *able)).scalar_one())


def _is_admin(session: Session, account_id: str) -> bool:
    return session.exec(select(Membership).where(Membership.holder_id == account_id, *_ADMIN_PLACE)).first() is not None


def _now(session: Session, db: Database) -> Any:
    return session.execute(select(db.now())).scalar_one()
