"""What a run needs and where it comes from, retries, source bundles, metrics; and what a worker offers."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("executor_run") as run:
        run.add_column(sa.Column("bundle", sa.String()))
        run.add_column(sa.Column("source_commit", sa.String()))
        run.add_column(sa.Column("source_dirty", sa.Boolean()))
        run.add_column(sa.Column("python_version", sa.String()))
        run.add_column(sa.Column("requirements", sa.JSON()))
        run.add_column(sa.Column("setup_secret_names", sa.JSON()))
        run.add_column(sa.Column("queue_timeout", sa.Float()))
        run.add_column(sa.Column("network", sa.String(), nullable=False, server_default="full"))
        run.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
        run.add_column(sa.Column("retry_on", sa.JSON()))
        run.add_column(sa.Column("retried", sa.Integer(), nullable=False, server_default="0"))
        run.add_column(sa.Column("retry_of", sa.String()))
        run.add_column(sa.Column("not_before", UtcDateTime()))
        run.add_column(sa.Column("idempotency_key", sa.String()))
        run.alter_column("host", existing_type=sa.String(), nullable=True)
    # A run that was to be tried again whenever it was lost: ten attempts, as it had until now.
    op.execute("UPDATE executor_run SET retries = 9, retry_on = '[\"lost\"]' WHERE retry_when_lost")
    with op.batch_alter_table("executor_run") as run:
        run.drop_column("retry_when_lost")
    op.create_index("executor_run_idempotency", "executor_run", ["project_id", "idempotency_key"], unique=True)
    op.create_index("executor_run_by_bundle", "executor_run", ["project_id", "bundle"])
    _partial_index("executor_run_leased", "project_id", "lease_owner IS NOT NULL")
    _partial_index("executor_run_delayed", "not_before", "not_before IS NOT NULL")
    _partial_index("executor_run_finished", "finished_at", "finished_at IS NOT NULL")
    with op.batch_alter_table("executor_attempt") as attempt:
        attempt.add_column(sa.Column("message", sa.Text()))
        attempt.add_column(sa.Column("packages", sa.JSON()))
        attempt.add_column(sa.Column("metrics", sa.JSON()))
    with op.batch_alter_table("executor_worker") as worker:
        worker.add_column(sa.Column("networks", sa.JSON(), nullable=False, server_default='["full"]'))
        worker.add_column(sa.Column("pythons", sa.JSON(), nullable=False, server_default="[]"))
        worker.add_column(sa.Column("places", sa.JSON(), nullable=False, server_default='["*/*"]'))
    op.create_table(
        "executor_sample",
        *_of_attempt(),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "executor_metric",
        *_of_attempt(),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("unit", sa.String()),
        sa.Column("labels", sa.JSON()),
    )
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
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )


def _partial_index(name: str, column: str, where: str) -> None:
    """An index of the rows alone that a condition is true of."""
    condition = sa.text(where)
    op.create_index(name, "executor_run", [column], postgresql_where=condition, sqlite_where=condition)


def _of_attempt() -> tuple[sa.Column[str], sa.Column[int], sa.Column[int]]:
    """The key of what an attempt leaves piece by piece."""
    return (
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
    )
