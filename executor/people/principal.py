"""Who asks, and what they may do: worked out anew for each request, and not changed afterwards."""

from dataclasses import dataclass, field
from typing import Any, Literal

from executor.errors import CredentialAsked, Forbidden
from executor.people.roles import ROLES, Verb
from executor.people.tables import EVERY
from secretstore.audit import Actor
from secretstore.errors import UnknownEnvironment, UnknownProject

FRESH_MINUTES = 5
"""How long after a log-in a browser may do what asks for the credential again."""


@dataclass(frozen=True)
class Place:
    """The installation, a project (with all its environments), or one environment, as it was looked up."""

    project_id: str | None = None
    project: str | None = None
    environment_id: str | None = None
    environment: str | None = None

    @property
    def shown(self) -> str:
        """In words: `shop/prod`."""
        if self.project is None:
            return "the installation"
        return self.project if self.environment is None else f"{self.project}/{self.environment}"


INSTALLATION = Place()


@dataclass(frozen=True)
class Grant:
    """Verbs at a place, and everywhere in it."""

    verbs: frozenset[Verb]
    project_id: str = EVERY
    environment_id: str = EVERY

    @classmethod
    def of(cls, role: str | None, project_id: str = EVERY, environment_id: str = EVERY) -> "Grant":
        """What a role gives there; None for every verb. A role that this version does not know gives nothing."""
        if role is None:
            return cls(ROLES["admin"].verbs, project_id, environment_id)
        return cls(ROLES[role].verbs if role in ROLES else frozenset(), project_id, environment_id)

    def covers(self, project_id: str | None, environment_id: str | None) -> bool:
        """Whether the whole place is in it: of a project all environments, also those to come."""
        return self.project_id in (EVERY, project_id) and self.environment_id in (EVERY, environment_id)

    def meets(self, other: "Grant") -> "Grant | None":
        """What both give, None for nothing."""
        if EVERY not in (self.project_id, other.project_id) and self.project_id != other.project_id:
            return None
        if EVERY not in (self.environment_id, other.environment_id) and self.environment_id != other.environment_id:
            return None
        verbs = self.verbs & other.verbs
        place = self.project_id or other.project_id, self.environment_id or other.environment_id
        return Grant(verbs, *place) if verbs else None


_EVERYTHING = (Grant.of(None),)


@dataclass(frozen=True)
class Principal:
    """A person, a service account, or the operator, who holds the database's URL and so has every verb."""

    kind: Literal["operator", "person", "service"]
    id: str
    name: str
    owned: tuple[Grant, ...] = field(repr=False)
    """What the account has, itself and by its groups."""
    scope: Grant | None = field(default=None, repr=False)
    """What a token was made for: of what its owner has, no more than this counts."""
    way: Literal["direct", "session", "token"] = "direct"
    credential: str | None = None
    """The token's id."""
    fresh: bool = True
    """Whether it proved who it is in the last minutes; a token need not."""
    renew: bool = False
    """Whether the session's id is to be changed: see `sessions.renew`."""

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What counts for this request."""
        if self.scope is None:
            return self.owned
        return tuple(both for grant in self.owned if (both := grant.meets(self.scope)) is not None)

    def verbs(self, project_id: str | None = None, environment_id: str | None = None) -> frozenset[Verb]:
        """What it may do in a whole place; without a project in the installation."""
        covering = (grant.verbs for grant in self.grants if grant.covers(project_id, environment_id))
        return frozenset().union(*covering)

    def may(self, verb: Verb, project_id: str | None = None, environment_id: str | None = None) -> bool:
        """Whether it may do this in a whole place; without a project in the installation."""
        return verb in self.verbs(project_id, environment_id)

    def may_somewhere(self, verb: Verb, project_id: str) -> bool:
        """Whether it may do this in a project, or in an environment of it."""
        return any(verb in grant.verbs for grant in self.grants if grant.project_id in (EVERY, project_id))

    def projects(self, verb: Verb) -> frozenset[str] | None:
        """The ids of the projects in which it may do this, be it in one environment; None for all."""
        ids = {grant.project_id for grant in self.grants if verb in grant.verbs}
        return None if EVERY in ids else frozenset(ids)

    def environments(self, verb: Verb, project_id: str) -> frozenset[str] | None:
        """The ids of the environments of a project in which it may do this; None for all, also those to come."""
        inside = (grant for grant in self.grants if grant.project_id in (EVERY, project_id))
        ids = {grant.environment_id for grant in inside if verb in grant.verbs}
        return None if EVERY in ids else frozenset(ids)

    def require(self, *verbs: Verb, at: Place) -> None:
        """Refuse what it may not do.

        Raises:
            UnknownProject, UnknownEnvironment: it sees nothing there, so it is not told whether there is something.
            Forbidden: it sees the place, and lacks a verb.
        """
        has = self.verbs(at.project_id, at.environment_id)
        missing = [verb for verb in verbs if verb not in has]
        if not missing:
            return
        if at.project_id is not None and not self.may_somewhere("see", at.project_id):
            raise UnknownProject(project=at.project)
        if at.environment_id is not None and "see" not in has:
            raise UnknownEnvironment(project=at.project, environment=at.environment)
        raise Forbidden(name=self.name, verb=missing[0], place=at.shown, hint=self._remedy(missing[0], at))

    def require_fresh(self, act: str) -> None:
        """Refuse what a browser may only do right after its log-in.

        Raises:
            CredentialAsked: that is longer ago.
        """
        if not self.fresh:
            raise CredentialAsked(act=act, minutes=FRESH_MINUTES)

    def as_actor(self, origin: str, **more: Any) -> "KnownActor":
        """Who acts, as operations are told."""
        return KnownActor(self.name, origin, **more, principal=self)

    def _remedy(self, verb: Verb, at: Place) -> str:
        """Who can give it, and how; or that a token does not reach so far."""
        if any(verb in grant.verbs and grant.covers(at.project_id, at.environment_id) for grant in self.owned):
            return f"{self.name} may, and this token was not made for it: make another one, sealrun token create"
        if at.project is None:
            return f"an admin can give it: sealrun member add {self.name} --role {_least(verb)} --installation"
        place = f"-p {at.project}" + (f" -e {at.environment}" if at.environment else "")
        whose = "an admin" if verb == "audit" else f"a maintainer or an admin of {at.project}"
        return f"{whose} can give it: sealrun member add {self.name} --role {_least(verb)} {place}"


@dataclass(frozen=True)
class KnownActor(Actor):
    """Who acts, with what they may do: for operations in which that decides, such as giving a role."""

    principal: Principal = field(kw_only=True)


OPERATOR_ORIGIN = "cli"


def principal_of(who: Actor) -> Principal:
    """Return who acts. At the command line without a server that is the operator, who has every verb.

    Raises:
        Forbidden: a door did not say who asks. It is refused, not taken for the operator.
    """
    if isinstance(who, KnownActor):
        return who.principal
    if who.origin == OPERATOR_ORIGIN:
        return operator(who.name)
    raise Forbidden(name=who.name, verb="manage", place=INSTALLATION.shown)


def operator(name: str) -> Principal:
    """Return the operator: whoever holds the database's URL."""
    return Principal("operator", "", name, _EVERYTHING)


def _least(verb: Verb) -> str:
    """The role with the fewest verbs that gives this one."""
    return min((role for role in ROLES.values() if verb in role.verbs), key=lambda role: len(role.verbs)).name
