"""How people log in: with a password that is kept here, or because an issuer says who they are."""

import re
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, col, delete, select

from executor.errors import TooManyAttempts, Unauthenticated
from executor.people import accounts, passwords, sessions, throttle
from executor.people.accounts import LOCAL
from executor.people.holding import grants_of, rights_changed
from executor.people.principal import INSTALLATION, Principal
from executor.people.record import record
from executor.people.sessions import NewSession
from executor.people.tables import Account, Group, GroupMember
from secretstore.audit import Act, Actor
from secretstore.database import Database
from secretstore.errors import AlreadyExists

MOST_GROUPS = 500
_STRANGE = re.compile(r"[^a-z0-9._@+-]+")


def log_in(
    db: Database, name: str, password: str, address: str, *, origin: str = "api", replaced: str | None = None
) -> NewSession:
    """Begin a session for a name and its password.

    A name that nobody has, a wrong password and a disabled person are answered in the same words, after the same work.

    Args:
        address: from where; attempts from one network count together.
        replaced: the cookie that the browser had, whose session ends.

    Raises:
        TooManyAttempts: for this name, or from there.
        Unauthenticated: it is not right.
    """
    account_id = check_password(db, name, password, address, origin)
    with db.writing() as session:
        account = session.get_one(Account, account_id)
        return _begun(db, session, account, address, origin, replaced, {"by": "password"})


def prove_again(db: Database, cookie: str, password: str, address: str, *, origin: str = "api") -> NewSession:
    """Give the password again, for what asks for it; the session goes on under a new id.

    Raises:
        TooManyAttempts: as `log_in`.
        Unauthenticated: there is no session, or the password is not right.
    """
    principal = sessions.authenticate_session(db, cookie)
    check_password(db, principal.name, password, address, origin)
    new = sessions.proved_again(db, cookie)
    if new is None:
        raise Unauthenticated()
    return NewSession(new, sessions.authenticate_session(db, new))


def log_in_oidc(
    db: Database,
    issuer: str,
    subject: str,
    wanted_name: str,
    groups: Iterable[str],
    address: str,
    *,
    origin: str = "api",
    replaced: str | None = None,
) -> NewSession:
    """Begin a session for whom an issuer vouches for, in a token that the door has verified.

    The first time makes an account, without a role. The groups are those of this log-in: what others gave ends.

    Args:
        wanted_name: how the person is called, if nobody else is; it identifies nobody.

    Raises:
        Unauthenticated: the person is disabled.
    """
    said = {name[:255] for name in list(groups)[:MOST_GROUPS]}
    try:
        with accounts.named_once(wanted_name), db.writing() as session:
            account = _vouched(db, session, issuer, subject, wanted_name, origin)
            if account.disabled_at is not None:
                raise Unauthenticated()
            _set_groups(db, session, account, said)
            return _begun(db, session, account, address, origin, replaced, {"by": issuer})
    except AlreadyExists:  # two first log-ins at once: the other one has made the account, the group or the name
        return log_in_oidc(db, issuer, subject, wanted_name, said, address, origin=origin, replaced=replaced)


def check_password(db: Database, name: str, password: str, address: str, origin: str) -> str:
    """Return the id of the account whose name and password these are.

    Raises:
        TooManyAttempts, Unauthenticated: as `log_in`.
    """
    of, where = (throttle.LOG_IN_OF_ACCOUNT, name), (throttle.LOG_IN_FROM_ADDRESS, throttle.site_of(address))
    with db.reading() as session:
        found = session.exec(select(Account).where(Account.issuer == LOCAL, Account.subject == name)).first()
    try:
        throttle.take(db, of, where)
    except TooManyAttempts as refused:
        if refused.names["first"]:
            _tell_refused(db, found, address, origin)
        raise
    fits = passwords.fits(found.password if found is not None else None, password)
    if found is None or not fits or found.disabled_at is not None:
        raise Unauthenticated("name or password is wrong", hint="an admin can set a new password")
    throttle.forget(db, *of)
    if found.password is not None and passwords.is_outdated(found.password):
        _rehash(db, found.id, found.password, password)
    return found.id


def _rehash(db: Database, account_id: str, kept: str, password: str) -> None:
    new = passwords.rehashed(password)
    with db.writing() as session:
        account = session.get(Account, account_id)
        if account is not None and account.password == kept:  # else it was changed meanwhile
            account.password = new
            session.add(account)


def _begun(
    db: Database, session: Session, account: Account, address: str, origin: str, replaced: str | None,
    detail: dict[str, object],
) -> NewSession:  # fmt: skip
    account.logged_in_at = session.execute(select(db.now())).scalar_one()
    session.add(account)
    cookie = sessions.begin(db, session, account.id, address, replaced)
    principal = Principal("person", account.id, account.name, grants_of(db, session, account.id), way="session")
    act = Act("user.log-in", account.name, {"account_id": account.id, "address": address, **detail})
    record(session, INSTALLATION, principal.as_actor(origin), act)
    return NewSession(cookie, principal)


def _vouched(db: Database, session: Session, issuer: str, subject: str, wanted: str, origin: str) -> Account:
    found = session.exec(select(Account).where(Account.issuer == issuer, Account.subject == subject)).first()
    if found is not None:
        return found
    bare = _STRANGE.sub("-", wanted.lower()).strip("._@+-")[:50] or "somebody"
    name, number = bare, 1
    while session.exec(select(Account.id).where(Account.name == name)).first() is not None:
        number += 1
        name = f"{bare}-{number}"
    account = accounts.add(session, db, "person", name, issuer, subject, Actor(name, origin))
    detail: dict[str, Any] = {"account_id": account.id, "kind": "person", "issuer": issuer}
    record(session, INSTALLATION, Actor(name, origin), Act("user.create", name, detail))
    return account


def _set_groups(db: Database, session: Session, account: Account, names: set[str]) -> None:
    """Keep what this log-in says of somebody's groups, and end what groups gave that they left."""
    known = {one.name: one for one in session.exec(select(Group).where(Group.issuer == account.issuer))}
    for name in names - known.keys():
        known[name] = Group(issuer=account.issuer, name=name)
        session.add(known[name])
    session.flush()
    ids = {known[name].id for name in names}
    before = set(session.exec(select(GroupMember.group_id).where(GroupMember.account_id == account.id)))
    session.execute(delete(GroupMember).where(col(GroupMember.account_id) == account.id))
    now: Any = session.execute(select(db.now())).scalar_one()
    session.add_all(GroupMember(group_id=one, account_id=account.id, said_at=now) for one in ids)
    if before != ids:
        rights_changed(db, session, [account.id], account.name, left=bool(before - ids))


def _tell_refused(db: Database, found: Account | None, address: str, origin: str) -> None:
    """Record, once a window, that attempts are refused. A name that nobody has may be a mistyped password."""
    name = found.name if found is not None else "(unknown)"
    with db.writing() as session:
        act = Act("user.log-in", name, {"address": address, "why": "too many attempts"}, "refused")
        record(session, INSTALLATION, Actor(name, origin), act)
