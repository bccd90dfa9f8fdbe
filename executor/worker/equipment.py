"""What a worker brings to every run."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from executor.boundary.supervision import Zygote
from executor.python.interpreters import Interpreters
from executor.python.layout import interpreter_paths
from executor.python.machine_setup import MachineSetup
from executor.runs import Lease, Offer, Outcome
from executor.runs.plans import Doors
from executor.sandbox.host import Host
from executor.sandbox.limits import Mechanisms
from executor.settings import Settings
from executor.worker.health import Leaving
from executor.worker.metrics import Unmeasured
from executor.worker.openings import Openings
from executor.worker.programs import Reach
from executor.worker.starts import Starts
from executor.worker.storage import Storage
from executor.worker.turns import Turns
from secretstore.database import Database
from secretstore.key_service import KeyAccess


@dataclass(frozen=True)
class Equipment:
    """What a worker brings to every run."""

    settings: Settings
    db: Database
    zygote: Zygote
    host: Host
    fixed: Offer
    """What it can give as long as it lives."""
    storage: Storage
    pythons: Interpreters = field(default_factory=Interpreters)
    only_its_user: bool = False
    """Nobody but the user of this worker can submit a run to it."""
    machine: MachineSetup = field(default_factory=MachineSetup)
    cancelled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    starts: Starts = field(default_factory=Starts)
    turns: Turns = field(default_factory=Turns)
    uncommitted: dict[Lease, Outcome] = field(default_factory=dict)
    """How attempts ended whose outcome the database did not take."""
    stopping: threading.Event = field(default_factory=threading.Event)
    leaving: Leaving = field(default_factory=Leaving)
    metrics: Unmeasured = field(default_factory=Unmeasured)
    mechanisms: Mechanisms = field(default_factory=Mechanisms)
    """The control groups that it may make."""

    @cached_property
    def openings(self) -> Openings:
        """What it can open."""
        store = self.settings.store
        return Openings(store, lambda: self.zygote.offered(KeyAccess(store.keys)))

    @cached_property
    def doors(self) -> Doors:
        """Through which doors it takes runs."""
        return Doors(self.settings.signers)

    @property
    def offer(self) -> Offer:
        """What it can give at this moment."""
        return replace(self.fixed, key_services=self.openings.key_services, refused=tuple(self.openings.refused))

    def reach(self, readable: Sequence[Path]) -> Reach:
        """What may be opened for the program of a command that is given these folders of the machine."""
        return Reach((*readable, *self.offered), self.only_its_user, self.settings.closed)

    @cached_property
    def offered(self) -> tuple[Path, ...]:
        """What the Pythons live from that this worker offers to every run."""
        return tuple(part for one in self.pythons.found for part in interpreter_paths(str(one.path))[1])
