"""Workers as they are shown, and what they mean for a run that waits."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from pydantic.dataclasses import dataclass

from executor.schemas.places import Input

TOLD_TO_STOP = "it was told to stop"
"""Why a worker takes no run that lets those that it has go on, and ends then."""


@dataclass(frozen=True)
class Refusal:
    """That a worker's key service refused to open the secrets of a place, as `shop/staging`, and what it said."""

    place: str
    said: str


@dataclass(frozen=True)
class WorkerView:
    """A worker as its last heartbeat showed it; `refused` are the environments that it leaves to others, by id."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    rung: str
    networks: tuple[str, ...]
    pythons: tuple[str, ...]
    places: tuple[str, ...]
    slots: int
    seen_at: datetime
    alive: bool
    closed: str | None = None
    """Why it takes no run, as long as it does not."""
    key_services: tuple[str, ...] = ("*",)
    """The key services that it has unwrap private keys, each with its key, as in `local:0123456789abcdef`."""
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    signers: tuple[str, ...] = ()
    """The signing keys, by id, of the servers whose plans it insists on; without any it takes what the database has."""
    stopped: bool = False
    """It has said that it ends."""


class Those(Input):
    """Workers: those that live or were seen lately; `every` for those that are gone for longer, too."""

    every: bool = False


@dataclass(frozen=True)
class Listed:
    """A worker in a list, and the runs that it has a good lease of."""

    worker: WorkerView
    running: tuple[str, ...]


class OfQueue(Input):
    """Workers of this machine that take what is submitted to a queue."""

    queue: str


@dataclass(frozen=True)
class Serving:
    """Workers of this machine and a queue: those that live, and when the latest of all was last seen."""

    host: str
    queue: str
    live: tuple[WorkerView, ...]
    seen_at: datetime | None


@dataclass(frozen=True)
class Attended:
    """What was done for a run that waits, and what it waits for.

    `started`: a worker was started for it. `missing`: what no live worker offers; None where one does, or where one is
    on its way. `lives`: whether any worker does. The run needs a worker of the name `host`, if it has one.
    """

    started: bool
    missing: str | None
    lives: bool
    host: str | None
    serving: Serving
