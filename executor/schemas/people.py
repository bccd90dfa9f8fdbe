"""People, service accounts, their roles and tokens: what is asked, and what is shown. A password is never shown."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from executor.schemas.places import Input, Output

Days = 366


class AccountView(Output):
    """A person, as `issuer` and `subject` say, or a service account."""

    id: str
    kind: Literal["person", "service"]
    name: str
    issuer: str
    subject: str
    admin: bool = False
    created_at: datetime
    created_by: str
    logged_in_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_by: str | None = None


class MembershipView(Output):
    """A role that somebody has somewhere; without a project in the installation, without an environment in all."""

    name: str
    kind: Literal["person", "service", "group"]
    issuer: str
    role: str
    project: str | None = None
    environment: str | None = None
    given_at: datetime
    given_by: str


class TokenView(Output):
    """A token, without itself. Without a role it has whatever its owner has; without a project it is for all."""

    id: str
    name: str
    owner: str
    role: str | None
    project: str | None = None
    environment: str | None = None
    created_at: datetime
    created_by: str
    expires_at: datetime
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


class NewTokenView(Output):
    """A token that was made. It is shown this once."""

    token: str = Field(repr=False)
    made: TokenView


class RoleView(Output):
    """A role, what it lets one do, and what for."""

    name: str
    verbs: tuple[str, ...]
    says: str


class NewAccount(Input):
    """A person with a password, or a service account, which has none."""

    name: str
    service: bool = False
    password: str | None = Field(default=None, repr=False)
    admin: bool = False


class AccountNamed(Input):
    """A person or a service account."""

    name: str


class NewPassword(Input):
    """A new password of a person. Their own needs the one before; another person's needs who manages people."""

    name: str
    password: str = Field(repr=False)
    old: str | None = Field(default=None, repr=False)


class Members(Input):
    """Who has a role somewhere; without a project in the installation."""

    project: str | None = None
    environment: str | None = None


class Member(Members):
    """A role for a person, a service account, or a group of an issuer's."""

    role: str
    name: str
    group: bool = False
    """Whether the name is a group's."""
    issuer: str | None = None
    """Whose group it is, where several issuers are known."""


class NewToken(Members):
    """A token for a role; without a project in the installation. `owner` None: of whoever asks."""

    name: str = Field(min_length=1, max_length=100)
    role: str
    owner: str | None = None
    days: int = Field(default=90, ge=1, le=Days)


class Tokens(Input):
    """Which tokens: one's own, an account's, or everybody's."""

    owner: str | None = None
    everybody: bool = False
    ended: bool = False


class TokenNamed(Input):
    """A token: its id, the beginning of that, or the name of one's own."""

    token: str


class DeletedAccount(Output):
    """An account that is gone, with its roles, sessions and tokens."""

    deleted: Literal["person", "service"]
    name: str
