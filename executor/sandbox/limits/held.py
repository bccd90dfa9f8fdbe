"""Which mechanism holds each limit, for the receipt."""

from collections.abc import Mapping
from typing import Any

from executor.sandbox.limits.mechanisms import Mechanisms

SAMPLING = "sampling"
"""The supervisor's looks at the run, some of them a second: what comes and goes between two of them is not seen."""


def sampled(mechanisms: Mechanisms, limits: Mapping[str, Any], *, counted: bool) -> set[str]:
    """Which limits the supervisor has to look after: memory and processes where the kernel does not, and the disk."""
    found = {"memory"} if limits.get("memory_bytes") is not None and not mechanisms.has("memory") else set()
    if limits.get("pids") is not None and not mechanisms.has("pids") and not counted:
        found.add("pids")
    if limits.get("disk_bytes") is not None:
        found.add("disk")
    return found


def held(mechanisms: Mechanisms, limits: Mapping[str, Any], *, counted: bool, fsize: bool = True) -> dict[str, Any]:
    """Each limit that there is, with what holds it.

    Args:
        mechanisms: what the worker has found.
        limits: `memory_bytes`, `cpus`, `pids` and `disk_bytes`.
        counted: the kernel counts the processes of the run alone.
        fsize: RLIMIT_FSIZE is in force.
    """
    memory, cpus, pids, disk = (limits.get(name) for name in ("memory_bytes", "cpus", "pids", "disk_bytes"))
    found: dict[str, Any] = {}
    if memory is not None:
        found["memory"] = {
            "bytes": memory,
            "by": mechanisms.name if mechanisms.has("memory") else f"rlimit and {SAMPLING}",
        }
    if pids is not None:
        by = mechanisms.name if mechanisms.has("pids") else "rlimit" if counted else SAMPLING
        found["pids"] = {"count": pids, "by": by}
    if cpus is not None:
        # Affinity alone is whole CPUs, and a run can take it back.
        found["cpus"] = {
            "count": cpus,
            "by": f"{mechanisms.name} and affinity" if mechanisms.has("cpu") else "affinity",
        }
    if disk is not None:
        found["disk"] = {"bytes": disk, "by": f"rlimit and {SAMPLING}" if fsize else SAMPLING}
    return found
