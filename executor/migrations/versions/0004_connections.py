"""Runs that are given data sources and catalogs, or not, and receipts that name them."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("executor_run", sa.Column("connections", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("executor_run", sa.Column("mapped", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "executor_receipt_connection",
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
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
