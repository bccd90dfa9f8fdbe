"""Receipts of their own, one per attempt and phase, with the key pair that was used and when each secret was given."""

import sqlalchemy as sa
from alembic import op

from secretstore.timestamps import UtcDateTime

revision = "0002"
down_revision = "0001"

_COPIED = "run_id, attempt, secret_id, name, version, channel, alias"


def upgrade() -> None:
    op.create_table(
        "executor_receipt",
        *_of_phase(),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String()),
        sa.Column("key_service", sa.String()),
        sa.Column("secrets", sa.Integer(), nullable=False),
        sa.Column("opening_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime()),
        sa.Column("dropped_at", UtcDateTime()),
        sa.Column("reason", sa.Text()),
    )
    # At revision 0001 no key pair had been rotated, so all were of generation 1; their fingerprints were not recorded.
    # A closed receipt without a moment of opening said that the opening failed only where the run says so too.
    op.execute(
        """
        INSERT INTO executor_receipt (run_id, attempt, phase, status, environment_id, generation, secrets,
                                      opening_at, opened_at, dropped_at, reason)
        SELECT a.run_id, a.number, 'run',
               CASE WHEN a.opened_at IS NULL AND coalesce(a.reason, '') <> 'secrets_unavailable'
                    THEN 'opening' ELSE a.receipt END,
               r.environment_id, 1,
               (SELECT count(*) FROM executor_receipt_secret s WHERE s.run_id = a.run_id AND s.attempt = a.number),
               coalesce(a.started_at, a.claimed_at), a.opened_at, a.dropped_at,
               CASE WHEN a.receipt = 'closed' AND a.opened_at IS NULL AND a.reason = 'secrets_unavailable'
                    THEN 'the secrets could not be opened' END
        FROM executor_attempt a JOIN executor_run r ON r.id = a.run_id
        WHERE a.receipt <> 'none'
        """
    )
    op.create_table(
        "executor_receipt_secret_next",
        *_of_phase(),
        sa.Column("secret_id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("alias", sa.String()),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime()),
    )
    op.execute(
        f"""
        INSERT INTO executor_receipt_secret_next ({_COPIED}, phase, given_at)
        SELECT {", ".join(f"s.{name}" for name in _COPIED.split(", "))}, 'run', coalesce(a.started_at, a.claimed_at)
        FROM executor_receipt_secret s JOIN executor_attempt a ON a.run_id = s.run_id AND a.number = s.attempt
        """
    )
    op.drop_table("executor_receipt_secret")
    op.rename_table("executor_receipt_secret_next", "executor_receipt_secret")
    op.create_index("executor_receipt_by_secret", "executor_receipt_secret", ["secret_id", "version", "given_at"])
    op.create_index("executor_receipt_last_use", "executor_receipt_secret", ["secret_id", "given_at"])
    for column in ("receipt", "opened_at", "dropped_at"):
        op.drop_column("executor_attempt", column)


def _of_phase() -> tuple[sa.Column[str], sa.Column[int], sa.Column[str]]:
    """The key of what one phase of an attempt was given."""
    return (
        sa.Column("run_id", sa.String(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("phase", sa.String(), primary_key=True),
    )
