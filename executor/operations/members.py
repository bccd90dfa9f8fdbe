"""Members: who has which role where."""

from collections.abc import Sequence

from executor.operations.deployment import Deployment
from executor.people import memberships
from executor.people.places import find_place
from executor.people.principal import Place, principal_of
from executor.people.roles import ROLES
from executor.schemas.people import Member, Members, MembershipView, RoleView
from secretstore import vault
from secretstore.audit import Actor


def add(at: Deployment, who: Actor, asked: Member) -> MembershipView:
    """Give a person, a service account or a group a role: in the installation, a project, or an environment.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownAccount, RequestUnclear: there is no such place, nobody of this
            name, or no such role.
        Forbidden: who asks does not manage the place, or has less there than the role gives.
        CredentialAsked: the role gives `use`, and the browser logged in some time ago.
        AlreadyExists: they have it.
    """
    place = _place(at, who, asked)
    named = asked.name, asked.role, place
    return memberships.give(at.db, *named, group=asked.group, issuer=asked.issuer, actor=who, by=principal_of(who))


def remove(at: Deployment, who: Actor, asked: Member) -> MembershipView:
    """Take a role away; what it gave ends at once.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownAccount, RequestUnclear, Forbidden: as `add`.
        NotGiven: they do not have it there.
        LastAdmin: nobody else is admin of the installation.
    """
    place = _place(at, who, asked)
    named = asked.name, asked.role, place
    return memberships.take(at.db, *named, group=asked.group, issuer=asked.issuer, actor=who, by=principal_of(who))


def list_(at: Deployment, who: Actor, asked: Members) -> Sequence[MembershipView]:
    """Who has a role at a place: in it, and for all that it is a part of; of a project also in its environments.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return memberships.list_memberships(at.db, _place(at, who, asked))


def roles(at: Deployment, who: Actor) -> Sequence[RoleView]:
    """The roles that there are."""
    return [RoleView(name=role.name, verbs=role.shown_verbs, says=role.says) for role in ROLES.values()]


def _place(at: Deployment, who: Actor, asked: Members) -> Place:
    principal = principal_of(who)
    if asked.project is not None and principal.kind == "operator":
        vault.get_project(at.db, asked.project)  # whose error suggests a close name, which not everybody may be told
    place = find_place(at.db, principal, asked.project, asked.environment)
    if asked.project is not None:
        vault.get_project(at.db, asked.project)  # it may be deleted
    return place
