"""Key pairs that vouch for their successors, versions that expire, queues, audit events that wait for their chain."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # The key pairs there are have form 1. Added before the table is copied: SQLite's copy leaves out what is new.
    op.add_column("secretstore_key_pair", sa.Column("form", sa.Integer(), nullable=False, server_default="1"))
    with op.batch_alter_table("secretstore_key_pair") as table:
        table.alter_column("form", existing_type=sa.Integer(), existing_nullable=False, server_default=None)
        table.alter_column("wrapped_private_key", existing_type=sa.LargeBinary(), nullable=True)
        table.add_column(sa.Column("voucher", sa.LargeBinary()))
        table.add_column(sa.Column("destroyed_at", UtcDateTime()))
    op.add_column("secretstore_environment", sa.Column("queue", sa.String(63)))
    op.add_column("secretstore_secret", sa.Column("expires_at", UtcDateTime()))
    op.add_column("secretstore_secret_version", sa.Column("expires_at", UtcDateTime()))
    op.create_table(
        "secretstore_audit_waiting",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("project_id", sa.String(32), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("origin", sa.String(255), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
    )
