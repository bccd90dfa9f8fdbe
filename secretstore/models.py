"""The tables of the secret store. Ids are random and never reused, so that nothing deleted comes back."""

import secrets
from datetime import datetime

from sqlalchemy import BigInteger, Column, Index, Integer, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from secretstore.timestamps import UtcDateTime, utc_now

# SQLite numbers rows only in columns of type INTEGER.
_COUNTER = BigInteger().with_variant(Integer(), "sqlite")


def new_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


_NOT_DESTROYED = text("destroyed_at IS NULL")


class Project(SQLModel, table=True):
    """A project, to which runs and secrets belong.

    A deleted one can be brought back until `destroy_at`, and its name is taken. The row of one that was destroyed stays
    for its runs, receipts and events; there may be several of one name.
    """

    __tablename__ = "secretstore_project"
    __table_args__ = (
        Index(
            "secretstore_project_name",
            "name",
            unique=True,
            sqlite_where=_NOT_DESTROYED,
            postgresql_where=_NOT_DESTROYED,
        ),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    name: str = Field(max_length=63)
    network: str = Field(max_length=16)
    sandbox_min: str = Field(max_length=16)
    max_running: int | None
    output_limit: int | None = Field(default=None, sa_type=BigInteger)
    memory_bytes: int | None = Field(default=None, sa_type=BigInteger)
    cpus: float | None = None
    pids: int | None = None
    disk_bytes: int | None = Field(default=None, sa_type=BigInteger)
    protected: bool = False
    """Whether nobody may delete it."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted_by: str | None = Field(default=None, max_length=255)
    destroy_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    destroyed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Environment(SQLModel, table=True):
    """A set of secrets and variables with one key pair; environments do not inherit from each other."""

    __tablename__ = "secretstore_environment"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    project_id: str = Field(foreign_key="secretstore_project.id", ondelete="CASCADE", max_length=32)
    name: str = Field(max_length=63)
    generation: int
    queue: str | None = Field(default=None, max_length=63)
    """Where its runs wait for a worker; None for the default queue."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)


class KeyPair(SQLModel, table=True):
    """One generation of an environment's key pair, its private half wrapped by a key service.

    A rotation prepares one above the environment's generation. Those below stay, their wrapped private halves destroyed
    once nothing uses them: a public half proves whether it vouched for its successor.
    """

    __tablename__ = "secretstore_key_pair"

    environment_id: str = Field(
        primary_key=True, foreign_key="secretstore_environment.id", ondelete="CASCADE", max_length=32
    )
    generation: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    public_key: bytes
    fingerprint: str = Field(max_length=64)
    key_service: str = Field(max_length=2048)
    wrapped_private_key: bytes | None
    voucher: bytes | None = None
    """The signature of the generation before it, see `secretstore.sealing.succession`."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)
    destroyed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Secret(SQLModel, table=True):
    """A secret; its values are its versions."""

    __tablename__ = "secretstore_secret"
    __table_args__ = (UniqueConstraint("environment_id", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    project_id: str = Field(foreign_key="secretstore_project.id", ondelete="CASCADE", max_length=32)
    environment_id: str = Field(foreign_key="secretstore_environment.id", ondelete="CASCADE", max_length=32)
    name: str = Field(max_length=255)
    current_version: int
    last_version: int
    maskable: bool
    as_file: bool = False
    """Whether runs get a private file with the value, and its path as the variable."""
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_by: str = Field(max_length=255)


class SecretVersion(SQLModel, table=True):
    """One value of a secret, sealed under one generation of the key pair."""

    __tablename__ = "secretstore_secret_version"

    secret_id: str = Field(primary_key=True, foreign_key="secretstore_secret.id", ondelete="CASCADE", max_length=32)
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    generation: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    sealed: bytes
    maskable: bool
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)


class SecretReservation(SQLModel, table=True):
    """What values may be sealed for until it expires, once: ids, versions and generations, see `vault.reserving`."""

    __tablename__ = "secretstore_secret_reservation"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    project_id: str = Field(foreign_key="secretstore_project.id", ondelete="CASCADE", max_length=32)
    reserved: str = Field(sa_type=Text)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)


class Variable(SQLModel, table=True):
    """Plain configuration, shown openly."""

    __tablename__ = "secretstore_variable"
    __table_args__ = (UniqueConstraint("environment_id", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    environment_id: str = Field(foreign_key="secretstore_environment.id", ondelete="CASCADE", max_length=32)
    name: str = Field(max_length=255)
    value: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_by: str = Field(max_length=255)


class Connection(SQLModel, table=True):
    """A data source or catalog: settings that refer to secrets by name, and the result of its last test."""

    __tablename__ = "secretstore_connection"
    __table_args__ = (UniqueConstraint("environment_id", "role", "name"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    environment_id: str = Field(foreign_key="secretstore_environment.id", ondelete="CASCADE", max_length=32)
    role: str = Field(max_length=16)
    name: str = Field(max_length=63)
    kind: str = Field(max_length=32)
    settings: str = Field(sa_type=Text)
    """JSON as text: an invalid row must not keep the others from being read."""
    tested_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    test_outcome: str | None = Field(default=None, max_length=16)
    test_seconds: float | None = None
    test_message: str | None = Field(default=None, sa_type=Text)
    test_run: str | None = Field(default=None, max_length=32)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    created_by: str = Field(max_length=255)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_by: str = Field(max_length=255)


class AuditEvent(SQLModel, table=True):
    """One event of a project's audit chain. It has no foreign key: the record outlives the project."""

    __tablename__ = "secretstore_audit_event"

    project_id: str = Field(primary_key=True, max_length=32)
    sequence: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    project: str = Field(max_length=63, index=True)
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str = Field(max_length=255)
    origin: str = Field(max_length=255)
    action: str = Field(max_length=64)
    subject: str = Field(max_length=512)
    detail: str = Field(sa_type=Text)
    outcome: str = Field(max_length=32)
    previous_hash: str = Field(max_length=64)
    hash: str = Field(max_length=64)


class WaitingAuditEvent(SQLModel, table=True):
    """An event to be linked into its project's chain later: runs write it without waiting for each other."""

    __tablename__ = "secretstore_audit_waiting"

    id: int | None = Field(default=None, sa_column=Column(_COUNTER, primary_key=True))
    project_id: str = Field(max_length=32)
    project: str = Field(max_length=63)
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str = Field(max_length=255)
    origin: str = Field(max_length=255)
    action: str = Field(max_length=64)
    subject: str = Field(max_length=512)
    detail: str = Field(sa_type=Text)
    outcome: str = Field(max_length=32)
