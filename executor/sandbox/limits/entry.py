"""How a run's limits are put in force, by a process that may have been forked before there was a run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from executor.sandbox.limits.rlimits import apply_rlimits


@dataclass(frozen=True)
class Entry:
    """What the run's first process enters before anything of the run is there.

    `limits`, `counted`, `grouped` and `fsize` are those of `apply_rlimits`; `doors` are the descriptors by which its
    groups are entered; `failure` says why there are none: number, words and path of an OSError.
    """

    limits: Mapping[str, Any] = field(default_factory=dict)
    counted: bool = False
    grouped: bool = False
    fsize: bool = False
    doors: tuple[int, ...] = ()
    failure: tuple[int, str, str | None] | None = None

    def enter(self) -> None:
        """Take the calling process into its groups and put its rlimits in force, for good.

        Raises:
            OSError: a group could not be made, or not be entered.
        """
        if self.failure is not None:
            number, words, path = self.failure
            raise OSError(number, words, path)
        for door in self.doors:
            os.write(door, b"0")
        apply_rlimits(self.limits, counted=self.counted, grouped=self.grouped, fsize=self.fsize)

    def to_json(self) -> dict[str, Any]:
        """For a process that gets the doors in another way."""
        return {**vars(self), "limits": dict(self.limits), "doors": len(self.doors)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], descriptors: Sequence[int]) -> "Entry":
        """As it came, with the doors last among these descriptors."""
        return replace(cls(**document), doors=tuple(descriptors[len(descriptors) - document["doors"] :]))
