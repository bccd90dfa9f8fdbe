"""Who has which role where: given, taken away, listed. Nobody gives, or takes away, more than they have there."""

from typing import Any

from sqlalchemy import select as select_rows
from sqlmodel import Session, col, delete, select

from executor.errors import Forbidden, NotGiven
from executor.people.accounts import holder_named, keeping_an_admin
from executor.people.holding import rights_changed
from executor.people.principal import Place, Principal
from executor.people.record import record
from executor.people.roles import gives_use, role_named
from executor.people.tables import EVERY, Account, Group, GroupMember, Membership
from executor.schemas.people import MembershipView
from secretstore.audit import Act, Actor
from secretstore.database import Database
from secretstore.errors import AlreadyExists
from secretstore.models import Environment, Project


def give(
    db: Database,
    name: str,
    role: str,
    at: Place,
    *,
    group: bool = False,
    issuer: str | None = None,
    actor: Actor,
    by: Principal,
) -> MembershipView:
    """Give somebody a role at a place.

    Raises:
        RequestUnclear: there is no such role.
        UnknownAccount: there is nobody of this name.
        Forbidden: `by` does not manage the place, or has less there than the role gives.
        CredentialAsked: the role gives `use`, and the browser of `by` logged in some time ago.
        AlreadyExists: they have it.
    """
    _check(by, role, at, "give")
    with db.writing() as session:
        holder = holder_named(session, db, name, group=group, issuer=issuer)
        key = _key(holder, role, at)
        if session.get(Membership, key) is not None:
            raise AlreadyExists(
                '{name} has the role "{role}" for {place} already', name=name, role=role, place=at.shown
            )
        now: Any = session.execute(select(db.now())).scalar_one()
        row = Membership(**key, given_at=now, given_by=actor.name)
        session.add(row)
        rights_changed(db, session, _accounts(session, holder), actor.name)
        record(session, at, actor, _act("member.add", holder, role, at))
        return _view(row, holder, at.project, at.environment)


def take(
    db: Database,
    name: str,
    role: str,
    at: Place,
    *,
    group: bool = False,
    issuer: str | None = None,
    actor: Actor,
    by: Principal,
) -> MembershipView:
    """Take a role away. What it gave ends at once; so do tokens that nobody could make for its holder any more.

    Raises:
        RequestUnclear, UnknownAccount, Forbidden: as `give`.
        NotGiven: they do not have it there.
        LastAdmin: nobody else is admin of the installation.
    """
    _check(by, role, at, "take away")
    with db.writing() as session, keeping_an_admin(session, name):
        holder = holder_named(session, db, name, group=group, issuer=issuer)
        row = session.get(Membership, _key(holder, role, at))
        if row is None:
            raise NotGiven(name=name, role=role, place=at.shown)
        session.execute(
            delete(Membership).where(*(getattr(Membership, k) == v for k, v in _key(holder, role, at).items()))
        )
        session.expunge(row)
        rights_changed(db, session, _accounts(session, holder), actor.name, left=isinstance(holder, Group))
        record(session, at, actor, _act("member.remove", holder, role, at))
        return _view(row, holder, at.project, at.environment)


def list_memberships(db: Database, at: Place) -> list[MembershipView]:
    """Return who has a role at a place: in it, and for all that it is a part of. Of a project also its environments."""
    query = (
        select_rows(Membership, Account, Group, col(Project.name), col(Environment.name))
        .outerjoin(Account, col(Account.id) == col(Membership.holder_id))
        .outerjoin(Group, col(Group.id) == col(Membership.holder_id))
        .outerjoin(Project, col(Project.id) == col(Membership.project_id))
        .outerjoin(Environment, col(Environment.id) == col(Membership.environment_id))
        .order_by(col(Project.name), col(Environment.name), col(Membership.role), col(Membership.holder_id))
    )
    query = query.where(col(Membership.project_id).in_([EVERY, at.project_id or EVERY]))
    if at.environment_id is not None:
        query = query.where(col(Membership.environment_id).in_([EVERY, at.environment_id]))
    with db.reading() as session:
        rows = session.execute(query).all()
        return [
            _view(row, account or group, project, environment)
            for row, account, group, project, environment in rows
            if account is not None or group is not None
        ]


def _check(by: Principal, role: str, at: Place, act: str) -> None:
    wanted = role_named(role)
    by.require("manage", at=at)
    if more := sorted(wanted.verbs - by.verbs(at.project_id, at.environment_id)):
        raise Forbidden(
            '{name} may not {act} the role "{role}" for {place}: it has {more}, and {name} has not',
            name=by.name,
            act=act,
            role=role,
            place=at.shown,
            more=", ".join(more),
            hint="nobody gives or takes away more than they have themselves: ask an admin",
        )
    if act == "give" and gives_use(role):
        by.require_fresh(f'giving the role "{role}", with which code is run and secrets are read,')


def _key(holder: Account | Group, role: str, at: Place) -> dict[str, str]:
    return {
        "holder_id": holder.id,
        "project_id": at.project_id or EVERY,
        "environment_id": at.environment_id or EVERY,
        "role": role,
    }


def _accounts(session: Session, holder: Account | Group) -> list[str]:
    """The accounts whose rights change with a holder's."""
    if isinstance(holder, Account):
        return [holder.id]
    return list(session.exec(select(GroupMember.account_id).where(GroupMember.group_id == holder.id)))


def _act(action: str, holder: Account | Group, role: str, at: Place) -> Act:
    detail = {"role": role, "place": at.shown, "holder_id": holder.id, "kind": _kind(holder)}
    subject = f"{holder.name}: {role} of {at.shown}"
    return Act(action, subject, detail | ({"issuer": holder.issuer} if isinstance(holder, Group) else {}))


def _kind(holder: Account | Group) -> Any:
    return holder.kind if isinstance(holder, Account) else "group"


def _view(row: Membership, holder: Account | Group, project: str | None, environment: str | None) -> MembershipView:
    return MembershipView(
        name=holder.name,
        kind=_kind(holder),
        issuer=holder.issuer,
        role=row.role,
        project=project,
        environment=environment,
        given_at=row.given_at,
        given_by=row.given_by,
    )
