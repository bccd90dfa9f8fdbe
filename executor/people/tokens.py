"""API tokens: made, told from what is none, found, listed and ended. Their shape is in `masking.token_shape`."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from executor.errors import Forbidden, RequestUnclear, Unauthenticated, UnknownToken
from executor.masking.token_shape import ALPHABET, RANDOM, is_token, whole
from executor.people.accounts import account_named
from executor.people.holding import grants_of
from executor.people.opaque import digest
from executor.people.principal import INSTALLATION, Grant, Place, Principal
from executor.people.record import record
from executor.people.roles import Verb, role_named
from executor.people.tables import EVERY, Account, Token
from executor.schemas.people import NewTokenView, TokenView
from secretstore.audit import Act, Actor
from secretstore.database import Database
from secretstore.models import Environment, Project

KINDS = {"person": "p", "service": "s", "command line": "c"}
"""The letter after `srn_`: whose it is, or that `sealrun login` made it."""

MOST_DAYS, USUAL_DAYS, LOG_IN_DAYS = 366, 90, 30
_USED_SECONDS = 60


def authenticate_token(db: Database, text: str) -> Principal:
    """Return whose token this is, with what both the token and its owner may do now.

    Raises:
        Unauthenticated: it is no token, is not known, has expired or was revoked, or its owner is disabled.
    """
    check_whole(text)
    with db.reading() as session:
        found = session.execute(
            select(
                Token,
                Account,
                col(Token.expires_at) > db.now(),
                or_(col(Token.used_at).is_(None), col(Token.used_at) < db.after(-_USED_SECONDS)),
            )
            .join(Account, col(Account.id) == col(Token.account_id))
            .where(col(Token.digest) == digest(text))
        ).first()
        # Who shows the whole token has it: to say what became of it tells nobody else anything.
        if found is None:
            raise Unauthenticated("this token is not known here: it may be another server's, or deleted")
        token, account, in_time, unused = found
        if token.revoked_at is not None or account.disabled_at is not None:
            raise Unauthenticated("this token was revoked", hint="make another one: sealrun token create")
        if not in_time:
            raise Unauthenticated("this token has expired", hint="make another one: sealrun token create")
        owned = grants_of(db, session, account.id)
    if unused:
        _touch(db, token.id)
    scope = Grant.of(token.role, token.project_id, token.environment_id)
    return Principal(account.kind, account.id, account.name, owned, scope, way="token", credential=token.id)


def new_token(kind: str) -> str:
    """Return a new token of a kind of `KINDS`: its random part has 178 bits."""
    return whole(kind, "".join(secrets.choice(ALPHABET) for _ in range(RANDOM)))


def check_whole(text: str) -> None:
    """Refuse what cannot be a token, without asking the database.

    Raises:
        Unauthenticated: it is none: it was cut, or mistyped.
    """
    if not is_token(text.encode("utf-8", "surrogateescape")):
        raise Unauthenticated("this is no whole token: it was cut off or mistyped, or is something else")


def create(
    db: Database,
    owner: str,
    name: str,
    role: str,
    at: Place = INSTALLATION,
    days: int = USUAL_DAYS,
    *,
    actor: Actor,
    by: Principal,
) -> NewTokenView:
    """Make a token for a role at a place. People make their own, and those of service accounts that they may manage.

    Args:
        owner: the account's name.
        by: who makes it. It gets no more than they have there, and no more than its owner has when it is used.

    Raises:
        UnknownAccount: there is no such account.
        Forbidden: it is another person's, or has more than whoever makes it or its owner has there.
        RequestUnclear: no such role, or so many days cannot be.
    """
    wanted = role_named(role)
    if not 1 <= days <= MOST_DAYS:
        raise RequestUnclear("a token is made for 1 to {most} days", most=MOST_DAYS)
    with db.writing() as session:
        account = account_named(session, owner)
        require_over(by, account)
        for whose, has in (
            (by.name, by.verbs(at.project_id, at.environment_id)),
            (account.name, _verbs(grants_of(db, session, account.id), at)),
        ):
            if not wanted.verbs <= has:
                raise _more(whose, role, at)
        row, text = _added(db, session, account, KINDS[account.kind], name, role, at, days, actor.name)
        detail = {"token_id": row.id, "owner": account.name, "role": role, "place": at.shown, "days": days}
        record(session, at, actor, Act("token.create", f"{account.name}/{name}", detail))
        session.refresh(row)
        return NewTokenView(token=text, made=_view(row, account.name, at.project, at.environment))


def create_for_log_in(db: Database, account_id: str, name: str, *, actor: Actor) -> NewTokenView:
    """Make the token of a `sealrun login`: it has whatever its owner has, and ends after `LOG_IN_DAYS`.

    Raises:
        Unauthenticated: the person is gone or disabled.
    """
    with db.writing() as session:
        account = session.get(Account, account_id)
        if account is None or account.disabled_at is not None:
            raise Unauthenticated()
        letter = KINDS["command line"]
        row, text = _added(db, session, account, letter, name, None, INSTALLATION, LOG_IN_DAYS, actor.name)
        detail = {"token_id": row.id, "owner": account.name, "days": LOG_IN_DAYS}
        record(session, INSTALLATION, actor, Act("token.create", f"{account.name}/{name}", detail))
        session.refresh(row)
        return NewTokenView(token=text, made=_view(row, account.name, None, None))


def list_tokens(db: Database, owner: str | None = None, *, ended: bool = False) -> list[TokenView]:
    """Return tokens, of one account or of all, the newest first; those that ended too, if asked."""
    query = (
        select(Token, Account.name, Project.name, Environment.name)
        .join(Account, col(Account.id) == col(Token.account_id))
        .outerjoin(Project, col(Project.id) == col(Token.project_id))
        .outerjoin(Environment, col(Environment.id) == col(Token.environment_id))
        .order_by(col(Token.created_at).desc(), col(Token.id))
    )
    if owner is not None:
        query = query.where(Account.name == owner)
    if not ended:
        query = query.where(col(Token.revoked_at).is_(None), col(Token.expires_at) > db.now())
    with db.reading() as session:
        return [_view(*row) for row in session.execute(query)]


def revoke(db: Database, reference: str, *, actor: Actor, by: Principal) -> TokenView:
    """End a token, by its id, the beginning of that, or its name where only one of `by`'s own has it.

    Raises:
        UnknownToken: there is none, several could be meant, or it is somebody else's and not `by`'s to end.
    """
    with db.writing() as session:
        rows = session.execute(
            select(Token, Account)
            .join(Account, col(Account.id) == col(Token.account_id))
            .where(
                or_(col(Token.id).startswith(reference, autoescape=True), col(Token.name) == reference),
                col(Token.revoked_at).is_(None),
            )
        ).all()
        meant = [(token, account) for token, account in rows if _is_over(by, account)]
        exact = [pair for pair in meant if pair[0].id == reference]
        if len(exact or meant) != 1:
            hint = "several could be meant: give the whole id" if meant else None
            raise UnknownToken(reference=reference, hint=hint)
        token, account = (exact or meant)[0]
        session.execute(update(Token).where(col(Token.id) == token.id).values(revoked_at=db.now(), revoked_by=by.name))
        at = _place(session, token)
        detail = {"token_id": token.id, "owner": account.name}
        record(session, at, actor, Act("token.revoke", f"{account.name}/{token.name}", detail))
        session.refresh(token)
        return _view(token, account.name, at.project, at.environment)


def require_over(by: Principal, account: Account) -> None:
    """Refuse to make tokens of another person's: whoever has one acts in that name.

    Raises:
        Forbidden: it is another person's, or a service account's, and `by` does not manage the installation.
    """
    if not _is_over(by, account) or (account.kind == "person" and by.id != account.id and by.kind != "operator"):
        raise Forbidden(
            "{name} may not make tokens of {owner}",
            name=by.name,
            owner=account.name,
            hint="people make their own; those of a service account are made by who manages the installation",
        )


def _place(session: Session, token: Token) -> Place:
    project, environment = session.get(Project, token.project_id), session.get(Environment, token.environment_id)
    if project is None:
        return INSTALLATION
    if environment is None:
        return Place(project.id, project.name)
    return Place(project.id, project.name, environment.id, environment.name)


def _is_over(by: Principal, account: Account) -> bool:
    return by.id == account.id or by.may("manage")


def _verbs(owned: tuple[Grant, ...], at: Place) -> frozenset[Verb]:
    return frozenset().union(*(one.verbs for one in owned if one.covers(at.project_id, at.environment_id)))


def _more(whose: str, role: str, at: Place) -> Forbidden:
    return Forbidden(
        "a token for {role} at {place} would have more than {name} has there",
        role=role,
        place=at.shown,
        name=whose,
        hint="choose a role or a place that it has: sealrun member list",
    )


def _added(
    db: Database, session: Session, account: Account, letter: str, name: str, role: str | None, at: Place, days: int,
    by: str,
) -> tuple[Token, str]:  # fmt: skip
    text = new_token(letter)
    now: datetime = session.execute(select(db.now())).scalar_one()
    row = Token(
        digest=digest(text),
        kind=letter,
        account_id=account.id,
        name=name,
        role=role,
        project_id=at.project_id or EVERY,
        environment_id=at.environment_id or EVERY,
        created_at=now,
        created_by=by,
        expires_at=now + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return row, text


def _touch(db: Database, token_id: str) -> None:
    """Note when it was used, once a minute at most: of many requests at a time one writes."""
    stale = or_(col(Token.used_at).is_(None), col(Token.used_at) < db.after(-_USED_SECONDS))
    with db.writing() as session:
        session.execute(update(Token).where(col(Token.id) == token_id, stale).values(used_at=db.now()))


def _view(token: Token, owner: str, project: str | None, environment: str | None) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        owner=owner,
        role=token.role,
        project=project,
        environment=environment,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        used_at=token.used_at,
        revoked_at=token.revoked_at,
        revoked_by=token.revoked_by,
    )
