"""What a process has used, read from outside it: processor time, faults, memory. Standard library alone.

A run's processes live for milliseconds, too short to be looked at in /proc. Whoever collects one of them accounts for
it: `accounting` replaces `os.waitpid` in the zygote, and so in all that is forked from it. The kernel has both figures
at that moment: of the dead process itself, and of it with all the children that it has collected.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOTS = 1 << 16
"""Dead processes that a file has room for."""

_EACH = 16
"""Slots of one forked process: it may collect so many."""

_RECORD = struct.Struct("=16s16sqqqq")


@dataclass(frozen=True)
class Used:
    """Processor time in milliseconds, and pages that were given or copied (minor faults)."""

    cpu: float = 0.0
    faults: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(self.cpu + other.cpu, self.faults + other.faults)

    def __sub__(self, other: "Used") -> "Used":
        return Used(self.cpu - other.cpu, self.faults - other.faults)


@dataclass(frozen=True)
class Death:
    """A process that was collected: by whom, its name, what it used, and what it and its own collected children did."""

    collector: str
    name: str
    own: Used
    whole: Used


def used(pid: int) -> Used:
    """What a process has used so far: exact, all its threads, dead ones too; also of one that waits to be collected."""
    # The clock of another process, see clock_getcpuclockid(3): /proc has no more than hundredths of a second.
    cpu = time.clock_gettime_ns((~pid << 3) | 2) / 1e6
    return Used(cpu, int(_stat(pid)[7]))


def collected_by(pid: int) -> Used:
    """What the children that it has collected used; the sum is kept exactly, and shown in hundredths of a second."""
    fields = _stat(pid)
    return Used((int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK"), int(fields[8]))


def memory(pid: int) -> tuple[str, float]:
    """Its memory in MiB: "PSS", in which a shared page counts once; "RSS" where PSS may not be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return "PSS", sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except PermissionError:
        return "RSS", int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE / (1 << 20)


def name(pid: int) -> str:
    """Its name; of one that waits to be collected, too."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def make(file: Path) -> None:
    """An empty file of deaths."""
    with file.open("wb") as out:
        out.truncate(SLOTS * _RECORD.size)


def deaths(file: Path) -> Iterator[Death]:
    """What has been collected so far."""
    for one in _RECORD.iter_unpack(file.read_bytes()):
        if one[1].strip(b"\0"):
            collector, who = (field.rstrip(b"\0").decode(errors="replace") for field in one[:2])
            yield Death(collector, who, Used(one[2] / 1e6, one[3]), Used(one[4] / 1e6, one[5]))


def accounting(file: Path, zygote: Any) -> None:
    """In the zygote, before it serves: account for each process that it, or what it forks, collects.

    Args:
        file: from `make`; shared memory of all of them, so that none needs a descriptor or a path.
        zygote: the module `executor.supervisor.zygote`.
    """
    with file.open("r+b") as handle:
        memory_ = mmap.mmap(handle.fileno(), 0)
    place = _Place(memory_)
    fork: Callable[..., int] = zygote.fork

    def numbered(work: Callable[[], int], keep: Any) -> int:
        place.forked += 1
        number = place.forked

        def begin() -> int:
            place.next, place.end = number * _EACH, (number + 1) * _EACH
            return work()

        return fork(begin, keep)

    zygote.fork = numbered
    os.waitpid = _collector(place)


class _Place:
    """Where this process writes next; the zygote, which forks all others, has the last quarter of the file."""

    def __init__(self, memory_: mmap.mmap) -> None:
        self.memory = memory_
        self.forked = 0
        self.next, self.end = SLOTS * 3 // 4, SLOTS

    def write(self, record: bytes) -> None:
        if self.next < self.end:
            self.memory[self.next * _RECORD.size : (self.next + 1) * _RECORD.size] = record
            self.next += 1


def _collector(place: _Place) -> Callable[[int, int], tuple[int, int]]:
    """`os.waitpid`, which accounts for whom it collects."""
    waitpid = os.waitpid

    def collect(pid: int, options: int) -> tuple[int, int]:
        if os.getpid() == 1:  # of a box, which sees another /proc; its supervisor accounts for all of it
            return waitpid(pid, options)
        kind, which = (os.P_ALL, 0) if pid == -1 else (os.P_PID, pid)
        found = os.waitid(kind, which, os.WEXITED | os.WNOWAIT | options)
        if found is None:
            return 0, 0
        dead = found.si_pid
        own, who = used(dead), name(dead)
        _, status, whole = os.wait4(dead, 0)
        cpu = round((whole.ru_utime + whole.ru_stime) * 1e9)
        mine = name(os.getpid()).encode()
        place.write(_RECORD.pack(mine, who.encode(), round(own.cpu * 1e6), own.faults, cpu, whole.ru_minflt))
        return dead, status

    return collect


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from its state on: `minflt` is the eighth, see proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
