"""What the store shows, as pydantic models. None has room for a secret's value, a part of it, or its length."""

from datetime import datetime

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
