"""The executor's first tables."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "executor_run",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("source_root", sa.String(), nullable=False),
        sa.Column("python", sa.String()),
        sa.Column("variables", sa.JSON(), nullable=False),
        sa.Column("secret_names", sa.JSON()),
        sa.Column("timeout", sa.Float()),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("rung_min", sa.String()),
        sa.Column("retry_when_lost", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("message", sa.Text()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String()),
        sa.Column("lease_until", UtcDateTime()),
        sa.Column("rung_at", UtcDateTime()),
        sa.Column("cancel_requested_at", UtcDateTime()),
        sa.Column("cancel_requested_by", sa.String()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
    )
    op.create_index("executor_run_waiting", "executor_run", ["state", "queue"])
    op.create_index("executor_run_by_project", "executor_run", ["project_id", "created_at"])
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
        sa.Column("exit_code", sa.Integer()),
        sa.Column("signal", sa.Integer()),
        sa.Column("rung", sa.String()),
        sa.Column("controls", sa.JSON()),
        sa.Column("receipt", sa.String(), nullable=False),
        sa.Column("opened_at", UtcDateTime()),
        sa.Column("dropped_at", UtcDateTime()),
    )
    op.create_table(
        "executor_receipt_secret",
        *_of_attempt(),
        sa.Column("secret_id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("alias", sa.String()),
    )
    op.create_index("executor_receipt_by_secret", "executor_receipt_secret", ["secret_id", "version"])
    op.create_table(
        "executor_log_chunk",
        *_of_attempt(),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("stream", sa.String(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "executor_result",
        *_of_attempt(),
        sa.Column("result", sa.JSON()),
        sa.Column("note", sa.Text()),
        sa.Column("problem", sa.JSON()),
    )
    op.create_table(
        "executor_output",
        *_of_attempt(),
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("size", sa.Integer()),
        sa.Column("withheld", sa.String()),
    )
    op.create_table(
        "executor_output_chunk",
        *_of_attempt(),
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "executor_worker",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", sa.String(), nullable=False),
        sa.Column("rung", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("stopped_at", UtcDateTime()),
    )


def _of_attempt() -> tuple[sa.Column[str], sa.Column[int]]:
    """The key of everything an attempt leaves."""
    return (
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
    )
