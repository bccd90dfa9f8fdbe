"""A run's limits as its job has them: its control group, its rlimits, and what its supervisor looks after."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from executor.sandbox import tree
from executor.sandbox.limits import Entry, Group, Mechanisms, sampled
from executor.supervisor.bounds import Bounds

_A_MOMENT = 0.05  # seconds
_LOOKS = 20  # at who is there; a run that forks faster than it is looked at is moved as far as it was seen


@contextlib.contextmanager
def of_run(job: Mapping[str, Any]) -> Iterator[Group]:
    """The run's control group, gone with all that is in it when the context ends."""
    asked = _with_ours(job, in_box=True)
    group = Group(_mechanisms(job), asked.get("project", ""), asked.get("name", ""), asked)
    try:
        yield group
    finally:
        group.kill()
        group.remove()


class Share:
    """A run's part in its project's share of the processors, where nothing else of it takes a control group.

    To enter one takes up to some ten milliseconds, for which the kernel waits (see RCU). So a run takes its part when
    it has gone on for a moment, and what is over sooner never does.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        """Begin now."""
        self._job = job
        self._group: Group | None = None
        shared = job["limits"].get("share") is not None
        self.next_at = time.monotonic() + _A_MOMENT if shared else math.inf
        """When it is to be taken."""

    def take(self) -> None:
        """Move the run's processes into its group, until there is none left outside."""
        self.next_at = math.inf
        asked = self._job["limits"]
        self._group = Group(Mechanisms.from_json(asked["share"]), asked["project"], asked["name"], {})
        moved: set[int] = set()
        with contextlib.suppress(OSError):  # it goes on without
            for _ in range(_LOOKS):
                found = set(tree.descendants()) - moved
                for pid in sorted(found):
                    self._group.take_in(pid)
                moved |= found
                if not found:
                    break

    def end(self) -> None:
        """Remove the group, once all that was in it is dead."""
        if self._group is not None:
            self._group.kill()
            self._group.remove()


def entry_of(job: Mapping[str, Any], group: Group) -> Entry:
    """What puts them in force, in the run's first process and before anything of the run is there."""
    asked = _with_ours(job, in_box=True)
    return group.entry(asked, counted=_counted(job), fsize=bool(asked.get("fsize")))


def bounds_of(job: Mapping[str, Any], group: Group) -> Bounds:
    """What the supervisor looks after while the run goes on: also that a group of which one was killed ends as a whole.

    The kernel takes one process of it, and who waits for that one may wait for ever.
    """
    asked = _with_ours(job, in_box=False)
    limited = asked.get("memory_bytes") is not None and group.has("memory")
    return Bounds(
        sampled(_mechanisms(job), asked, counted=_counted(job)),
        memory=asked.get("memory_bytes"),
        pids=asked.get("pids"),
        disk=asked.get("disk_bytes"),
        folders=[*job["folders"], *job.get("written", ())],
        starved=group.killed_for_memory if limited else None,
    )


def _with_ours(job: Mapping[str, Any], *, in_box: bool) -> dict[str, Any]:
    """What is asked for, with room for a process of ours: a box's first, which is in it, or who judges connections."""
    asked = dict(job["limits"])
    if asked.get("pids") is not None and (job["view"]["rung"] == "namespace" or not in_box):
        asked["pids"] += 1
    return asked


def _mechanisms(job: Mapping[str, Any]) -> Mechanisms:
    found = job["limits"].get("mechanisms")
    return Mechanisms() if found is None else Mechanisms.from_json(found)


def _counted(job: Mapping[str, Any]) -> bool:
    """Whether the kernel counts the processes of this run alone."""
    return bool(job["limits"].get("counted", job["view"]["uid"] is not None))
