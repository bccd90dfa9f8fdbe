"""Jobs as they are shown. Nothing here has room for a value or a key."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from executor.schemas.places import Input


class JobNamed(Input):
    """A job of a project: its id, or a unique beginning of it."""

    project: str
    job: str = Field(min_length=1)


class Jobs(Input):
    """A project's jobs, the latest first, at most so many of them."""

    project: str
    environment: str | None = None
    limit: int = Field(default=20, ge=1)


@dataclass(frozen=True)
class JobVersions:
    """A secret of which an attempt had versions opened, to be sealed anew."""

    name: str
    versions: tuple[int, ...]


@dataclass(frozen=True)
class JobReceiptView:
    """A private key that an attempt had unwrapped: `opening` until it is known that its process has ended."""

    attempt: int
    worker: str
    generation: int
    fingerprint: str
    key_service: str
    status: str
    opening_at: datetime
    opened_at: datetime | None
    dropped_at: datetime | None
    reason: str | None
    secrets: tuple[JobVersions, ...] = ()


@dataclass(frozen=True)
class JobView:
    """A job: `asked` is what for, `done` what came of it, as of the operation that does it in place.

    `waiting_for` is what no live worker offers, as long as it is pending.
    """

    id: str
    kind: str
    project: str
    environment: str
    asked: Mapping[str, Any]
    state: str
    reason: str | None
    message: str | None
    done: Mapping[str, Any] | None
    attempt: int
    worker: str | None
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None
    waiting_for: str | None = None
    receipts: tuple[JobReceiptView, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.finished_at is not None


@dataclass(frozen=True)
class JobServing:
    """The live workers that could do a job of an environment, and what is missing where there is none."""

    workers: tuple[str, ...]
    missing: str | None
