"""What a worker brings to every run."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from executor.boundary.supervision import Zygote
from executor.python.interpreters import Interpreters
from executor.runs import Lease, Offer, Outcome
from executor.sandbox import confinement
from executor.settings import Settings
from executor.worker.storage import Storage
from secretstore.database import Database


@dataclass(frozen=True)
class Equipment:
    """What a worker brings to every run."""

    settings: Settings
    db: Database
    zygote: Zygote
    host: confinement.Host
    offer: Offer
    forbidden: tuple[Path, ...]
    storage: Storage
    pythons: Interpreters = field(default_factory=Interpreters)
    cancelled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    uncommitted: dict[Lease, Outcome] = field(default_factory=dict)
    """How attempts ended whose outcome the database did not take."""
    stopping: threading.Event = field(default_factory=threading.Event)
