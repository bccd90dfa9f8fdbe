"""When a run is tried again, and how long it waits before.

The wait is exponential backoff with full jitter: a random time between nothing and `base` doubled for each retry
before, at most `LONGEST`. It spreads runs that failed together, which is what a struggling service needs most
(M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Doubling, a base of seconds and an end at
some minutes are what Kubernetes does for the pods of a Job: 10 s, 20 s, 40 s … up to 6 minutes.

Without a word on the reasons, a run is tried again where its program ran and failed. A time-out is not among them, as
in AWS Batch: what was too slow once would take its whole time again. Neither is what no repetition mends
(`setup_failed`, `secrets_unavailable`), nor what the program could have done in part unnoticed (`lost`): these are for
who names them.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass

from executor.errors import RequestUnclear

MOST = 9
"""Retries of one run."""

LONGEST = 300.0
"""Seconds."""


@dataclass(frozen=True)
class Policy:
    """How a reason is treated: `base` is the longest wait before the first retry, in seconds."""

    by_default: bool
    base: float


POLICIES = {
    "exit_code": Policy(True, 5),
    "exception": Policy(True, 5),
    "signal": Policy(True, 5),
    # What took the memory may be gone a little later.
    "out_of_memory": Policy(True, 20),
    "timed_out": Policy(False, 5),
    # The lease that had to run out first was a wait already.
    "lost": Policy(False, 1),
    # As much would be printed once more.
    "output_limit": Policy(False, 5),
    "process_limit": Policy(False, 5),
    "disk_limit": Policy(False, 5),
    # Somebody has to make room first.
    "storage_failed": Policy(False, 20),
    "setup_failed": Policy(False, 10),
    "secrets_unavailable": Policy(False, 10),
    "internal_error": Policy(False, 10),
}


def retried(reason: str | None, chosen: Collection[str] | None) -> bool:
    """Whether a run is tried again that ended for this reason; `chosen` is what its submitter named, None for nothing.

    One that was cancelled never is.
    """
    policy = POLICIES.get(reason or "")
    return policy is not None and (policy.by_default if chosen is None else reason in chosen)


def delay(reason: str | None, before: int) -> float:
    """Seconds to wait after an attempt that ended for this reason, when there were so many retries `before`."""
    return random.uniform(0, min(POLICIES[reason or ""].base * 2.0**before, LONGEST))


def check(retries: int, chosen: Collection[str] | None) -> None:
    """Refuse what cannot be meant.

    Raises:
        RequestUnclear: a number out of range, reasons for no retries, or a reason that is never tried again.
    """
    if not 0 <= retries <= MOST:
        raise RequestUnclear(
            "a run is tried again at most {most} times",
            most=MOST,
            hint=f"say how often a run is tried again with --retries 1 to --retries {MOST}",
        )
    for reason in chosen or ():
        if reason not in POLICIES:
            raise RequestUnclear(
                'a run cannot be tried again for "{reason}"',
                reason=reason,
                hint=f"the reasons are: {', '.join(POLICIES)}",
            )
    if chosen is not None and retries == 0:
        raise RequestUnclear(
            "there are reasons for retries, and the number of retries is 0",
            hint=f"say how often a run is tried again with --retries 1 to --retries {MOST}",
        )
