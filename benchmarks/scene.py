"""A worker of each kind and what is known of their processes, for `run_cpu`."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import accounts
import hot
from accounts import Used
from beside import HERE, JOB, Naive, Popen, Sealrun, Way, a_rig, naive_way, values_of

from tests import servers
from tests.databases import driver, empty_postgres
from tests.processes import arguments, children, eventually
from tests.processes import name as name_of
from tests.rig import WEAKER, Worker

SLOTS = 2
WHERE = ("redis-sqlite", "redis-postgres", "embedded-sqlite")
ROLES = ("submitter", "worker", "zygote", "supervisor", "opener", "box", "run")
"""The processes of a run; `box` is the first process of its box, or the one that judges its connections."""

WARM = 5
"""Runs that are not counted."""


@dataclass
class Scene:
    """One worker of each kind and the ways to give it work."""

    sealrun: Sealrun
    naive: Naive
    popen: Popen
    worker: Worker
    naive_pid: int
    servers: "Servers"
    folder: Path

    @property
    def ways(self) -> dict[str, Way]:
        return {"popen": self.popen, "naive": self.naive, "sealrun": self.sealrun}


@dataclass(frozen=True)
class Servers:
    """Broker and database of a scene, as far as they are processes of this machine that do nothing else."""

    broker: int | None
    database: str | None

    def used(self) -> Used:
        """Processor time of the broker, and of PostgreSQL's processes for this one database."""
        pids = [self.broker] if self.broker else []
        if self.database:
            word = f" {self.database} ".encode()
            pids += [pid for pid in named("postgres") if word in arguments(pid)]
        total = Used()
        for pid in pids:
            with contextlib.suppress(OSError):  # a connection that has just been closed
                total += accounts.used(pid)
        return total


@contextlib.contextmanager
def scene(where: str, count: int, rung: str, what: str) -> Iterator[Scene]:
    """Servers, a worker of each kind, and a project with so many secrets; all of it is gone at the end."""
    broker, database = where.split("-")
    values = values_of(count)
    with contextlib.ExitStack() as ending:
        urls: dict[str, str] = {}
        broker_pid = None
        if broker == "redis":
            urls["broker"] = servers.start_redis(ending)
            broker_pid = next(pid for pid in children(os.getpid()) if name_of(pid).endswith("-server"))
        if database == "postgres":
            server = os.environ.get("SEALRUN_TEST_POSTGRES_URL") or servers.find_postgres()
            if server is None:
                raise SystemExit("no PostgreSQL: set SEALRUN_TEST_POSTGRES_URL")
            urls["database"] = driver(ending.enter_context(empty_postgres(server)))
        rig = ending.enter_context(a_rig(values, **urls))
        accounts.make(rig.folder / "deaths")
        hot.make(rig.folder / "traced")
        naive_launcher = [str(HERE / "launch.py"), "naive", str(rig.folder)] if what == "naive" else []
        launcher = [str(HERE / "launch.py"), "cpu" if what == "naive" else what, str(rig.folder)]
        worker = rig.start_worker(launcher=[*WEAKER[rung], *launcher], slots=SLOTS)
        if (found := rig.rung(worker)) != rung:
            raise SystemExit(f"this machine gives rung {found}, not {rung}")
        naive, naive_pid = ending.enter_context(naive_way(rig, values, SLOTS, naive_launcher))
        job = rig.jobs / "job.py"
        assert job.read_text() == JOB
        theirs = Servers(broker_pid, urls["database"].rpartition("/")[2] if "database" in urls else None)
        popen = Popen([rig.python, str(job)], values, SLOTS)
        yield Scene(Sealrun(rig, "job.py", count), naive, popen, worker, naive_pid, theirs, rig.folder)


def settled(made: Scene) -> None:
    """Wait until nothing of a run is left: its outcome is committed a moment before the last process is collected."""
    zygote = made.worker.zygote
    eventually(lambda: not children(zygote), 10, "the zygote has collected all")


def checked(made: Scene) -> None:
    """The kernel's own sum of all that the zygote has collected must be the sum of the parts.

    Raises:
        SystemExit: it is not: somebody was collected whom nobody accounted for.
    """
    kernel, parts = accounts.collected_by(made.worker.zygote), sum(dead(made.folder).values(), Used())
    if abs(kernel.cpu - parts.cpu) > 25 + kernel.cpu / 100 or kernel.faults != parts.faults:
        raise SystemExit(f"the processes below the zygote used {kernel}, and those accounted for {parts}")


def snapshot(made: Scene, name: str) -> dict[str, Used]:
    """What the processes of this way have used so far, by role."""
    if name == "popen":
        return {"run": accounts.collected_by(os.getpid())}
    found = {"servers": made.servers.used()}
    if name == "naive":
        return {**found, "worker": accounts.used(made.naive_pid), "run": accounts.collected_by(made.naive_pid)}
    zygote = made.worker.zygote
    return {**found, "worker": accounts.used(made.worker.pid), "zygote": accounts.used(zygote), **dead(made.folder)}


def dead(folder: Path) -> dict[str, Used]:
    """The short-lived processes so far, by role, without what each has collected itself."""
    found = {role: Used() for role in ("supervisor", "opener", "box", "run")}
    below = Used()
    for death in accounts.deaths(folder / "deaths"):
        if death.collector == "sealrun-zygote":
            role = {"sealrun-superv": "supervisor", "sealrun-opener": "opener"}.get(death.name, "box")
            found[role] += death.own
            below += death.whole - death.own
        else:  # by a supervisor
            role = "box" if death.name.startswith("sealrun") else "run"
            found[role] += death.own
            below -= death.own
    # What supervisors have collected, as the zygote knows it, is all below them: box and run.
    found["run"] += below
    return found


def named(word: str) -> list[int]:
    """Processes of this machine with this name."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and name_of(int(entry)) == word]
