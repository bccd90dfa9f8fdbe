"""The tables of runs. Everything of an attempt is keyed by (run, attempt); no column holds a secret's value."""

from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, BigInteger, Column, Index, LargeBinary, MetaData, Text, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlmodel import Field, SQLModel

from secretstore.database import UtcDateTime

KEPT_BYTES = 1 << 30
"""What is kept of an attempt's output where its project says nothing else."""

metadata = MetaData()


def new_id() -> str:
    """Return a random id: 128 bits in hex, never reused."""
    return uuid4().hex


class AnyJson(JSON):
    """JSON that may be a bare number, which SQLite would take out of a column that is not text, and change."""


@compiles(AnyJson, "sqlite")
def _as_text(kind: AnyJson, compiler: SQLCompiler, **options: Any) -> str:
    return "TEXT"


class Table(SQLModel):
    """Base of this package's tables, which have their own metadata and migrations."""

    metadata = metadata


def _partial(name: str, *columns: str, where: str) -> Index:
    """Index only the rows that meet a condition."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


class RunSpec(SQLModel):
    """What a submitter asks for, looked up and complete: the columns of a run that nothing changes. Times in seconds.

    The source is the folder `source_root` on machines of the name `host`, or, on any machine, the uploaded `bundle`.
    `secret_names` None means every secret of the environment. `requirements` says what the run's own Python
    environment is built of; only `setup_secret_names` are given to that. `package` is what the source root installs
    where somebody installs it, see `source.package`. After an attempt that failed for one of the
    reasons `retry_on` (None: those of `retrying`) there is another, `retries` times at most. Of two runs of a project
    with one `idempotency_key` the second is the first. Of an attempt's output `kept_bytes` are kept; `output_limit`
    says what becomes of a run that prints more: `end`, or `drop` what is beyond.

    It may have so much of memory, CPUs, processes and bytes written at once; None is as its worker has it. `narrowed`
    is what of these, and of the network, was asked for itself and does not come from the project. `collect` are
    patterns of the files beside its source that are kept; none for all of them. It is `followed` where somebody reads
    its output as it comes: what others print in their first moment may be stored with their end.
    """

    project_id: str
    project: str
    environment_id: str
    environment: str
    target: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    source_root: str
    host: str | None
    bundle: str | None = None
    source_commit: str | None = None
    source_dirty: bool | None = None
    python: str | None = None
    python_version: str | None = None
    requirements: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    package: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    setup_secret_names: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    variables: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    secret_names: list[str] | None = Field(default=None, sa_column=Column(JSON))
    connections: bool = True
    timeout: float | None = None
    queue: str = "sealrun"
    queue_timeout: float | None = None
    rung_min: str | None = None
    network: str = "full"
    retries: int = 0
    retry_on: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    retry_of: str | None = None
    kept_bytes: int = Field(default=KEPT_BYTES, sa_type=BigInteger)
    output_limit: str = "end"
    memory_bytes: int | None = Field(default=None, sa_type=BigInteger)
    cpus: float | None = None
    pids: int | None = None
    disk_bytes: int | None = Field(default=None, sa_type=BigInteger)
    narrowed: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    collect: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    idempotency_key: str | None = None
    followed: bool = False
    probe: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class Run(Table, RunSpec, table=True):
    """One accepted piece of work, and how far it is. `pending` with a lease means claimed: before the gate.

    `held_up` is why its output waits at its worker, as long as it does. Of its attempts, `retried` were made because
    one before had failed, and `refused` ended without one, since a worker's key service did not open its secrets. Of a
    run that is pruned what it left is deleted; this row, its attempts and its receipts stay. `pruned_by` without
    `pruned_at`: that has begun. `door` is the way by which it came in, `plan` what the server that accepted it has
    signed, see `runs.plans`: the door is as claimed, and what a worker may ask for is the plan.
    """

    __tablename__ = "executor_run"
    __table_args__ = (
        Index("executor_run_waiting", "state", "queue"),
        Index("executor_run_by_project", "project_id", "created_at"),
        Index("executor_run_by_time", "created_at", "id"),
        Index("executor_run_idempotency", "project_id", "idempotency_key", unique=True),
        Index("executor_run_by_bundle", "project_id", "bundle"),
        # Small indexes for what is asked every second: leases of a project, retries that are due.
        # What waits, by project: whose turn it is costs no more with ten thousand of one than with ten.
        _partial("executor_run_turns", "queue", "project_id", "created_at", where="state = 'pending'"),
        _partial("executor_run_leased", "project_id", where="lease_owner IS NOT NULL"),
        _partial("executor_run_delayed", "not_before", where="not_before IS NOT NULL"),
        _partial("executor_run_finished", "finished_at", where="finished_at IS NOT NULL AND pruned_at IS NULL"),
        _partial("executor_run_kept", "project_id", where="pruned_by IS NULL"),
        _partial("executor_run_pruning", "finished_at", where="pruned_by IS NOT NULL AND pruned_at IS NULL"),
    )

    id: str = Field(primary_key=True, default_factory=new_id)
    mapped: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    retried: int = 0
    refused: int = 0
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    state: str = Field(default="pending")
    reason: str | None = None
    message: str | None = Field(default=None, sa_column=Column(Text))
    exit_code: int | None = None
    attempt: int = 0
    fencing_token: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    held_up: str | None = Field(default=None, sa_column=Column(Text))
    rung_at: datetime = Field(sa_type=UtcDateTime)
    cancel_requested_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancel_requested_by: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    door: str = "direct"
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    pruned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    pruned_by: str | None = None


class Attempt(Table, table=True):
    """One claim of a run, its outcome, and under which isolation it ran."""

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
    message: str | None = Field(default=None, sa_column=Column(Text))
    exit_code: int | None = None
    signal: int | None = None
    rung: str | None = None
    controls: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    packages: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    metrics: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class Receipt(Table, table=True):
    """What one phase of an attempt was given, written as `opening` before anything is opened.

    It is `closed` once it is known whether the secrets were opened and that the processes that held them have ended.
    """

    __tablename__ = "executor_receipt"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    phase: str = Field(primary_key=True, default="run")
    status: str = "opening"
    environment_id: str
    generation: int
    fingerprint: str
    key_service: str
    secrets: int
    opening_at: datetime = Field(sa_type=UtcDateTime)
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dropped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str | None = Field(default=None, sa_column=Column(Text))


class ReceiptSecret(Table, table=True):
    """Which version of which secret a phase was given, when, and since when it had expired, if it had."""

    __tablename__ = "executor_receipt_secret"
    __table_args__ = (
        Index("executor_receipt_by_secret", "secret_id", "version", "given_at"),
        Index("executor_receipt_last_use", "secret_id", "given_at"),
    )

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    phase: str = Field(primary_key=True, default="run")
    secret_id: str = Field(primary_key=True)
    name: str
    version: int
    channel: str
    alias: str | None = None
    given_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReceiptConnection(Table, table=True):
    """Which version of which secret went into which setting of an attempt's data source or catalog.

    `place` is the setting's name, as in `access_key_id`; `field` is the member of the secret's JSON. `left_out` says
    why the run did not get the connection after all, `expires_at` when short-lived credentials end.
    """

    __tablename__ = "executor_receipt_connection"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    role: str = Field(primary_key=True)
    connection: str = Field(primary_key=True)
    place: str = Field(primary_key=True)
    secret_id: str
    secret: str
    version: int
    field: str | None = None
    left_out: str | None = Field(default=None, sa_column=Column(Text))
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class LogChunk(Table, table=True):
    """Masked output, in the order it left the supervisor; where it is `packed`, compressed by zlib."""

    __tablename__ = "executor_log_chunk"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    stream: str
    at: datetime = Field(sa_type=UtcDateTime)
    packed: bool = False
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Result(Table, table=True):
    """What a function returned or raised, masked."""

    __tablename__ = "executor_result"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    result: Any = Field(default=None, sa_column=Column(AnyJson))
    note: str | None = Field(default=None, sa_column=Column(Text))
    problem: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))


class Sample(Table, table=True):
    """What an attempt's processes used at a moment: CPU seconds so far, bytes of memory."""

    __tablename__ = "executor_sample"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    cpu_seconds: float
    memory_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))


class Metric(Table, table=True):
    """A number that a run reported itself; name, unit and labels are masked."""

    __tablename__ = "executor_metric"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    name: str
    value: float
    unit: str | None = None
    labels: dict[str, str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class SourceBundle(Table, table=True):
    """An uploaded source root, once per project and content; `digest` is its SHA-256, `size` is in bytes."""

    __tablename__ = "executor_source_bundle"

    project_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    files: int
    complete: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime = Field(sa_type=UtcDateTime)


class SourceBundleChunk(Table, table=True):
    """A piece of a bundle."""

    __tablename__ = "executor_source_bundle_chunk"

    project_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class SourceUpload(Table, table=True):
    """Somebody has sent all of a bundle themselves: a digest alone gives nobody a source that they may not read."""

    __tablename__ = "executor_source_upload"

    project_id: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)
    by: str = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)


class Masked(Table, table=True):
    """How often a secret was found in what an attempt gave out, in a form, and masked there.

    `secret` is a name, or words for what is made of one or several, such as a connection's URL without its driver.
    `secret_id` and `version` say which it is, or was made of, if that is one and known. Nothing of the value is in it.
    """

    __tablename__ = "executor_masked"
    __table_args__ = (Index("executor_masked_by_secret", "secret_id", "at"),)

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    secret: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    form: str = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)
    secret_id: str | None = None
    version: int | None = None
    at: datetime = Field(sa_type=UtcDateTime)


class Output(Table, table=True):
    """A file that an attempt left, or why it was withheld; `masked` is what was masked in it, as of `OutputFile`.

    `executable` where it was a program, and its run was asked to keep that.
    """

    __tablename__ = "executor_output"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    path: str = Field(primary_key=True)
    size: int | None = None
    withheld: str | None = None
    masked: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    executable: bool = False


class OutputChunk(Table, table=True):
    """A piece of a file."""

    __tablename__ = "executor_output_chunk"

    run_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    path: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Worker(Table, table=True):
    """A worker: its heartbeat, what it offers, and why it takes no run, as long as it does not.

    `refused` are the environments that it leaves to others, by id: each one's place, and what its key service said.
    `signers` are the keys, by id, whose plans it insists on; without any it insists on none.
    """

    __tablename__ = "executor_worker"

    id: str = Field(primary_key=True, default_factory=new_id)
    name: str
    host: str
    pid: int
    queues: str
    rung: str
    networks: list[str] = Field(sa_column=Column(JSON, nullable=False))
    pythons: list[str] = Field(sa_column=Column(JSON, nullable=False))
    places: list[str] = Field(sa_column=Column(JSON, nullable=False))
    key_services: list[str] = Field(sa_column=Column(JSON, nullable=False))
    refused: dict[str, list[str]] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    signers: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    slots: int
    closed: str | None = Field(default=None, sa_column=Column(Text))
    started_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Job(Table, table=True):
    """Work that needs an environment's private key, done by a worker that has its key service: see `executor.jobs`.

    `asked` are names, ids and choices; `done` is what was committed together with the act itself, so that it is never
    done twice. `message` is why it failed, or why a worker gave it back. `plan` is what the server that accepted it has
    signed, see `jobs.plans`.
    """

    __tablename__ = "executor_job"
    __table_args__ = (
        _partial("executor_job_open", "created_at", where="finished_at IS NULL"),
        Index("executor_job_by_project", "project_id", "created_at"),
    )

    id: str = Field(primary_key=True, default_factory=new_id)
    kind: str
    project_id: str
    project: str
    environment_id: str
    environment: str
    asked: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    plan: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    state: str = "pending"
    reason: str | None = None
    message: str | None = Field(default=None, sa_column=Column(Text))
    done: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    attempt: int = 0
    fencing_token: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str
    origin: str
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class JobReceipt(Table, table=True):
    """Which private key an attempt of a job had unwrapped, written as `opening` before it was; see `Receipt`."""

    __tablename__ = "executor_job_receipt"

    job_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    status: str = "opening"
    worker: str
    environment_id: str
    fingerprint: str
    key_service: str
    opening_at: datetime = Field(sa_type=UtcDateTime)
    opened_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    dropped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str | None = Field(default=None, sa_column=Column(Text))


class JobReceiptSecret(Table, table=True):
    """Which version of which secret an attempt of a job had opened, to be sealed anew."""

    __tablename__ = "executor_job_receipt_secret"

    job_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    secret_id: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    name: str
    given_at: datetime = Field(sa_type=UtcDateTime)
