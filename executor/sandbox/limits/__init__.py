"""What a run may have at most, and which mechanism of this machine holds that.

A worker tries once which control groups it may make (`probe`), and keeps a folder for them as long as it lives
(`settled`). A supervisor makes a `Group` per run, which the run's first process enters before anything else. What no
group holds is left to `apply_rlimits` and to the supervisor's looks at the run; `held` says which it is.
"""

from executor.sandbox.limits.entry import Entry
from executor.sandbox.limits.group import Group, clear_run
from executor.sandbox.limits.held import held, sampled
from executor.sandbox.limits.mechanisms import Mechanisms, probe, settled
from executor.sandbox.limits.rlimits import apply_rlimits, lower_descriptors

__all__ = [
    "Entry",
    "Group",
    "Mechanisms",
    "apply_rlimits",
    "clear_run",
    "held",
    "lower_descriptors",
    "probe",
    "sampled",
    "settled",
]
