"""Each process of a run's line killed, and all of them at once: of the run nothing is left, of no kind, at no rung.

At rung `namespace` processes and namespaces are gone with the box's first process, without anybody's doing; folders are
removed by the next worker at the latest. What holds at the rungs below is in `tests/system/test_lost.py`, which
`scripts/test --rung` runs at each of them.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col

from executor import runs
from executor.models import Run
from tests.processes import eventually, innermost, is_alive, of_run
from tests.rig import PATIENCE, Rig, Worker, file, rig
from tests.sandbox.attacking import WHO, account_of

DAEMONS = """
import os, signal, time
told, tell = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.write(tell, b".")
            time.sleep(100)
        os._exit(0)
    os.wait()
    os.read(told, 1)
open("beside", "w").close() if os.access(".", os.W_OK) else None
print("ready", flush=True)
time.sleep(100)
"""
KINDS = ("pid", "mnt", "ipc", "uts", "net", "user", "cgroup")
VICTIMS = ("run", "first", "supervisor", "zygote", "worker", "all")
DAILY = {("all", "user")}


@dataclass(frozen=True)
class Line:
    """The processes of one run's line, as this machine has them, and the namespaces that are the run's alone."""

    pids: dict[str, int]
    namespaces: set[str]


@pytest.fixture
def place(who: str) -> Iterator[Rig]:
    """A worker at this machine's best rung, which must be `namespace`."""
    with rig(account=account_of(who), settings={"SEALRUN_LEASE_SECONDS": "5"}) as made:
        made.project("shop")
        if made.rung(made.start_worker()) != "namespace":
            pytest.skip("this machine gives no rung namespace")
        yield made


def line_of(worker: Worker, run_id: str) -> Line:
    """Found from outside: the run's first process has the lowest number in its box, but for its parent, number 1."""
    leader = min((pid for pid in of_run(run_id) if innermost(pid) > 1), key=innermost)
    first = int(Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[1])
    assert innermost(first) == 1
    (supervisor,) = worker.supervisors()
    pids = {"run": leader, "first": first, "supervisor": supervisor, "zygote": worker.zygote, "worker": worker.pid}
    return Line(pids, {link for kind in KINDS if (link := namespace(leader, kind)) != namespace(os.getpid(), kind)})


def namespace(pid: int, kind: str) -> str:
    """Which namespace a process is in; empty where it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def left(made: Rig, run_id: str, line: Line) -> dict[str, list[str]]:
    """What is left, by its kind."""
    everybody = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    inside = [pid for pid in everybody if any(namespace(pid, kind) in line.namespaces for kind in KINDS)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    # Groups of other tests come and go meanwhile, which os.walk passes over.
    groups = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if run_id in os.path.basename(folder)]
    found = {
        "processes": [str(pid) for pid in {*of_run(run_id), *inside} if is_alive(pid)],
        "mounts": [one for one in mounts if run_id in one or "nsfs" in one],
        "cgroups": groups,
        "folders": [str(made.place(run_id))] if made.place(run_id).exists() else [],
    }
    return {kind: one for kind, one in found.items() if one}


CASES = [
    pytest.param(victim, who, marks=() if (victim, who) in DAILY else pytest.mark.long, id=f"{victim}-{who}")
    for victim in VICTIMS
    for who in WHO
]


@pytest.mark.parametrize(("victim", "who"), CASES)
def test_nothing_is_left(place: Rig, victim: str) -> None:
    """I8: whoever of the line is killed, processes and namespaces are gone at once, and the rest by the next worker."""
    (worker,) = place.workers
    run_id = place.submit(file(place.job(DAEMONS)), retries=0)
    place.says(run_id, "ready")
    line = line_of(worker, run_id)
    assert {link.partition(":")[0] for link in line.namespaces} >= {"pid", "mnt", "ipc", "uts"}
    assert left(place, run_id, line)["processes"]
    doomed = list(line.pids.values()) if victim == "all" else [line.pids[victim]]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in doomed:
            os.kill(pid, number)
    if victim == "zygote":
        runs.cancel(place.db, run_id, "tester")  # its supervisor goes on without it
    gone = ("processes", "mounts")
    eventually(lambda: not set(left(place, run_id, line)) & set(gone), PATIENCE, "processes, mounts and namespaces go")
    if victim in ("worker", "all"):
        with place.db.writing() as session:
            session.exec(update(Run).where(col(Run.id) == run_id).values(lease_until=place.db.after(-1)))
        place.start_worker()
    assert place.ended(run_id).view.state in ("failed", "cancelled")
    eventually(lambda: not left(place, run_id, line), PATIENCE, lambda: str(left(place, run_id, line)))
