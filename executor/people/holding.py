"""What an account has, itself and by its groups, and what a change of that ends."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, or_, update
from sqlmodel import Session, col, delete, select

from executor.errors import Forbidden, UnknownAccount
from executor.people.principal import Grant, Principal
from executor.people.tables import Account, BrowserSession, GroupMember, Membership, Token
from secretstore.database import Database

GROUPS_HOLD_HOURS = 24
"""How long what a log-in said of somebody's groups is believed: an issuer tells of nobody who left."""


def grants_of(db: Database, session: Session, account_id: str) -> tuple[Grant, ...]:
    """Return what an account has at this moment."""
    groups = select(GroupMember.group_id).where(
        GroupMember.account_id == account_id, col(GroupMember.said_at) > db.after(-GROUPS_HOLD_HOURS * 3600)
    )
    query = select(Membership.role, Membership.project_id, Membership.environment_id).where(
        or_(col(Membership.holder_id) == account_id, col(Membership.holder_id).in_(groups))
    )
    return tuple(Grant.of(*row) for row in session.exec(query))


def require_over(db: Database, by: Principal, name: str) -> None:
    """Refuse what would give power over an account that has more than who acts, such as setting its password.

    Raises:
        UnknownAccount: there is none of this name.
        Forbidden: it has more, somewhere.
    """
    with db.reading() as session:
        account = session.exec(select(Account).where(Account.name == name)).first()
        if account is None:
            raise UnknownAccount(name=name)
        owned = grants_of(db, session, account.id)
    for grant in owned:
        if not grant.verbs <= by.verbs(grant.project_id or None, grant.environment_id or None):
            raise Forbidden(
                "{name} may not do this to {whose}, who has more than {name}",
                name=by.name,
                whose=name,
                hint="ask an admin",
            )


def end_all(db: Database, session: Session, account_id: str, by: str) -> None:
    """End all sessions and tokens of an account. One that is enabled again has to log in, and to make new tokens."""
    session.execute(delete(BrowserSession).where(col(BrowserSession.account_id) == account_id))
    _revoke(db, session, col(Token.account_id) == account_id, by)


def end_sessions(session: Session, account_id: str) -> None:
    """End all sessions of an account, as when its password changes."""
    session.execute(delete(BrowserSession).where(col(BrowserSession.account_id) == account_id))


def rights_changed(db: Database, session: Session, account_ids: Iterable[str], by: str, *, left: bool = False) -> None:
    """Give sessions of these accounts new ids at their next use, and end the tokens whose owner has lost their rights.

    Rights are looked up at each use anyway; a token that nobody could make today does not come back with them.

    Args:
        left: they left a group: their sessions end.
    """
    session.flush()
    for account_id in account_ids:
        of = col(BrowserSession.account_id) == account_id
        session.execute(
            delete(BrowserSession).where(of) if left else update(BrowserSession).where(of).values(renew=True)
        )
        owned = grants_of(db, session, account_id)
        mine = select(Token).where(Token.account_id == account_id, col(Token.revoked_at).is_(None))
        lost = [token.id for token in session.exec(mine) if token.role is not None and not _is_covered(token, owned)]
        if lost:
            _revoke(db, session, col(Token.id).in_(lost), by)


def _is_covered(token: Token, owned: tuple[Grant, ...]) -> bool:
    wanted = Grant.of(token.role, token.project_id, token.environment_id)
    has = (grant.verbs for grant in owned if grant.covers(token.project_id or None, token.environment_id or None))
    return wanted.verbs <= frozenset().union(*has)


def _revoke(db: Database, session: Session, which: ColumnElement[bool], by: str) -> None:
    live = update(Token).where(which, col(Token.revoked_at).is_(None))
    session.execute(live.values(revoked_at=db.now(), revoked_by=by))
