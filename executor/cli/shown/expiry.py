"""When a secret expires, as it is shown."""

from datetime import UTC, datetime

from executor.cli.shown import screen

DUE_DAYS = 14
"""Days ahead that `doctor` looks."""


def time_left(at: datetime | None) -> str:
    """How far off an expiry is, in the largest unit that fits; empty for none."""
    if at is None:
        return ""
    left = (at - datetime.now(UTC)).total_seconds()
    # A minute more: what was given 5 days a moment ago has not 4.
    return "expired" if left <= 0 else f"expires in {screen.length(left + 60)}"
