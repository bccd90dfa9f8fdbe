"""One small job done by several systems, in turns: how soon it starts and ends, how many a second, at what cost.

    python benchmarks/peers.py [--rq PYTHON] [--prefect PYTHON] [--dagster PYTHON] [--airflow PYTHON] [--write]

Always there: a bare Popen, a Celery task without isolation, and sealrun at each rung that this machine gives.
bubblewrap (Debian's package) is taken where it is on PATH. The others are taken from the Python that has them, which is
best a virtual environment of its own: `python -m venv /tmp/rq && /tmp/rq/bin/pip install rq`. What is missing is said.

All have the same job with the same ten secrets in its environment, two at a time, the same Redis where they use one,
and a row for each result, committed as sealrun does it: SQLite, flushed to disk.
With --write the figures and the drawing of docs/reference/peers.md are made anew.
"""

import argparse
import contextlib
import json
import os
import platform
import select
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accounts
import peers_page
from accounts import Used
from beside import HERE, PATIENCE, Done, Sealrun, Way, a_rig, bounded, compiled, naive_way, values_of
from sandbox import bubblewrap

from tests import servers
from tests.processes import children, descendants, eventually
from tests.rig import WEAKER, Rig

SLOTS = 2
SECRETS = 10
RUNGS = ("namespace", "landlock", "process")
OTHERS = ("rq", "prefect", "dagster", "airflow")
SLOW = ("prefect", "dagster", "airflow")
"""They take seconds for a job, so they are given few. They work on when its result is there, and while they have none:
what they take until `TRAIL` seconds later counts, without what they take in such a time at rest."""

TRAIL = 2.0


class Other:
    """A system that is driven through a process of its own, see `others/answering`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name, self.process, self._log = name, process, log
        ready = self._answer(PATIENCE * 3)
        self.version = str(ready["version"])
        self.workers: list[int] = ready["workers"] or [process.pid]

    def one(self) -> Done:
        return Done(**self._asked(None))

    def burst(self, count: int) -> float:
        return float(self._asked(count))

    def _asked(self, what: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(PATIENCE * 3)

    def _answer(self, patience: float) -> Any:
        out = self.process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], patience)
        line = out.readline() if ready else b""
        if not line:
            raise SystemExit(f"{self.name} does not answer:\n{self._log.read_text(errors='replace')[-4000:]}")
        return json.loads(line)


@dataclass
class Peer:
    """A way with what is known of it."""

    name: str
    way: Way
    version: str
    workers: Sequence[int]
    """What stays between two jobs; their children are the jobs."""

    done: list[Done] = field(default_factory=list)
    waiting: list[Used] = field(default_factory=list)
    """Of the workers themselves, job by job."""

    jobs: list[Used] = field(default_factory=list)
    """Of what they have started and collected."""

    seconds: list[float] = field(default_factory=list)
    """How long each job was looked at."""

    idle: float = 0.0
    """Milliseconds of processor in a second at rest, where that is much."""

    rates: list[float] = field(default_factory=list)
    memory: float = 0.0
    kind: str = ""

    @property
    def serves(self) -> bool:
        """Whether there is a worker at all."""
        return self.name not in ("popen", "bubblewrap")


def main() -> None:
    options = _options()
    bounded(options.minutes)
    compiled()
    with peers(options) as found:
        load = os.getloadavg()[0]
        for number in range(-3, options.rounds):
            for peer in found:
                if peer.name not in SLOW or number in range(-1, options.slow_rounds):
                    _one(peer, counted=number >= 0)
        for _ in range(3):
            for peer in found:
                peer.rates.append(peer.way.burst(options.slow_burst if peer.name in SLOW else options.burst))
                _settled(peer)
        time.sleep(options.rest)
        _look_at_rest([peer for peer in found if peer.name in SLOW], options.rest)
        for peer in found:
            sizes = [accounts.memory(pid) for pid in _tree(peer)]
            peer.memory, peer.kind = sum(size for _, size in sizes), " + ".join(sorted({kind for kind, _ in sizes}))
        rows = [row(peer, found) for peer in found]
    facts = {**machine(), "load": f"{load:.1f}", "rounds": options.rounds, "burst": options.burst}
    facts |= {"slots": SLOTS, "secrets": SECRETS, "slow rounds": options.slow_rounds}
    print(peers_page.table(rows, facts))
    if options.write:
        peers_page.write(rows, facts)


def _look_at_rest(those: Sequence[Peer], seconds: float) -> None:
    """What they take while nobody wants anything of them; not at first, when they are still starting."""
    before = [sum(_used(peer), Used()) for peer in those]
    time.sleep(seconds if those else 0)
    for peer, used in zip(those, before, strict=True):
        peer.idle = (sum(_used(peer), Used()) - used).cpu / seconds


def _one(peer: Peer, counted: bool) -> None:
    """One job, and what was used for it until nothing of it is left."""
    _settled(peer)
    before, began = _used(peer), time.monotonic()
    done = peer.way.one()
    if peer.name in SLOW:
        time.sleep(TRAIL)
    _settled(peer)
    after = _used(peer)
    if counted:
        peer.seconds.append(time.monotonic() - began)
        peer.done.append(done)
        peer.waiting.append(after[0] - before[0])
        peer.jobs.append(after[1] - before[1])


def _settled(peer: Peer) -> None:
    """Wait until no process of a job is left; what others have as pools of processes never ends."""
    if peer.name.startswith("sealrun"):
        zygote = peer.workers[1]
        eventually(lambda: not children(zygote), 10, "the zygote has collected all")


def _used(peer: Peer) -> tuple[Used, Used]:
    """Of all that lives below the workers, and of what was collected there."""
    own, collected = Used(), Used()
    for pid in _tree(peer):
        with contextlib.suppress(OSError):  # it may end meanwhile, and is then in its parent's sum
            own, collected = own + accounts.used(pid), collected + accounts.collected_by(pid)
    return own, collected


def _tree(peer: Peer) -> set[int]:
    return {pid for worker in peer.workers for pid in (worker, *descendants(worker))}


def row(peer: Peer, all_: Sequence[Peer]) -> peers_page.Row:
    """The figures of one way."""
    start, end = [one.start for one in peer.done], [one.end for one in peer.done]
    submit = statistics.fmean(one.submit_cpu for one in peer.done)
    own, jobs = (statistics.fmean(one.cpu for one in series) for series in (peer.waiting, peer.jobs))
    own -= peer.idle * statistics.fmean(peer.seconds)
    if not peer.serves:
        submit, own = own, 0.0  # whoever starts the job is who waits for it
    middle, late = statistics.median(start), sorted(start)[len(start) * 95 // 100]
    ends = statistics.median(end), sorted(end)[len(end) * 95 // 100]
    memory = peer.memory if peer.serves else None
    return peers_page.Row(
        peer.name, peer.version, middle, late, *ends, max(peer.rates), submit, own, jobs, memory, peer.kind
    )


@contextlib.contextmanager
def peers(options: argparse.Namespace) -> Iterator[list[Peer]]:
    """Every system that there is here, running; all of it is gone at the end."""
    values = values_of(SECRETS)
    with contextlib.ExitStack() as ending:
        broker = servers.start_redis(ending)
        rig = ending.enter_context(a_rig(values, broker=broker))
        found = [_other(ending, "popen", "of_popen", sys.executable, rig, values, broker)]
        if (bwrap := shutil.which("bwrap")) is not None:
            version = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=True).stdout.split()[
                -1
            ]
            words = bubblewrap(bwrap, rig.python, rig.jobs, ())
            more = {"wrapper": words, "version": version}
            found.append(_other(ending, "bubblewrap", "of_popen", sys.executable, rig, values, broker, more))
        else:
            print("bubblewrap is missing: apt install bubblewrap")
        naive, pid = ending.enter_context(naive_way(rig, values, SLOTS))
        found.append(Peer("celery", naive, _version("celery"), [pid]))
        for name in OTHERS:
            if (python := getattr(options, name)) is not None:
                found.append(_other(ending, name, f"of_{name}", python, rig, values, broker))
            else:
                print(f"{name} is left out: give a Python that has it, --{name} PATH")
        for rung in RUNGS:
            if rung in options.rungs:
                found.append(_sealrun(ending, rung, rig if rung == options.rungs[0] else None, values, broker))
        yield found


def _sealrun(ending: contextlib.ExitStack, rung: str, rig: Rig | None, values: Mapping[str, str], broker: str) -> Peer:
    """A worker at this rung, with a home and a database of its own."""
    rig = rig or ending.enter_context(a_rig(values, broker=broker))
    worker = rig.start_worker(launcher=WEAKER[rung], slots=SLOTS)
    if (given := rig.rung(worker)) != rung:
        raise SystemExit(f"this machine gives rung {given}, not {rung}: leave it out with --rungs")
    return Peer(f"sealrun, {rung}", Sealrun(rig, "job.py", SECRETS), _version("sealrun"), [worker.pid, worker.zygote])


def _other(
    ending: contextlib.ExitStack,
    name: str,
    script: str,
    python: str,
    rig: Rig,
    values: Mapping[str, str],
    broker: str,
    more: Mapping[str, object] = {},
) -> Peer:
    folder = rig.folder / f"of-{name}"
    folder.mkdir()
    told = {
        "python": rig.python,
        "job": str(rig.jobs / "job.py"),
        "values": dict(values),
        "slots": SLOTS,
        "broker": broker,
        "results": f"sqlite:///{folder}/results.db",
        "folder": str(folder),
        **more,
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, str(HERE / "others" / f"{script}.py"), json.dumps(told)],
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
        )
    ending.callback(_end, process)
    other = Other(name, process, log)
    return Peer(name, other, other.version, other.workers)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Nobody asks any more: it ends what it has started, and itself."""
    family = descendants(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    system = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    told = Path("/proc/cpuinfo").read_text().splitlines()
    processors = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": processors[0] if processors else platform.machine(),
        "kernel": platform.release().partition("-")[0],
        "system": system.get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "an ordinary user",
    }


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in OTHERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"an interpreter that has {name}")
    parser.add_argument("--rungs", nargs="+", choices=RUNGS, default=list(RUNGS))
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--burst", type=int, default=40)
    parser.add_argument("--slow-rounds", type=int, default=6, help=f"of {', '.join(SLOW)}")
    parser.add_argument("--slow-burst", type=int, default=3)
    parser.add_argument("--rest", type=float, default=10, help="seconds at rest")
    parser.add_argument("--write", action="store_true", help="the figures of docs/reference/peers.md")
    parser.add_argument("--minutes", type=float, default=20, help="when to give up")
    options = parser.parse_args()
    for name in ("rounds", "burst", "slow_rounds", "slow_burst"):
        if not 1 <= getattr(options, name) <= 500:
            parser.error(f"--{name.replace('_', '-')} takes a number from 1 to 500")
    if not 0 < options.rest <= 600:
        parser.error("--rest takes a number of seconds above 0, at most 600")
    for name in OTHERS:
        if (python := getattr(options, name)) is not None:
            setattr(options, name, _having(parser, name, python))
    return options


def _having(parser: argparse.ArgumentParser, name: str, python: str) -> str:
    """The interpreter by its whole path: it is started from another folder, and without this user's own packages."""
    if (found := shutil.which(python)) is None:
        parser.error(f"--{name}: there is no program {python}")
    found = os.path.abspath(found)
    code = f"import importlib.util as of; print(of.find_spec({name!r}) is not None)"
    try:
        said = subprocess.run([found, "-I", "-c", code], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        parser.error(f"--{name}: {python} is no Python")
    if said.stdout.strip() == b"False":
        parser.error(f"--{name}: {python} does not have {name}: {python} -m pip install {name}")
    if said.stdout.strip() != b"True":
        parser.error(f"--{name}: {python} is no Python")
    return found


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s")
