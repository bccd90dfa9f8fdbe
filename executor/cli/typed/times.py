"""Times as they are typed: how long something may take, when a secret expires, since when something is listed."""

from datetime import UTC, datetime, timedelta

import typer

from executor.errors import Misuse
from secretstore import durations
from secretstore.errors import ValueRefused


def length(text: str) -> float:
    """The seconds of an option that takes a length of time; a number alone is seconds.

    Raises:
        BadParameter: it is none.
    """
    try:
        return durations.seconds(text)
    except ValueError:
        raise typer.BadParameter(f"a length of time is needed, as {durations.FORM}") from None


def age(text: str) -> float:
    """The seconds of an option that says how old something is. It has a unit: 30 could be seconds or days.

    Raises:
        BadParameter: it is none, or has none.
    """
    if (length := _length(text)) is None:
        raise typer.BadParameter("a length of time with its unit is needed, as 30d, 12h, 1h30m or 6w")
    return length.total_seconds()


def expiry(name: str, text: str) -> datetime:
    """The moment that `--expires` names.

    Args:
        name: the secret's name.
        text: a length of time from now, or a moment as `_moment` reads it.

    Raises:
        Misuse: it is neither; it is not quoted, since a value may have been typed in its place.
        ValueRefused: it is in the past.
    """
    now = datetime.now(UTC)
    try:
        at = now + ahead if (ahead := _length(text)) else _moment(text)
    except (ValueError, OverflowError):
        raise Misuse(
            "--expires takes a duration (12h, 90d, 6w), a date (2030-01-31) or a moment (2030-01-31T12:00Z)",
            command="secret set",
        ) from None
    if at <= now:
        raise ValueRefused('the expiry of "{name}" is refused: {why}', name=name, why="it is in the past")
    return at


def since(text: str) -> datetime:
    """The moment that `--since` names: a length of time before now, or a moment as `_moment` reads it.

    Raises:
        BadParameter: it is neither.
    """
    try:
        return datetime.now(UTC) - ago if (ago := _length(text)) else _moment(text)
    except (ValueError, OverflowError):
        said = "a day as 2026-01-31, a moment as 2026-01-31T08:00Z, or a time ago as 7d, 12h or 1h30m"
        raise typer.BadParameter(said) from None


def _length(text: str) -> timedelta | None:
    """A length of time with a unit: without one, 20260131 is a day."""
    if text[-1:].isdecimal():
        return None
    try:
        return timedelta(seconds=durations.seconds(text))
    except ValueError:
        return None


def _moment(text: str) -> datetime:
    """A date, which is its beginning, or a moment in ISO 8601; in UTC where it names no zone."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
