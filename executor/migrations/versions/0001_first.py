"""The executor's first tables."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    _runs()
    _attempts()
    _receipts()
    _what_runs_leave()
    _uploads()
    _workers()
    _people()
    _credentials()
    _counters()
    _jobs()


def _runs() -> None:
    op.create_table(
        "executor_run",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("source_root", sa.String(), nullable=False),
        sa.Column("bundle", sa.String()),
        sa.Column("source_commit", sa.String()),
        sa.Column("source_dirty", sa.Boolean()),
        sa.Column("python", sa.String()),
        sa.Column("python_version", sa.String()),
        sa.Column("requirements", sa.JSON()),
        sa.Column("package", sa.JSON()),
        sa.Column("setup_secret_names", sa.JSON()),
        sa.Column("variables", sa.JSON(), nullable=False),
        sa.Column("secret_names", sa.JSON()),
        sa.Column("connections", sa.Boolean(), nullable=False),
        sa.Column("mapped", sa.JSON(), nullable=False),
        sa.Column("timeout", sa.Float()),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("queue_timeout", sa.Float()),
        sa.Column("host", sa.String()),
        sa.Column("rung_min", sa.String()),
        sa.Column("network", sa.String(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("retry_on", sa.JSON()),
        sa.Column("retried", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("retry_of", sa.String()),
        sa.Column("not_before", UtcDateTime()),
        sa.Column("kept_bytes", sa.BigInteger(), nullable=False),
        sa.Column("output_limit", sa.String(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger()),
        sa.Column("cpus", sa.Float()),
        sa.Column("pids", sa.Integer()),
        sa.Column("disk_bytes", sa.BigInteger()),
        sa.Column("narrowed", sa.JSON()),
        sa.Column("collect", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String()),
        sa.Column("followed", sa.Boolean(), nullable=False),
        sa.Column("probe", sa.JSON()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.Text()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String()),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("held_up", sa.Text()),
        sa.Column("rung_at", UtcDateTime(), nullable=False),
        sa.Column("cancel_requested_at", UtcDateTime()),
        sa.Column("cancel_requested_by", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("door", sa.String(), nullable=False),
        sa.Column("plan", sa.JSON()),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("pruned_at", UtcDateTime()),
        sa.Column("pruned_by", sa.String()),
    )
    op.create_index("executor_run_waiting", "executor_run", ["state", "queue"])
    op.create_index("executor_run_by_project", "executor_run", ["project_id", "created_at"])
    op.create_index("executor_run_by_time", "executor_run", ["created_at", "id"])
    op.create_index("executor_run_idempotency", "executor_run", ["project_id", "idempotency_key"], unique=True)
    op.create_index("executor_run_by_bundle", "executor_run", ["project_id", "bundle"])
    _partial_index("executor_run_turns", ["queue", "project_id", "created_at"], "state = 'pending'")
    _partial_index("executor_run_leased", ["project_id"], "lease_owner IS NOT NULL")
    _partial_index("executor_run_delayed", ["not_before"], "not_before IS NOT NULL")
    _partial_index("executor_run_finished", ["finished_at"], "finished_at IS NOT NULL AND pruned_at IS NULL")
    _partial_index("executor_run_kept", ["project_id"], "pruned_by IS NULL")
    _partial_index("executor_run_pruning", ["finished_at"], "pruned_by IS NOT NULL AND pruned_at IS NULL")


def _attempts() -> None:
    op.create_table(
        "executor_attempt",
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("claimed_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.Text()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("signal", sa.Integer()),
        sa.Column("rung", sa.String()),
        sa.Column("controls", sa.JSON()),
        sa.Column("packages", sa.JSON()),
        sa.Column("metrics", sa.JSON()),
    )


def _receipts() -> None:
    op.create_table(
        "executor_receipt",
        *_of_attempt(),
        sa.Column("phase", sa.String(), primary_key=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("key_service", sa.String(), nullable=False),
        sa.Column("secrets", sa.Integer(), nullable=False),
        sa.Column("opening_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime()),
        sa.Column("dropped_at", UtcDateTime()),
        sa.Column("reason", sa.Text()),
    )
    op.create_table(
        "executor_receipt_secret",
        *_of_attempt(),
        sa.Column("phase", sa.String(), primary_key=True),
        sa.Column("secret_id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("alias", sa.String()),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
    )
    op.create_index("executor_receipt_by_secret", "executor_receipt_secret", ["secret_id", "version", "given_at"])
    op.create_index("executor_receipt_last_use", "executor_receipt_secret", ["secret_id", "given_at"])
    op.create_table(
        "executor_receipt_connection",
        *_of_attempt(),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("connection", sa.String(), primary_key=True),
        sa.Column("place", sa.String(), primary_key=True),
        sa.Column("secret_id", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("field", sa.String()),
        sa.Column("left_out", sa.Text()),
        sa.Column("expires_at", UtcDateTime()),
    )


def _what_runs_leave() -> None:
    op.create_table(
        "executor_log_chunk",
        *_of_attempt(),
        _sequence(),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("packed", sa.Boolean(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "executor_result",
        *_of_attempt(),
        # A result may be a bare number, which SQLite would take out of its text and change: 1.0 to 1, 2**63 to 9.2e18.
        sa.Column("result", sa.JSON().with_variant(sa.Text(), "sqlite")),
        sa.Column("note", sa.Text()),
        sa.Column("problem", sa.JSON()),
    )
    op.create_table(
        "executor_sample",
        *_of_attempt(),
        _sequence(),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "executor_metric",
        *_of_attempt(),
        _sequence(),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("unit", sa.String()),
        sa.Column("labels", sa.JSON()),
    )
    op.create_table(
        "executor_masked",
        *_of_attempt(),
        sa.Column("secret", sa.String(), primary_key=True),
        sa.Column("stream", sa.String(), primary_key=True),
        sa.Column("form", sa.String(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("secret_id", sa.String()),
        sa.Column("version", sa.Integer()),
        sa.Column("at", UtcDateTime(), nullable=False),
    )
    op.create_index("executor_masked_by_secret", "executor_masked", ["secret_id", "at"])
    op.create_table(
        "executor_output",
        *_of_attempt(),
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("size", sa.Integer()),
        sa.Column("withheld", sa.String()),
        sa.Column("masked", sa.JSON()),
        sa.Column("executable", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "executor_output_chunk",
        *_of_attempt(),
        sa.Column("path", sa.String(), primary_key=True),
        _sequence(),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _uploads() -> None:
    op.create_table(
        "executor_source_bundle",
        sa.Column("project_id", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "executor_source_bundle_chunk",
        sa.Column("project_id", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        _sequence(),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "executor_source_upload",
        sa.Column("project_id", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("by", sa.String(), primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
    )


def _workers() -> None:
    op.create_table(
        "executor_worker",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", sa.String(), nullable=False),
        sa.Column("rung", sa.String(), nullable=False),
        sa.Column("networks", sa.JSON(), nullable=False),
        sa.Column("pythons", sa.JSON(), nullable=False),
        sa.Column("places", sa.JSON(), nullable=False),
        sa.Column("key_services", sa.JSON(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("signers", sa.JSON(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("closed", sa.Text()),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("stopped_at", UtcDateTime()),
    )


def _people() -> None:
    op.create_table(
        "executor_account",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("password", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("logged_in_at", UtcDateTime()),
        sa.Column("disabled_at", UtcDateTime()),
        sa.Column("disabled_by", sa.String()),
    )
    op.create_index("executor_account_name", "executor_account", ["name"], unique=True)
    op.create_index("executor_account_identity", "executor_account", ["issuer", "subject"], unique=True)
    op.create_table(
        "executor_group",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
    )
    op.create_index("executor_group_name", "executor_group", ["issuer", "name"], unique=True)
    op.create_table(
        "executor_group_member",
        sa.Column("group_id", sa.String(), primary_key=True),
        sa.Column("account_id", sa.String(), primary_key=True),
        sa.Column("said_at", UtcDateTime(), nullable=False),
    )
    op.create_index("executor_group_member_account", "executor_group_member", ["account_id"])
    op.create_table(
        "executor_membership",
        sa.Column("holder_id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), primary_key=True),
        sa.Column("environment_id", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        sa.Column("given_by", sa.String(), nullable=False),
    )
    op.create_index("executor_membership_place", "executor_membership", ["project_id", "environment_id"])


def _credentials() -> None:
    op.create_table(
        "executor_session",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("renew", sa.Boolean(), nullable=False),
        sa.Column("previous_digest", sa.String()),
        sa.Column("previous_until", UtcDateTime()),
    )
    op.create_index("executor_session_account", "executor_session", ["account_id"])
    op.create_index("executor_session_previous", "executor_session", ["previous_digest"])
    op.create_table(
        "executor_token",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String()),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime()),
        sa.Column("revoked_at", UtcDateTime()),
        sa.Column("revoked_by", sa.String()),
    )
    op.create_index("executor_token_digest", "executor_token", ["digest"], unique=True)
    op.create_index("executor_token_account", "executor_token", ["account_id"])
    op.create_table(
        "executor_link",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "executor_device_code",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("typed_digest", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("account_id", sa.String()),
        sa.Column("refused", sa.Boolean(), nullable=False),
    )
    op.create_index("executor_device_code_typed", "executor_device_code", ["typed_digest"], unique=True)
    op.create_table(
        "executor_command_line_code",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("challenge", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "executor_oidc_state",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("browser_digest", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("verifier", sa.String(), nullable=False),
        sa.Column("return_to", sa.String(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )


def _counters() -> None:
    op.create_table(
        "executor_attempts",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "executor_answer",
        sa.Column("principal_id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), primary_key=True),
        sa.Column("route", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("body_digest", sa.String(), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.LargeBinary()),
    )


def _jobs() -> None:
    op.create_table(
        "executor_job",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.Text()),
        sa.Column("done", sa.JSON()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String()),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
    )
    _partial_index("executor_job_open", ["created_at"], "finished_at IS NULL", "executor_job")
    op.create_index("executor_job_by_project", "executor_job", ["project_id", "created_at"])
    op.create_table(
        "executor_job_receipt",
        *_of_job(),
        sa.Column("generation", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("key_service", sa.String(), nullable=False),
        sa.Column("opening_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime()),
        sa.Column("dropped_at", UtcDateTime()),
        sa.Column("reason", sa.Text()),
    )
    op.create_table(
        "executor_job_receipt_secret",
        *_of_job(),
        sa.Column("secret_id", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("given_at", UtcDateTime(), nullable=False),
    )


def _of_job() -> tuple[sa.Column[str], sa.Column[int]]:
    """The key of everything an attempt of a job leaves."""
    return (
        sa.Column("job_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
    )


def _of_attempt() -> tuple[sa.Column[str], sa.Column[int]]:
    """The key of everything an attempt leaves."""
    return (
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
    )


def _sequence() -> sa.Column[int]:
    """The last part of the key of what is kept in pieces."""
    return sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False)


def _partial_index(name: str, columns: list[str], where: str, table: str = "executor_run") -> None:
    """An index of the rows alone that a condition is true of."""
    condition = sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)
