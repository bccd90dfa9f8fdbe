"""What a run's processes use, read from the kernel: CPU time, memory, and whether one was killed for want of memory.

The caller is a subreaper, so all that the run starts is below it in the tree of processes.
"""

import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from executor.sandbox import tree

_PROCESSES = 512  # looked at in one sample; of a larger tree it shows the beginning
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FIRST_HOUR = 3600.0


@dataclass(frozen=True)
class Sample:
    """CPU seconds used up to now, and bytes of memory in use now."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Total:
    """What a run used from its beginning to its end, in seconds and bytes."""

    cpu_user_seconds: float
    cpu_system_seconds: float
    peak_memory_bytes: int


class Usage:
    """Measures everything below this process, from its making on.

    CPU time is that of processes that live, of those that this process has collected, and of what each of them had
    collected itself. Of a process whose parent ignores its end the kernel keeps no account.

    Memory is the sum of what each process has resident; what several share is counted for each. The peak is the highest
    sum of a sample, or the highest moment of the largest single process where that is more: of a run too short for a
    sample it is the latter alone, and at least what a process of ours has when it becomes the run's.
    """

    def __init__(self, counter: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now; `counter` is what `kill_counter` found."""
        self._clock = clock
        self._began = clock()
        self.next_at = self._began + 1.0
        self._cpu = 0.0
        self._peak = 0
        self._counter = counter
        self._kills = _kills(counter)

    def sample(self) -> Sample:
        """Look at the whole tree now, and say when to look again: after a second, in the first hour."""
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
        # A day is then some 15,000 samples, and not 86,400.
        self.next_at = now + max((now - self._began) / _FIRST_HOUR, 1.0)
        return Sample(round(self._cpu, 2), pages * _PAGE)

    def total(self) -> Total:
        """What was used, once the tree has ended and was collected."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Total(round(used.ru_utime, 3), round(used.ru_stime, 3), max(self._peak, used.ru_maxrss << 10))

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed a process for want of memory meanwhile, where this run could have been it."""
        return _kills(self._counter) > self._kills


def kill_counter(root: str = "/sys/fs/cgroup", process: str = "/proc/self/cgroup") -> Path:
    """The file in which the kernel counts such kills: of this process's cgroup, else of the whole machine."""
    for candidate in _candidates(root, process):
        if _kills(candidate) >= 0:
            return candidate
    return Path("/proc/vmstat")


def _candidates(root: str, process: str) -> list[Path]:
    try:
        lines = Path(process).read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # A container may see the path of its group outside, and the group itself where all of them are mounted.
        if not controllers:
            found += [Path(f"{root}{path}/memory.events"), Path(f"{root}/memory.events")]
        elif "memory" in controllers.split(","):
            found += [Path(f"{root}/memory{path}/memory.oom_control"), Path(f"{root}/memory/memory.oom_control")]
    return found


def _kills(counter: Path) -> int:
    """Its `oom_kill`; -1 where there is none."""
    try:
        with counter.open("rb") as lines:
            for line in lines:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return -1
