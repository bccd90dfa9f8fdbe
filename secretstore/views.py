"""What the store shows, as pydantic models. None has room for a secret's value, a part of it, or its length."""

from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass

View = TypeVar("View")


def view_of(view: type[View], row: object, **others: Any) -> View:
    """Make a view from a row's columns of the same names, and from the fields that are given."""
    named = (field.name for field in fields(view) if field.name not in others)  # type: ignore[arg-type]
    return view(**{name: getattr(row, name) for name in named}, **others)


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

    `state`: pending (a rotation prepares it), current, kept (past, not destroyed yet) or destroyed.
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
