"""Data sources and catalogs, and secrets that runs are given as files."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # The default stays: to take it away SQLite copies the table and drops the old one, and every version with it.
    op.add_column("secretstore_secret", sa.Column("as_file", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "secretstore_connection",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "environment_id",
            sa.String(32),
            sa.ForeignKey("secretstore_environment.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("tested_at", UtcDateTime()),
        sa.Column("test_outcome", sa.String(16)),
        sa.Column("test_seconds", sa.Float()),
        sa.Column("test_message", sa.Text()),
        sa.Column("test_run", sa.String(32)),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("updated_by", sa.String(255), nullable=False),
        sa.UniqueConstraint("environment_id", "role", "name"),
    )
