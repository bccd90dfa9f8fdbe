"""The first tables: projects, environments, key pairs, secrets, variables, connections, audit events."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    _places()
    _contents()
    _audit()


def _places() -> None:
    op.create_table(
        "secretstore_project",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("network", sa.String(16), nullable=False),
        sa.Column("sandbox_min", sa.String(16), nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("output_limit", sa.BigInteger()),
        sa.Column("memory_bytes", sa.BigInteger()),
        sa.Column("cpus", sa.Float()),
        sa.Column("pids", sa.Integer()),
        sa.Column("disk_bytes", sa.BigInteger()),
        sa.Column("protected", sa.Boolean(), nullable=False),
        *_created(),
        sa.Column("deleted_at", UtcDateTime()),
        sa.Column("deleted_by", sa.String(255)),
        sa.Column("destroy_at", UtcDateTime()),
        sa.Column("destroyed_at", UtcDateTime()),
    )
    there = sa.text("destroyed_at IS NULL")
    op.create_index(
        "secretstore_project_name",
        "secretstore_project",
        ["name"],
        unique=True,
        sqlite_where=there,
        postgresql_where=there,
    )
    op.create_table(
        "secretstore_environment",
        sa.Column("id", sa.String(32), primary_key=True),
        _parent("project_id", "secretstore_project"),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(63)),
        *_created(),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "secretstore_key_pair",
        _parent("environment_id", "secretstore_environment", primary_key=True),
        sa.Column("generation", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("key_service", sa.String(2048), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary()),
        sa.Column("voucher", sa.LargeBinary()),
        *_created(),
        sa.Column("destroyed_at", UtcDateTime()),
    )


def _contents() -> None:
    op.create_table(
        "secretstore_secret",
        sa.Column("id", sa.String(32), primary_key=True),
        _parent("project_id", "secretstore_project"),
        _parent("environment_id", "secretstore_environment"),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("maskable", sa.Boolean(), nullable=False),
        sa.Column("as_file", sa.Boolean(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
        *_created(),
        *_updated(),
        sa.UniqueConstraint("environment_id", "name"),
    )
    op.create_table(
        "secretstore_secret_version",
        _parent("secret_id", "secretstore_secret", primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("generation", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("maskable", sa.Boolean(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
        *_created(),
    )
    op.create_table(
        "secretstore_secret_reservation",
        sa.Column("id", sa.String(32), primary_key=True),
        _parent("project_id", "secretstore_project"),
        sa.Column("reserved", sa.Text(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False, index=True),
        *_created(),
    )
    op.create_table(
        "secretstore_variable",
        sa.Column("id", sa.String(32), primary_key=True),
        _parent("environment_id", "secretstore_environment"),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        *_created(),
        *_updated(),
        sa.UniqueConstraint("environment_id", "name"),
    )
    op.create_table(
        "secretstore_connection",
        sa.Column("id", sa.String(32), primary_key=True),
        _parent("environment_id", "secretstore_environment"),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("tested_at", UtcDateTime()),
        sa.Column("test_outcome", sa.String(16)),
        sa.Column("test_seconds", sa.Float()),
        sa.Column("test_message", sa.Text()),
        sa.Column("test_run", sa.String(32)),
        *_created(),
        *_updated(),
        sa.UniqueConstraint("environment_id", "role", "name"),
    )


def _audit() -> None:
    op.create_table(
        "secretstore_audit_event",
        sa.Column("project_id", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        *_event(index=True),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "secretstore_audit_waiting",
        # SQLite numbers rows only in columns of type INTEGER.
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("project_id", sa.String(32), nullable=False),
        *_event(),
    )


def _parent(name: str, table: str, primary_key: bool = False) -> sa.Column[str]:
    parent = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.String(32), parent, nullable=False, primary_key=primary_key)


def _created() -> list[sa.Column[object]]:
    return [
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(255), nullable=False),
    ]


def _updated() -> list[sa.Column[object]]:
    return [
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("updated_by", sa.String(255), nullable=False),
    ]


def _event(index: bool = False) -> list[sa.Column[object]]:
    return [
        sa.Column("project", sa.String(63), nullable=False, index=index),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("origin", sa.String(255), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
    ]
