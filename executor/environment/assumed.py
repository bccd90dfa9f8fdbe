"""Short-lived credentials of an S3 source's role, used instead of its long-lived keys."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Assumed:
    """The credentials of one session."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: str
    """ISO 8601, in UTC."""
