"""What the store shows, as pydantic models. None has room for a secret's value, a part of it, or its length.

Connections and audit events are checked by nobody on their way out: a row that somebody changed is shown as it is.
"""

import dataclasses
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class ProjectView:
    """A project."""

    id: str
    name: str
    network: str
    sandbox_min: str
    max_running: int | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class EnvironmentView:
    """An environment, and the key pair its secrets are sealed to."""

    id: str
    project_id: str
    project: str
    name: str
    generation: int
    fingerprint: str
    queue: str | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class KeyPairView:
    """One generation of an environment's key pair.

    `state`: pending (a rotation prepares it), current, kept (past, and not destroyed yet) or destroyed.
    """

    project: str
    environment: str
    generation: int
    fingerprint: str
    state: str
    key_service: str
    created_at: datetime
    created_by: str
    destroyed_at: datetime | None


@dataclass(frozen=True)
class SecretView:
    """A secret; `version` is the one that runs are given."""

    id: str
    name: str
    environment: str
    version: int
    maskable: bool
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    expires_at: datetime | None
    as_file: bool = False
    """Whether a run is given it as a private file, and the file's path as the variable."""


@dataclass(frozen=True)
class VersionView:
    """One version of a secret that is kept."""

    version: int
    created_at: datetime
    created_by: str
    current: bool
    maskable: bool
    expires_at: datetime | None


@dataclass(frozen=True)
class DueView:
    """A secret whose current version expires, or has expired."""

    project: str
    environment: str
    name: str
    expires_at: datetime


@dataclass(frozen=True)
class VariableView:
    """A variable, with its value: it is plain configuration."""

    id: str
    name: str
    environment: str
    value: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


@dataclasses.dataclass(frozen=True)
class Missing:
    """What a connection names and is not there: a secret, or a catalog's source."""

    field: str
    what: Literal["secret", "source"]
    name: str


@dataclasses.dataclass(frozen=True)
class ConnectionView:
    """A data source or catalog. Its settings hold no value: secrets stand in them by name.

    `where` is what it leads to in a few words, `problem` why runs are not given it, `test_outcome` `ok`, `failed` or
    None where it was not tested with these settings, `test_seconds` how long that took.
    """

    id: str
    role: str
    name: str
    environment: str
    kind: str
    where: str
    settings: dict[str, Any]
    secrets: tuple[str, ...]
    tested_at: datetime | None
    test_outcome: str | None
    test_seconds: float | None
    test_message: str | None
    test_run: str | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    problem: str | None = None
    missing: tuple[Missing, ...] = ()

    @property
    def label(self) -> str:
        """As it is called on screen: `source lake`."""
        return f"{self.role} {self.name}"


@dataclasses.dataclass(frozen=True)
class Dangling:
    """A connection that runs are not given as it stands, why, and what mends it."""

    project: str
    environment: str
    role: str
    name: str
    why: str
    mend: str


@dataclasses.dataclass(frozen=True)
class EventView:
    """An audit event with all that is hashed, and its hash; `detail` is JSON text, as it was written."""

    project_id: str
    sequence: int
    project: str
    at: datetime | None
    """None where somebody made it unreadable."""
    actor: str
    origin: str
    action: str
    subject: str
    detail: str
    outcome: str
    previous_hash: str
    hash: str

    def fields(self) -> dict[str, Any]:
        """All fields as they are hashed, and the hash."""
        return vars(self) | {"at": hashed_moment(self.at)}


@dataclasses.dataclass(frozen=True)
class Head:
    """An event to be found again: its hash, and its place where that was kept, too."""

    hash: str
    sequence: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Reads `SEQUENCE:HASH`, or a hash alone.

        Raises:
            ValueError: When it is neither.
        """
        place, _, found = text.strip().rpartition(":")
        if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
            raise ValueError("a head is SEQUENCE:HASH, or 64 hexadecimal digits alone")
        return cls(found, int(place) if place else None)

    def __str__(self) -> str:
        return self.hash if self.sequence is None else f"{self.sequence}:{self.hash}"


@dataclasses.dataclass(frozen=True)
class VerifyResult:
    """What a walk along a chain found; `head` is the last good event, as `SEQUENCE:HASH`.

    `first_bad` is the first event that is not as it was written, `why` says what is wrong with it, or with the end.
    `project_id` says whose chain both are of: deleted projects may have had the same name.
    """

    project: str
    project_id: str
    checked: int
    head: str
    first_bad: int | None = None
    why: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every event is as it was written, and the expected head is among them."""
        return self.why is None


def hashed_moment(at: datetime | str | None) -> str | None:
    """As it is hashed, which is also how SQLite keeps it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(at, datetime) else at
