"""Receipts: which secrets a phase of an attempt was given, and under which isolation."""

from datetime import datetime
from typing import Any

from pydantic.dataclasses import dataclass

PHASE, SETUP = "run", "setup"


@dataclass(frozen=True)
class ReceiptEntry:
    """One secret a phase was given; `expires_at` where it was expired already when it was given."""

    name: str
    version: int
    channel: str
    alias: str | None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class ConnectionEntry:
    """A setting of a data source or catalog that a secret, or one field of its JSON, was filled in for.

    `left_out` says why the run was not given the connection after all; `expires_at` is when the short-lived credentials
    end that were made of the secret, which itself did not reach the run.
    """

    role: str
    connection: str
    place: str
    secret: str
    version: int
    field: str | None = None
    left_out: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Receipt:
    """What a phase of an attempt was given, and under which isolation. `status`: none, opening, closed or refused.

    One that stays `opening` after the run is over was cut off: its secrets may have been opened. A closed one without
    `opened_at` has the `reason` why they were not; so has one that was `refused`: the run was given back then, as
    another worker's key service may open them. `opening_at`, and what names the key pair that was used, are None
    where the status is none: no secret was asked for.
    """

    status: str
    secrets: tuple[ReceiptEntry, ...]
    opened_at: datetime | None
    dropped_at: datetime | None
    rung: str | None
    controls: dict[str, Any]
    phase: str = PHASE
    opening_at: datetime | None = None
    reason: str | None = None
    environment_id: str | None = None
    generation: int | None = None
    fingerprint: str | None = None
    key_service: str | None = None
    connections: tuple[ConnectionEntry, ...] = ()

    @property
    def may_have_been_opened(self) -> bool:
        """Whether nothing says that they were opened, or that they were not."""
        return self.status == "opening" and self.opened_at is None
