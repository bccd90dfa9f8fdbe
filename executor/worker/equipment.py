"""What a worker brings to every run."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from executor.boundary.supervision import Zygote
from executor.python.interpreters import Interpreters
from executor.python.machine_setup import MachineSetup
from executor.runs import Offer
from executor.sandbox import confinement
from executor.settings import Settings
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
    pythons: Interpreters = field(default_factory=Interpreters)
    machine: MachineSetup = field(default_factory=MachineSetup)
    cancelled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)
