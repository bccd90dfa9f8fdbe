"""API tokens: made, listed and revoked."""

from collections.abc import Sequence

from executor.errors import RequestUnclear
from executor.operations.deployment import Deployment
from executor.people import tokens
from executor.people.places import find_place
from executor.people.principal import INSTALLATION, principal_of
from executor.schemas.people import NewToken, NewTokenView, TokenNamed, Tokens, TokenView
from secretstore import vault
from secretstore.audit import Actor


def create(at: Deployment, who: Actor, asked: NewToken) -> NewTokenView:
    """Make a token for a role at a place: one's own, or a service account's. It is shown this once.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownAccount, RequestUnclear: there is no such place, account or role.
        Forbidden: it is another person's, or would have more than who asks, or its owner, has there.
    """
    by = principal_of(who)
    owner = asked.owner
    if owner is None:
        if by.kind == "operator":
            raise RequestUnclear("whose token is it to be?", hint="name a person or a service account: --owner NAME")
        owner = by.name
    place = find_place(at.db, by, asked.project, asked.environment)
    if asked.project is not None:
        vault.get_project(at.db, asked.project)  # it may be deleted
    return tokens.create(at.db, owner, asked.name, asked.role, place, asked.days, actor=who, by=by)


def list_(at: Deployment, who: Actor, asked: Tokens) -> Sequence[TokenView]:
    """One's own tokens; of another account's, or everybody's, for who manages the installation. Never themselves.

    Raises:
        Forbidden: who asks does not.
    """
    by = principal_of(who)
    own = by.kind != "operator" and not asked.everybody and asked.owner in (None, by.name)
    if not own:
        by.require("manage", at=INSTALLATION)
    owner = by.name if own else asked.owner
    return tokens.list_tokens(at.db, owner, ended=asked.ended)


def revoke(at: Deployment, who: Actor, asked: TokenNamed) -> TokenView:
    """End a token at once: one's own, or anybody's for who manages the installation.

    Raises:
        UnknownToken: there is none, several could be meant, or it is somebody else's.
    """
    return tokens.revoke(at.db, asked.token, actor=who, by=principal_of(who))
