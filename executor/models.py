"""What is kept of runs. Everything an attempt leaves is keyed by (run, attempt); no column holds a secret's value."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, Column, Index, LargeBinary, MetaData, Text
from sqlmodel import Field, SQLModel

from secretstore.database import UtcDateTime

metadata = MetaData()


def new_id() -> str:
    """A random id, 128 bits in hex, never used again."""
    return uuid4().hex


class Table(SQLModel):
    """Tables of this package have a metadata of their own, as they have migrations of their own."""

    metadata = metadata


class Run(Table, table=True):
    """One accepted piece of work. `pending` with a lease means claimed: before the gate."""

    __tablename__ = "executor_run"
    __table_args__ = (
        Index("executor_run_waiting", "state", "queue"),
        Index("executor_run_by_project", "project_id", "created_at"),
    )

    id: str = Field(primary_key=True, default_factory=new_id)
    project_id: str
    project: str
    environment_id: str
    environment: str
    target: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    source_root: str
    python: str | None = None
    variables: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    secret_names: list[str] | None = Field(default=None, sa_column=Column(JSON))
    timeout: float | None = None
    queue: str
    host: str
    rung_min: str | None = None
    retry_when_lost: bool = False
    state: str = Field(default="pending")
    reason: str | None = None
    message: str | None = Field(default=None, sa_column=Column(Text))
    exit_code: int | None = None
    attempt: int = 0
    fencing_token: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rung_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancel_requested_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancel_requested_by: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Attempt(Table, table=True):
    """One claim of a run, its outcome and the head of its receipt."""

    __tablename__ = "executor_attempt"

    run_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    fencing_token: int
    worker: str
    claimed_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    state: str = "claimed"
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    rung: str | None = None
    controls: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    receipt: str = "none"
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dropped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReceiptSecret(Table, table=True):
    """Which version of which secret an attempt was given, written before it was opened."""

    __tablename__ = "executor_receipt_secret"
    __table_args__ = (Index("executor_receipt_by_secret", "secret_id", "version"),)

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    secret_id: str = Field(primary_key=True)
    name: str
    version: int
    channel: str
    alias: str | None = None


class LogChunk(Table, table=True):
    """Masked output, in the order it left the supervisor."""

    __tablename__ = "executor_log_chunk"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    stream: str
    at: datetime = Field(sa_type=UtcDateTime)
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Result(Table, table=True):
    """What a function returned, or what was raised; masked."""

    __tablename__ = "executor_result"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    result: Any = Field(default=None, sa_column=Column(JSON))
    note: str | None = Field(default=None, sa_column=Column(Text))
    problem: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class Output(Table, table=True):
    """A file an attempt left, or the reason why one was withheld."""

    __tablename__ = "executor_output"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    path: str = Field(primary_key=True)
    size: int | None = None
    withheld: str | None = None


class OutputChunk(Table, table=True):
    """A file's bytes in pieces."""

    __tablename__ = "executor_output_chunk"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    path: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Worker(Table, table=True):
    """A worker's heartbeat, and what it can give."""

    __tablename__ = "executor_worker"

    id: str = Field(primary_key=True, default_factory=new_id)
    name: str
    host: str
    pid: int
    queues: str
    rung: str
    slots: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
