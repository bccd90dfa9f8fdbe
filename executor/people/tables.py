"""The tables of people, and of what they prove themselves with.

Of whatever somebody shows to be let in (a session's id, a token, a link, a code) the SHA-256 is kept: each has so many
random bits that nobody finds it by guessing. Passwords, which have not, are Argon2's.
"""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, Text
from sqlmodel import Field

from executor.models import Table, new_id
from secretstore.timestamps import UtcDateTime

EVERY = ""
"""In the place of a project's or an environment's id: all of them. Part of keys, where NULL cannot stand."""


class Account(Table, table=True):
    """A person, or a service account. A person is who `issuer` says that `subject` is: never an e-mail address.

    Those who have a password here are of the issuer `local`. Names are unique, and what the audit log says.
    """

    __tablename__ = "executor_account"
    __table_args__ = (
        Index("executor_account_name", "name", unique=True),
        Index("executor_account_identity", "issuer", "subject", unique=True),
    )

    id: str = Field(primary_key=True, default_factory=new_id)
    kind: str
    name: str
    issuer: str
    subject: str
    password: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    logged_in_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_by: str | None = None


class Group(Table, table=True):
    """A group of an issuer's, by the name that its log-ins tell."""

    __tablename__ = "executor_group"
    __table_args__ = (Index("executor_group_name", "issuer", "name", unique=True),)

    id: str = Field(primary_key=True, default_factory=new_id)
    issuer: str
    name: str


class GroupMember(Table, table=True):
    """Who is in a group, and when a log-in last said so."""

    __tablename__ = "executor_group_member"
    __table_args__ = (Index("executor_group_member_account", "account_id"),)

    group_id: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True)
    said_at: datetime = Field(sa_type=UtcDateTime)


class Membership(Table, table=True):
    """A role that an account or a group has: for the installation, a project, or an environment of it."""

    __tablename__ = "executor_membership"
    __table_args__ = (Index("executor_membership_place", "project_id", "environment_id"),)

    holder_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    environment_id: str = Field(primary_key=True)
    role: str = Field(primary_key=True)
    given_at: datetime = Field(sa_type=UtcDateTime)
    given_by: str


class BrowserSession(Table, table=True):
    """A browser that is logged in. `asked_at` is when it last proved who it is; `renew`: its id is to be changed.

    For a moment after a change the id before it counts, for requests that were under way.
    """

    __tablename__ = "executor_session"
    __table_args__ = (
        Index("executor_session_account", "account_id"),
        Index("executor_session_previous", "previous_digest"),
    )

    digest: str = Field(primary_key=True)
    account_id: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    address: str
    renew: bool = False
    previous_digest: str | None = None
    previous_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Token(Table, table=True):
    """An API token. Its rights are those of `role` in its place (None: all) that its owner has, too, when it is used.

    The row of one that ended stays until it would have expired.
    """

    __tablename__ = "executor_token"
    __table_args__ = (
        Index("executor_token_digest", "digest", unique=True),
        Index("executor_token_account", "account_id"),
    )

    id: str = Field(primary_key=True, default_factory=new_id)
    digest: str
    kind: str
    account_id: str
    name: str
    role: str | None = None
    project_id: str = EVERY
    environment_id: str = EVERY
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_by: str | None = None


class Link(Table, table=True):
    """A link that works once, and what for."""

    __tablename__ = "executor_link"

    digest: str = Field(primary_key=True)
    purpose: str
    expires_at: datetime = Field(sa_type=UtcDateTime)


class DeviceCode(Table, table=True):
    """A command line that waits for somebody to type its code into a browser; `account_id` is who did."""

    __tablename__ = "executor_device_code"
    __table_args__ = (Index("executor_device_code_typed", "typed_digest", unique=True),)

    digest: str = Field(primary_key=True)
    typed_digest: str
    address: str
    host: str
    expires_at: datetime = Field(sa_type=UtcDateTime)
    account_id: str | None = None
    refused: bool = False


class CommandLineCode(Table, table=True):
    """A code that a browser brings to the command line that sent it: spent with the `challenge`'s verifier."""

    __tablename__ = "executor_command_line_code"

    digest: str = Field(primary_key=True)
    challenge: str
    account_id: str
    host: str
    expires_at: datetime = Field(sa_type=UtcDateTime)


class OidcState(Table, table=True):
    """A log-in that was sent to an issuer; `browser_digest` is of the cookie of the browser that began it."""

    __tablename__ = "executor_oidc_state"

    digest: str = Field(primary_key=True)
    browser_digest: str
    issuer: str
    nonce: str
    verifier: str
    return_to: str
    expires_at: datetime = Field(sa_type=UtcDateTime)


class Attempts(Table, table=True):
    """How often something was tried since its window began."""

    __tablename__ = "executor_attempts"

    key: str = Field(primary_key=True)
    count: int
    ends_at: datetime = Field(sa_type=UtcDateTime)


class Answer(Table, table=True):
    """The answer to a request with an Idempotency-Key; `status` None: it is being worked out since `begun_at`."""

    __tablename__ = "executor_answer"

    principal_id: str = Field(primary_key=True)
    project_id: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    body_digest: str
    begun_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    status: int | None = None
    headers: str | None = Field(default=None, sa_column=Column(Text))
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
