"""What the store shows, as pydantic models. None has room for a secret's value, a part of it, or its length.

Connections and audit events are plain dataclasses, which check nothing: a row that somebody changed is shown as it is.
"""

import dataclasses
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic.dataclasses import dataclass

View = TypeVar("View")


def view_of(view: type[View], row: object, **others: Any) -> View:
    """Make a view from a row's columns of the same names, and from the fields that are given."""
    # Every view is a dataclass, of pydantic or plain: there is no type for both.
    named = (field.name for field in dataclasses.fields(view) if field.name not in others)  # type: ignore[arg-type]
    return view(**{name: getattr(row, name) for name in named}, **others)


@dataclass(frozen=True)
class ProjectView:
    """A project. A deleted one can be brought back until its keys are destroyed, at `destroy_at` or soon after.

    The most that one of its runs may have of memory, CPUs, processes and bytes written at once: None is as its worker
    has it.
    """

    id: str
    name: str
    network: str
    sandbox_min: str
    max_running: int | None
    output_limit: int | None
    memory_bytes: int | None
    cpus: float | None
    pids: int | None
    disk_bytes: int | None
    protected: bool
    created_at: datetime
    created_by: str
    deleted_at: datetime | None
    deleted_by: str | None
    destroy_at: datetime | None
    destroyed_at: datetime | None


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

    `state`: pending (a rotation prepares it), current, kept (past, not destroyed yet) or destroyed. `pin` is what a
    project file or `--pin` takes.
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
    pin: str


@dataclass(frozen=True)
class SecretView:
    """A secret; `version` is the one that runs get."""

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
    """Whether runs get a private file with the value, and its path as the variable."""


@dataclass(frozen=True)
class VersionView:
    """One kept version of a secret."""

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
    """A variable with its value: plain configuration."""

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
    """What a connection names and does not exist: a secret, or a catalog's source."""

    field: str
    what: Literal["secret", "source"]
    name: str


@dataclasses.dataclass(frozen=True)
class ConnectionView:
    """A data source or catalog. Its settings hold no value: they refer to secrets by name.

    `where` is what it leads to in a few words, `problem` why runs do not get it, `test_outcome` `ok`, `failed` or None
    if it was not tested with these settings.
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
        """Its name on screen: `source lake`."""
        return f"{self.role} {self.name}"


@dataclasses.dataclass(frozen=True)
class Dangling:
    """A connection that runs do not get as it is, why, and the command that repairs it."""

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
    """None if somebody made it unreadable."""
    actor: str
    origin: str
    action: str
    subject: str
    detail: str
    outcome: str
    previous_hash: str
    hash: str

    def fields(self) -> dict[str, Any]:
        """Return all fields as they are hashed, and the hash."""
        return vars(self) | {"at": hashed_moment(self.at)}


@dataclasses.dataclass(frozen=True)
class Head:
    """An event to find again: its hash, and its place if that was kept, too."""

    hash: str
    sequence: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read `SEQUENCE:HASH`, or just a hash.

        Raises:
            ValueError: it is neither.
        """
        place, _, found = text.strip().rpartition(":")
        if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
            raise ValueError("a head is SEQUENCE:HASH, or just a hash of 64 hexadecimal digits")
        return cls(found, int(place) if place else None)

    def __str__(self) -> str:
        return self.hash if self.sequence is None else f"{self.sequence}:{self.hash}"


@dataclasses.dataclass(frozen=True)
class VerifyResult:
    """What a walk along a chain found; `head` is the last good event, as `SEQUENCE:HASH`.

    `first_bad` is the first event that was altered, `why` says what is wrong with it, or with the end. `project_id`
    says whose chain both are of: deleted projects may have had the same name.
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
    """Return a time as it is hashed, which is also how SQLite keeps it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(at, datetime) else at
