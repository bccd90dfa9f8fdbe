"""Limits of the run's own process, which all that it starts inherits."""

import math
import os
import resource
from collections.abc import Mapping
from typing import Any

_SLACK = 1 << 30
"""Bytes of address space that a process may have beyond its memory: stacks of threads and heaps that are not touched.
Below 512 MiB Java and Python with 50 threads do not start."""

_FILES = resource.RLIMIT_NOFILE
_LEAST_FILES = 1024
_MOST_FILES = 1 << 20  # where the worker has no limit

USUAL_PIDS = 4096
"""Processes and threads where nothing says how many."""


def apply_rlimits(limits: Mapping[str, Any], *, counted: bool, grouped: bool = False, fsize: bool = True) -> None:
    """Put limits in force for the calling process; called before it changes its user id.

    Memory is RLIMIT_DATA, with slack, and no exact limit: it is a process's own, and it keeps one from outrunning the
    supervisor's looks. RLIMIT_AS would break what reserves address space: Node, Java and Go do not start below a
    gigabyte or four.

    Args:
        limits: `memory_bytes`, `cpus`, `pids` and `disk_bytes`; what is None, or not there, has no limit.
        counted: the kernel counts the processes of the run alone: it has a user id, or a user namespace, of its own.
        grouped: a control group holds its memory.
        fsize: no file that it writes may be larger than all of its files together, wherever it is and whatever of it
            is a hole.
    """
    memory, cpus, disk = (limits.get(name) for name in ("memory_bytes", "cpus", "disk_bytes"))
    if counted:
        _lower(resource.RLIMIT_NPROC, limits.get("pids") or USUAL_PIDS)
    if memory is not None and not grouped:
        _lower(resource.RLIMIT_DATA, memory + max(memory, _SLACK))
    if disk is not None and fsize:
        _lower(resource.RLIMIT_FSIZE, disk)
    if cpus is not None:
        os.sched_setaffinity(0, chosen_cpus(cpus, os.sched_getaffinity(0), os.getpid()))


def lower_descriptors(usual: int | None = None) -> None:
    """Let the calling process, which is to be the run, have half as many descriptors as this worker's processes.

    Descriptors that are on their way through sockets are counted by the kernel per user id, over all namespaces, and
    whoever sends one is refused where they are more than its own limit. A run that shares the worker's user id could
    so keep the worker from sending any, and no run would start. As each is refused at its own limit, what runs keep on
    its way stays below the worker's, which has raised its own as far as it may.

    Args:
        usual: how many it has until it asks for more.
    """
    soft, hard = (_MOST_FILES if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(_FILES))
    most = min(max(hard // 2, _LEAST_FILES), hard)
    resource.setrlimit(_FILES, (min(soft if usual is None else usual, most), most))


def chosen_cpus(cpus: float, allowed: set[int], turn: int) -> set[int]:
    """As many of the allowed CPUs as are needed for so much work; which, goes round."""
    most = sorted(allowed)
    count = min(max(math.ceil(cpus), 1), len(most))
    first = (turn * count) % len(most)
    return {most[(first + position) % len(most)] for position in range(count)}


def _lower(which: int, most: int) -> None:
    """Never above what the worker has itself."""
    _, hard = resource.getrlimit(which)
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (value, value))
