"""What a machine offers to runs, as it was found out by trying."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GRANTED = "yes"
"""What stands for a part that this machine grants; for one that it does not, the reason stands."""


@dataclass(frozen=True)
class Host:
    """What this machine offers, probed once per worker.

    `parts` has an entry for each part of a box; `box` stands for the whole, without those that may be missing.
    `unix_sockets`: what becomes of them at rung `landlock`, see `filter.entering`; `open` if no filter can be had.
    """

    landlock_abi: int
    mounts: bool
    parts: Mapping[str, str] = field(default_factory=dict)
    unix_sockets: str = "open"

    @property
    def rung(self) -> str:
        """The strictest rung this worker can give."""
        if self.parts.get("box") == GRANTED:
            return "namespace"
        return "landlock" if self.landlock_abi else "process"

    @property
    def own_memory(self) -> bool:
        """Whether each run has a /dev/shm of its own."""
        return self.mounts or self.rung == "namespace"

    @property
    def granted(self) -> tuple[str, ...]:
        """The parts that it grants."""
        return tuple(name for name, found in self.parts.items() if found == GRANTED)

    @property
    def box(self) -> tuple[str, ...]:
        """The parts of the box that each run has; none where runs have no box."""
        return self.granted if self.rung == "namespace" else ()

    @property
    def networks(self) -> tuple[str, ...]:
        """The policies of the network that this worker can keep."""
        if self.rung == "namespace":
            none = "net" in self.granted
        else:  # at rung `process` no filter is in force, whatever could be had
            none = self.rung == "landlock" and self.unix_sockets != "open"
        return ("full", "none") if none else ("full",)
