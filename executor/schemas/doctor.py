"""What `doctor` finds."""

from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from executor.schemas.places import Input
from secretstore.views import DueView


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `status`: ok, note (works, and you should know) or wrong."""

    what: str
    status: str
    text: str
    mend: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


class DueWithin(Input):
    """Secrets that expire within so many days, or have; at most so many of them are named."""

    days: int
    limit: int


@dataclass(frozen=True)
class Due:
    """The first secrets that are due, and how many there are."""

    first: tuple[DueView, ...]
    count: int
