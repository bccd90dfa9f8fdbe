"""What the vault shows. No view has room for a secret's value, a part of it, or its length."""

from dataclasses import dataclass
from datetime import datetime


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
    created_at: datetime
    created_by: str


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


@dataclass(frozen=True)
class VersionView:
    """One version of a secret."""

    version: int
    created_at: datetime
    created_by: str
    current: bool


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
