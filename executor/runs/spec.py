"""The values of a run's life: what is asked for, what a worker offers, a lease, an outcome; and the words for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import SQLModel

from secretstore.run_connection import CATALOG, SOURCE

RUNGS = ("process", "landlock", "namespace")
LONGEST = 10**8
"""Seconds that any time of a run stays below."""


@dataclass(frozen=True)
class Offer:
    """What a worker can give; a claim takes nothing beyond it.

    `pythons` are versions of interpreters that environments can be built with, as in `3.12`; `places` are patterns of
    the projects and environments it serves, as in `shop/staging` or `shop/*`; `key_services` are patterns of what it
    can unwrap (`secretstore.keyring.offered`). `refused` are the ids of environments whose secrets its key service has
    refused to open a moment ago: it leaves them to others. `signers` are the ids of the keys whose plans it insists on.
    """

    worker: str
    host: str
    queues: tuple[str, ...]
    rung: str
    networks: tuple[str, ...] = ("full",)
    pythons: tuple[str, ...] = ()
    places: tuple[str, ...] = ("*/*",)
    key_services: tuple[str, ...] = ("*",)
    refused: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lease:
    """The right to write about one attempt, as long as nobody holds a later token.

    `limited`: only so many runs of its project may be running, so that others may wait for this one's end.
    """

    run_id: str
    attempt: int
    token: int
    seconds: float
    limited: bool = False


@dataclass(frozen=True)
class Hit:
    """How often a secret was found, and masked, in a stream of an attempt and in a form.

    `secret` is its name, or words for what has none; nothing of its value.
    """

    secret: str
    stream: str
    form: str
    count: int


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `result`, `note` and `problem` came through the masker.

    Of its secrets: `opened_at` is when the opener had handed them over, `not_opened` why it did not, `dropped_at` when
    the supervisor that held them was gone. What is not known is None. `refused` is the kind of the error that shut the
    gate; `unopened` the kind of the one by which this worker's key service refused before any value was opened, where
    another worker's may not. A `state` of `lost` or `refused` is how an attempt ends; the run of it is tried again, or
    has failed.
    """

    state: str
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    result: Any = None
    note: str | None = None
    problem: dict[str, Any] | None = None
    opened_at: datetime | None = None
    dropped_at: datetime | None = None
    not_opened: str | None = None
    refused: str | None = None
    unopened: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    connections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of data sources and catalogs by key, as in `source/lake`: why one was `left_out`, when one `expires_at`, and
    which optional settings are `absent`."""
    metrics: Mapping[str, Any] | None = None
    masked: Sequence[Hit] = ()
    """What the masker has found in what it gave out."""
    rows: Sequence[SQLModel] = ()  # the end of its output, committed with the outcome

    @property
    def masked_count(self) -> int:
        """How often anything was masked."""
        return sum(hit.count for hit in self.masked)


def storable(text: str) -> str:
    """A text that every database takes: a path may hold bytes that are no text."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def mapped_by(target: Mapping[str, Any]) -> dict[str, str]:
    """Which parameters of a target's function are data sources and catalogs, as of `mapped`."""
    return mapped(target.get("sources") or {}, target.get("catalogs") or {})


def mapped(sources: Mapping[str, str], catalogs: Mapping[str, str]) -> dict[str, str]:
    """Parameters of a function that are data sources and catalogs, each with its key: `source/lake`."""
    asked = ((SOURCE, sources), (CATALOG, catalogs))
    return {parameter: f"{role}/{name}" for role, names in asked for parameter, name in names.items()}


class GateShut(Exception):
    """the lease has passed on, or the run was cancelled meanwhile"""


class StaleToken(Exception):
    """a later claim has taken the run over"""
