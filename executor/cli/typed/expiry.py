"""When a secret expires, as it is typed."""

import re
from datetime import UTC, datetime, timedelta

from executor.errors import Misuse
from secretstore.errors import ValueRefused

_DURATION = re.compile(r"([0-9]{1,6})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def expiry(name: str, text: str) -> datetime:
    """The moment that `--expires` names.

    Args:
        name: the secret's name.
        text: a duration from now as in 12h, 90d or 6w, or a date or moment in ISO 8601; one without a zone is in
            UTC, and a date is its beginning.

    Raises:
        Misuse: it is neither; it is not quoted, since a value may have been typed in its place.
        ValueRefused: it is in the past.
    """
    now = datetime.now(UTC)
    try:
        if duration := _DURATION.fullmatch(text):
            at = now + int(duration[1]) * _UNITS[duration[2]]
        else:
            at = datetime.fromisoformat(text)
            at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Misuse(
            "--expires takes a duration (12h, 90d, 6w), a date (2030-01-31) or a moment (2030-01-31T12:00Z)",
            command="secret set",
        ) from None
    if at <= now:
        raise ValueRefused('the expiry of "{name}" is refused: {why}', name=name, why="it is in the past")
    return at
