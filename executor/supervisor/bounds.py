"""The supervisor's own looks at what a run uses: for what no control group and no rlimit holds, and for its disk."""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable
from itertools import islice

from executor.sandbox import tree
from executor.sandbox.limits.disk import Disk

_OFTEN = 0.1  # seconds between two looks at memory and processes
_SELDOM = 0.5  # where it is only that many processes
_KILLS = 0.2  # seconds between two looks at what the kernel has killed
_MANY = 1000
_RATE = 2 << 30  # bytes a second that a fast disk takes: so many are written between two looks
_SHARE = 0.05  # of the time may be spent on counting files
_MOST = 8192  # processes of one look
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Bounds:
    """What is looked after of one run; `over` says which of its limits it has passed."""

    def __init__(
        self,
        which: Collection[str],
        *,
        memory: int | None,
        pids: int | None,
        disk: int | None,
        folders: Iterable[str],
        starved: Callable[[], bool] | None = None,
    ) -> None:
        """Begin now.

        Args:
            which: `memory`, `pids` and `disk`, as far as they are to be looked after.
            memory: bytes.
            pids: processes and threads.
            disk: bytes in these folders.
            folders: the run's own.
            starved: whether the kernel has killed a process of the run for lack of memory; None where it does not say.
        """
        self._memory = memory if "memory" in which else None
        self._pids = pids if "pids" in which else None
        self._disk = disk if "disk" in which else None
        self._files = Disk(folders)
        self.peak = 0
        """The most memory that was seen."""
        now = time.monotonic()
        self._pause = _OFTEN if self._memory or (self._pids or 0) < _MANY else _SELDOM
        self._processes_at = now if self._memory or self._pids else float("inf")
        self._disk_at = now if self._disk else float("inf")
        self._starved = starved
        self._kills_at = now if starved is not None else float("inf")

    @property
    def next_at(self) -> float:
        """When `over` has something to look at."""
        return min(self._processes_at, self._disk_at, self._kills_at)

    def over(self) -> str | None:
        """Look at what is due: the reason for which the run has to end now, if it has."""
        now = time.monotonic()
        reason = None
        if now >= self._processes_at:
            reason = self._of_processes()
            self._processes_at = now + max(self._pause, (time.monotonic() - now) / _SHARE)
        if now >= self._disk_at and self._disk is not None:
            pause = min(max(self._disk / _RATE, _OFTEN), 1.0)
            if self._files.look(pause * _SHARE) > self._disk:
                reason = reason or "disk_limit"
            self._disk_at = now + pause
        if now >= self._kills_at and self._starved is not None:
            reason = "out_of_memory" if self._starved() else reason
            self._kills_at = now + _KILLS
        return reason

    def _of_processes(self) -> str | None:
        resident = threads = 0
        found = []
        for pid in islice(tree.descendants(), _MOST):
            try:
                with open(f"/proc/{pid}/stat", "rb") as text:
                    fields = text.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                found.append(pid)
                threads += int(fields[17])
                resident += int(fields[21]) * _PAGE
        if self._pids is not None and threads > self._pids:
            return "process_limit"
        if self._memory is not None and resident > self._memory:
            # Pages that several of them share are counted once per process there.
            resident = min(resident, sum(map(_proportional, found)))
        self.peak = max(self.peak, resident)
        return "out_of_memory" if self._memory is not None and resident > self._memory else None


def _proportional(pid: int) -> int:
    """A process's share of the memory that it has; what it does not let itself be asked for is all that it has."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as lines:
        for line in lines:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as text:
        return int(text.read().split()[1]) * _PAGE
    return 0
