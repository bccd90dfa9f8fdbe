"""What a worker brings to every run."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from executor.boundary.supervision import Zygote
from executor.python.interpreters import Interpreters
from executor.python.layout import interpreter_paths
from executor.runs import Offer
from executor.sandbox import confinement
from executor.settings import Settings
from executor.worker.programs import Reach
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
    only_its_user: bool = False
    """Nobody but the user of this worker can submit a run to it."""
    cancelled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def reach(self) -> Reach:
        """What may be opened for a command's program."""
        pythons = [part for one in self.pythons.found for part in interpreter_paths(str(one.path))[1]]
        return Reach(tuple(pythons), self.only_its_user, self.forbidden)
