"""Measure a run's processes: CPU time, memory, and whether the kernel killed one for lack of memory.

The caller is a subreaper, so everything the run starts is below it in the process tree.
"""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from executor.sandbox import tree

_PROCESSES = 512  # per sample; the rest of a larger tree is not counted
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST_HOUR = 3600.0
_MACHINES = Path("/proc/vmstat")


@dataclass(frozen=True)
class Sample:
    """CPU seconds used so far, and bytes of memory in use."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Total:
    """What a run used from beginning to end."""

    cpu_user_seconds: float
    cpu_system_seconds: float
    peak_memory_bytes: int


class Usage:
    """Measures everything below this process.

    CPU time covers living processes, those that this process has collected, and what they had collected. The kernel
    keeps no account of a process whose parent ignores its end.

    Memory is the sum of resident sizes, so shared pages count once per process. The peak is the highest sample, or the
    peak of the largest single process if that is higher. A run too short for a sample has only the latter, which is at
    least what our own process has when it becomes the run's.
    """

    def __init__(self, counter: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now, with the file that `kill_counter` found."""
        self._clock = clock
        self._began = clock()
        self.next_at = self._began + 1.0
        self._cpu = 0.0
        self._peak = 0
        self._counter = counter
        self._kills = _kills(counter)

    def sample(self) -> Sample:
        """Measure the tree and set `next_at`: a second later within the first hour, then less often."""
        ticks = pages = 0
        for pid in islice(tree.descendants(), _PROCESSES):
            try:
                with open(f"/proc/{pid}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime in proc(5)
            pages += int(fields[21])  # rss
        collected = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._cpu = max(self._cpu, ticks / _TICK + collected.ru_utime + collected.ru_stime)
        self._peak = max(self._peak, pages * _PAGE)
        now = self._clock()
        # A day then has some 15,000 samples, not 86,400.
        self.next_at = now + max((now - self._began) / _FIRST_HOUR, 1.0)
        return Sample(round(self._cpu, 2), pages * _PAGE)

    def total(self) -> Total:
        """Return what was used, once the tree has ended and been collected."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Total(round(used.ru_utime, 3), round(used.ru_stime, 3), max(self._peak, used.ru_maxrss << 10))

    def killed_for_memory(self) -> bool:
        """Tell whether the kernel has killed a process for lack of memory since the beginning."""
        return _kills(self._counter) > self._kills


def kill_counter(root: str = "/sys/fs/cgroup", process: str = "/proc/self/cgroup") -> Path:
    """Find the file that counts such kills: that of this process's cgroup, else the machine's."""
    try:
        with open(process, errors="surrogateescape") as file:
            return _counter_of(root, file.read())
    except OSError:
        return _MACHINES


@lru_cache(maxsize=8)
def _counter_of(root: str, groups: str) -> Path:
    """The same by the text of /proc/PID/cgroup; asked once before the forks, all of which have the same groups."""
    return next((one for one in _candidates(root, groups) if _kills(one) >= 0), _MACHINES)


def _candidates(root: str, groups: str) -> list[Path]:
    found = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        # A container may see its cgroup's path on the host, and the cgroup itself at the mount's root.
        if not controllers:
            found += [Path(f"{root}{path}/memory.events"), Path(f"{root}/memory.events")]
        elif "memory" in controllers.split(","):
            found += [Path(f"{root}/memory{path}/memory.oom_control"), Path(f"{root}/memory/memory.oom_control")]
    return found


def _kills(counter: Path) -> int:
    """Read the file's `oom_kill`; -1 if it has none."""
    try:
        with counter.open("rb") as lines:
            for line in lines:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return -1
