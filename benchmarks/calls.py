"""System calls of a run by process, from what strace writes of the worker and of all that comes from it.

strace stops a process twice at each call, so what is traced keeps no time worth reading: this is a pass of its own.
A strace that is not root's cannot read how a hardened process calls itself: most of them are "other" then.
"""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (?:<\.\.\. )?([a-z_0-9]+)")
_NAMED = re.compile(r'prctl\(PR_SET_NAME, "(sealrun-\w+)"')
_ROLES = {
    "sealrun-zygote": "zygote",
    "sealrun-superv": "supervisor",
    "sealrun-opener": "opener",
    "sealrun-judge": "box",
}


def missing() -> str | None:
    """Why there will be none, if so."""
    return None if shutil.which("strace") else "strace is not installed: apt install strace"


def become_traced(folder: Path, rest: Sequence[str]) -> None:
    """Become this interpreter with the rest of the words, traced by a process beside it."""
    # -D: the tracer is the one that is forked, so that this process id stays that of the worker.
    strace = ["strace", "-D", "-f", "-qq", "-ttt", "-s", "32", "-o", str(folder / "calls")]
    os.execvp("strace", [*strace, sys.executable, *rest])


def read(folder: Path, worker: int, since: float) -> dict[str, Counter[str]]:
    """What each role called from this moment (CLOCK_REALTIME) on."""
    roles: dict[str, str] = {}
    calls: dict[str, Counter[str]] = {}
    with (folder / "calls").open(errors="replace") as lines:
        for line in lines:
            if (found := _LINE.match(line)) is None:
                continue
            pid, at, call = found[1], float(found[2]), found[3]
            if (named := _NAMED.search(line)) and named[1] in _ROLES:
                roles[pid] = _ROLES[named[1]]
            elif call == "pivot_root":
                roles[pid] = "box"
            elif call == "execve" and pid not in roles and int(pid) != worker:
                roles[pid] = "run"
            if at >= since and "<unfinished" not in line:
                calls.setdefault(pid, Counter())[call] += 1
    threads = {str(worker), *os.listdir(f"/proc/{worker}/task")}
    by_role: dict[str, Counter[str]] = {}
    for pid, counted in calls.items():
        role = "worker" if pid in threads else roles.get(pid, "other")
        by_role[role] = by_role.get(role, Counter()) + counted
    return by_role
