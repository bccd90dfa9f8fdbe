"""The control group of one run, within one of its project: all projects of a worker have the same weight."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from executor.sandbox.limits import removal
from executor.sandbox.limits.entry import Entry
from executor.sandbox.limits.mechanisms import CONTROLLERS, KILL, Mechanisms

_PERIOD = 100_000  # microseconds, the kernel's own
_TRIES = 20  # to make a group in a folder that others remove when it is empty

Setting = tuple[str, str, bool]
"""A file of a group, what is written to it, and whether the kernel may have no such file."""


class Group:
    """A run's group, made by its supervisor before the run's first process.

    One that could not be made says so to whoever enters it, so that no run goes on without what was asked for.
    """

    def __init__(self, mechanisms: Mechanisms, project: str, name: str, limits: Mapping[str, Any]) -> None:
        """Make it.

        Args:
            mechanisms: what the worker has found and settled.
            project: the project's id.
            name: the run's id and attempt.
            limits: `memory_bytes`, `cpus` and `pids`; what is None, or not there, has no limit.
        """
        self._mechanisms = mechanisms
        self._folders: dict[str, str] = {}
        self._doors: list[int] = []
        self._failure: OSError | None = None
        try:
            for place in dict.fromkeys(mechanisms.places.values()):
                holds = {one for one, folder in mechanisms.places.items() if folder == place}
                folder = _make(place, f"p-{project}", f"r-{name}", mechanisms.version, holds)
                self._folders.update(dict.fromkeys(holds, folder))
                for file, text, may_lack in _settings(mechanisms.version, holds, limits):
                    _write(f"{folder}/{file}", text, may_lack=may_lack)
                self._doors.append(os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            self._failure = error

    def entry(self, limits: Mapping[str, Any], *, counted: bool = False, fsize: bool = False) -> Entry:
        """What enters it, with rlimits for what it does not hold, see `Entry`."""
        failure = self._failure
        return Entry(
            limits,
            counted=counted,
            grouped=self.has("memory"),
            fsize=fsize,
            doors=tuple(self._doors),
            failure=None if failure is None else (failure.errno or 0, failure.strerror or "", failure.filename),
        )

    def take_in(self, pid: int) -> None:
        """Move a process into it; one that has ended meanwhile is none.

        Raises:
            OSError: it could not be made, or the kernel refuses it.
        """
        if self._failure is not None:
            raise self._failure
        for door in self._doors:
            with contextlib.suppress(ProcessLookupError):
                os.write(door, str(pid).encode())

    def has(self, controller: str) -> bool:
        """Whether it limits memory, pids or cpu."""
        return controller in self._folders

    def peak(self) -> int:
        """The most memory that it had, in bytes, what the kernel keeps of files included; 0 where that is not known."""
        file = "memory.peak" if self._mechanisms.version == 2 else "memory.max_usage_in_bytes"
        with contextlib.suppress(OSError, ValueError, KeyError), open(f"{self._folders['memory']}/{file}") as text:
            return int(text.read())
        return 0

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed a process in it for lack of memory."""
        file = "memory.events" if self._mechanisms.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError, KeyError), open(f"{self._folders['memory']}/{file}") as lines:
            return any(int(line.split()[1]) > 0 for line in lines if line.startswith("oom_kill "))
        return False

    def kill(self) -> None:
        """Kill all that is in it."""
        for name in (KILL, *CONTROLLERS):
            if name in self._folders:
                return removal.kill(self._folders[name])

    def remove(self) -> bool:
        """Remove it, once all that was in it is dead; whether it is gone. Its project's goes with the last run's."""
        for door in self._doors:
            os.close(door)
        self._doors = []
        folders = list(dict.fromkeys(self._folders.values()))
        gone = removal.remove(*folders)
        for folder in folders:
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(folder))
        return gone


def clear_run(mechanisms: Mechanisms, project: str, name: str) -> None:
    """Kill what is left in a run's group and remove it, where its supervisor could not."""
    for place in dict.fromkeys(mechanisms.places.values()):
        folder = f"{place}/p-{project}/r-{name}"
        if os.path.exists(folder):
            removal.clear(folder)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(folder))


def _make(place: str, project: str, run: str, version: int, holds: set[str]) -> str:
    above, folder = f"{place}/{project}", f"{place}/{project}/{run}"
    for left in reversed(range(_TRIES)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(above, 0o755)
        try:
            if version == 2:
                for one in sorted(holds - {KILL}):
                    _write(f"{above}/cgroup.subtree_control", f"+{one}")
            os.mkdir(folder, 0o755)
            return folder
        except FileNotFoundError:  # its last run has just ended
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _settings(version: int, holds: set[str], limits: Mapping[str, Any]) -> list[Setting]:
    """What is written into a new group."""
    found: list[Setting] = []
    memory, cpus, pids = (limits.get(name) for name in ("memory_bytes", "cpus", "pids"))
    if "memory" in holds and memory is not None:
        if version == 2:
            found += [("memory.max", str(memory), False), ("memory.swap.max", "0", True)]
            found.append(("memory.oom.group", "1", True))  # one kill is the end of all
        else:  # the second is memory and swap together, and not less than the first
            found += [("memory.limit_in_bytes", str(memory), False), ("memory.memsw.limit_in_bytes", str(memory), True)]
    if "pids" in holds and pids is not None:
        found.append(("pids.max", str(pids), False))
    if "cpu" in holds and cpus is not None:
        quota = max(int(cpus * _PERIOD), 1000)
        if version == 2:
            found.append(("cpu.max", f"{quota} {_PERIOD}", False))
        else:
            found += [("cpu.cfs_period_us", str(_PERIOD), False), ("cpu.cfs_quota_us", str(quota), False)]
    return found


def _write(path: str, text: str, *, may_lack: bool = False) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if may_lack:
            return
        raise
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
