"""A worker's file descriptors: one that has none to spare takes no run, as it could neither start nor store one."""

import errno
import os
import resource

SPARE = 32
"""As many are left for runs that start at the same moment, and for connections to the database and the broker."""


_usual: int | None = None


def usual() -> int | None:
    """How many this worker was started with, which its runs have until they ask for more."""
    return _usual


def raise_limit() -> None:
    """Have as many as one may: the kernel refuses to pass any on where more of this user's than that are on their way,
    and runs that share the user keep there what they like; see `executor.sandbox.limits.rlimits`."""
    global _usual
    _usual, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def short() -> str | None:
    """Why no run can be taken for want of them; None where there are enough."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError as problem:
        return "it has no file descriptors left" if lacking(problem) else None
    if limit == resource.RLIM_INFINITY or limit - used >= SPARE:
        return None
    return f"it has too few file descriptors left: {used} of {limit} are in use"


def lacking(problem: BaseException) -> bool:
    """Whether something failed for want of them, here, on the whole machine, or as too many are on their way."""
    return isinstance(problem, OSError) and problem.errno in (errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS)
