"""What `doctor` finds."""

from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `status`: ok, note (works, and you should know) or wrong."""

    what: str
    status: str
    text: str
    mend: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
