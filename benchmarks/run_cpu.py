"""What a run costs in processor time, process by process, beside a Celery task without sealrun; how soon, how many.

    python benchmarks/run_cpu.py [--where redis-sqlite redis-postgres embedded-sqlite] [--secrets 10] [--runs 60]
    python benchmarks/run_cpu.py --profile worker|zygote|supervisor|opener|box|run|submitter|naive [--by faults]

Both kinds do the same job with the same secrets, in turns within one series, see `beside`. Processor time is exact, for
processes that live a few milliseconds too, see `accounts`: nothing is sampled, and other work on the machine changes
it little. Servers' own processor time is told apart from that of a run.

With --profile it says instead which functions of one process take the time, those that take most first: this is how
to find the next millisecond. System calls are counted where strace is installed, in a pass of its own.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import accounts
import calls
import statements
from accounts import Used
from beside import Done, Sealrun, bounded, compiled
from hottest import profile
from scene import ROLES, SLOTS, WARM, WHERE, Scene, checked, scene, settled, snapshot
from sqlmodel import select

from executor.models import Attempt, LogChunk, Receipt, Run
from tests.processes import descendants
from tests.rig import WEAKER


@dataclass
class Series:
    """What one way cost, job by job."""

    done: list[Done] = field(default_factory=list)
    used: list[dict[str, Used]] = field(default_factory=list)

    def cpu(self) -> dict[str, float]:
        """Milliseconds a job by process, the mean: what is left over of one job is done beside the next."""
        return {role: statistics.fmean(one[role].cpu for one in self.used) for role in self.used[0]}

    def total(self) -> float:
        """Of all processes of a job; broker and database are not among them."""
        return sum(value for role, value in self.cpu().items() if role != "servers")

    def faults(self) -> dict[str, float]:
        """The same of pages."""
        return {role: statistics.fmean(one[role].faults for one in self.used) for role in self.used[0]}


@dataclass(frozen=True)
class Burst:
    """Runs a second, and milliseconds of processor a run."""

    rate: float
    cpu: float


@dataclass(frozen=True)
class Rest:
    """A worker with nothing to do: share of a core, MiB of all its processes and what that counts, and how many."""

    percent: float
    memory: float
    kind: str
    processes: int


def main() -> None:
    options = _options()
    bounded(options.minutes)
    compiled()
    print(
        f"{options.runs} runs each way, in turns; {SLOTS} slots; rung {options.rung}; Python {sys.version.split()[0]}, "
        f"{os.cpu_count()} cores, {'root' if os.geteuid() == 0 else 'an ordinary user'}, load {os.getloadavg()[0]:.1f}"
    )
    if options.profile:
        profile(options)
        return
    for where in options.where:
        for count in options.secrets:
            with scene(where, count, options.rung, "cpu") as made:
                print(f"\n{where}, {count} secrets")
                measure(made, options)
            asked(where, count, options)
            called(where, count, options)


def measure(made: Scene, options: argparse.Namespace) -> None:
    """One place and number of secrets."""
    series = interleaved(made, options.runs)
    phases_ = phases(made.sealrun)
    rates = bursts(made, options.burst)
    checked(made)
    rest = at_rest(made, options.rest)
    report_cpu(series)
    report_start(series)
    report_phases(phases_)
    report_rest(rest, options.rest)
    summary(series, rates, rest)


def interleaved(made: Scene, runs: int) -> dict[str, Series]:
    """So many jobs each way, in turns, each alone; all of it is over before the next begins."""
    series = {name: Series() for name in made.ways}
    for number in range(-WARM, runs):
        for name, way in made.ways.items():
            settled(made)
            before = snapshot(made, name)
            done = way.one()
            settled(made)
            after = snapshot(made, name)
            if number >= 0:
                used = {role: after[role] - before[role] for role in after}
                used["submitter"] = Used(done.submit_cpu)
                series[name].done.append(done)
                series[name].used.append(used)
    return series


def asked(where: str, count: int, options: argparse.Namespace) -> None:
    """Statements and commits of a run, in a pass of its own since counting them takes time."""
    runs = min(options.runs, 20)
    with scene(where, count, options.rung, "statements") as made:
        for _ in range(WARM):
            made.sealrun.one()
        settled(made)
        begin, began = statements.read(made.folder, 0)[2], time.monotonic()
        for _ in range(runs):
            made.sealrun.one()
        settled(made)
        ours, others, _ = statements.read(made.folder, begin)
        seconds = time.monotonic() - began
    commits = ours.pop("COMMIT", 0)
    print(f"\n{ours.total() / runs:.1f} statements and {commits / runs:.1f} commits a run; beside runs ", end="")
    print(f"{(others.total() - others['COMMIT']) / seconds:.1f} statements a second")
    for words, number in ours.most_common(40 if options.all else 0):
        print(f"{number / runs:>6.1f} {words}")


def called(where: str, count: int, options: argparse.Namespace) -> None:
    """System calls of a run, by process."""
    if (why := calls.missing()) is not None:
        print(f"\nsystem calls are not counted: {why}")
        return
    runs = min(options.runs, 10)
    with scene(where, count, options.rung, "calls") as made:
        for _ in range(WARM):
            made.sealrun.one()
        settled(made)
        since = time.time()
        for _ in range(runs):
            made.sealrun.one()
        settled(made)
        found = calls.read(made.folder, made.worker.pid, since)
    print(f"\n{'system calls a run':<20}{sum(one.total() for one in found.values()) / runs:>7.0f}")
    for role, one in sorted(found.items(), key=lambda item: -item[1].total()):
        most = ", ".join(f"{name} {number / runs:.0f}" for name, number in one.most_common(8))
        print(f"{role:<20}{one.total() / runs:>7.0f}   {most}")


def bursts(made: Scene, count: int) -> dict[str, list[Burst]]:
    """Three bursts each way, in turns."""
    found: dict[str, list[Burst]] = {name: [] for name in made.ways}
    for _ in range(3 if count else 0):
        for name, way in made.ways.items():
            settled(made)
            before = snapshot(made, name)
            rate = way.burst(count)
            settled(made)
            after = snapshot(made, name)
            spent = sum(after[role].cpu - before[role].cpu for role in after if role != "servers")
            found[name].append(Burst(rate, spent / count))
    return found


def at_rest(made: Scene, seconds: float) -> dict[str, Rest]:
    """What each worker takes while it has nothing to do."""
    pids = {"naive": [made.naive_pid], "sealrun": [made.worker.pid, *descendants(made.worker.pid)]}
    before = {name: sum(accounts.used(pid).cpu for pid in those) for name, those in pids.items()}
    time.sleep(seconds)
    found = {}
    for name, those in pids.items():
        spent = sum(accounts.used(pid).cpu for pid in those) - before[name]
        sizes = [accounts.memory(pid) for pid in those]
        kind = " + ".join(sorted({kind for kind, _ in sizes}))
        found[name] = Rest(spent / 10 / seconds, sum(size for _, size in sizes), kind, len(those))
    return found


def phases(sealrun: Sealrun) -> dict[str, float]:
    """Where the time of a run goes, from the moments its rows hold: p50 in milliseconds."""
    parts: dict[str, list[float]] = {}
    with sealrun.rig.db.reading() as session:
        for run_id in sealrun.submitted[WARM:]:
            run, attempt = session.get(Run, run_id), session.get(Attempt, (run_id, 1))
            receipt = session.get(Receipt, (run_id, 1, "run"))
            first = session.exec(select(LogChunk).where(LogChunk.run_id == run_id)).first()
            assert run and attempt and first and attempt.started_at and run.finished_at
            made, claimed, gate = run.created_at, attempt.claimed_at, attempt.started_at
            stamp = datetime.fromtimestamp(float(first.data.split()[0]), made.tzinfo)
            moments = [
                ("accepted to claimed (bell, claim)", made, claimed),
                ("claimed to gate (place, fork, gate)", claimed, gate),
                ("gate to first line (open, mask, start)", gate, stamp),
                ("first line to outcome committed", stamp, run.finished_at),
            ]
            if receipt and receipt.opened_at:
                moments.append(("of it: gate to opened", gate, receipt.opened_at))
            for name, begin, end in moments:
                parts.setdefault(name, []).append((end - begin).total_seconds() * 1000)
    return {name: statistics.median(times) for name, times in parts.items()}


def report_cpu(series: dict[str, Series]) -> None:
    print(f"\n{'CPU-ms a run':<14} {'naive':>8} {'sealrun':>8}    {'faults':>8} {'sealrun':>8}")
    naive, ours = series["naive"], series["sealrun"]
    for role in ROLES:
        pages = naive.faults().get(role), ours.faults().get(role)
        print(f"{role:<14} {_shown(naive.cpu().get(role))} {_shown(ours.cpu().get(role))}", end="")
        print(f"    {_shown(pages[0], 0)} {_shown(pages[1], 0)}")
    print(f"{'all':<14} {_shown(naive.total())} {_shown(ours.total())}")
    print(f"{'its servers':<14} {_shown(naive.cpu()['servers'])} {_shown(ours.cpu()['servers'])}")


def report_start(series: dict[str, Series]) -> None:
    base = statistics.median(done.start for done in series["naive"].done)
    print(f"\n{'':<10} {'start p50':>10} {'p95':>8} {'/ naive':>8} {'end p50':>8} {'p95':>8}")
    for name, one in series.items():
        start, end = [done.start for done in one.done], [done.end for done in one.done]
        middle = statistics.median(start)
        print(
            f"{name:<10} {middle:>10.1f} {p95(start):>8.1f} {middle / base:>8.2f} "
            f"{statistics.median(end):>8.1f} {p95(end):>8.1f}"
        )


def report_phases(parts: dict[str, float]) -> None:
    print(f"\n{'where the time goes, p50 ms':<42}")
    for name, middle in parts.items():
        print(f"  {name:<40} {middle:>8.1f}")


def report_rest(rest: dict[str, Rest], seconds: float) -> None:
    print(f"\n{f'at rest, {seconds:g} s':<14} {'MiB':>8} {'% of a core':>12}")
    for name, one in rest.items():
        print(f"{name:<14} {one.memory:>8.1f} {one.percent:>12.2f}   {one.kind}, {one.processes} processes")


def summary(series: dict[str, Series], rates: dict[str, list[Burst]], rest: dict[str, Rest]) -> None:
    """The figures that a change of the product is judged by."""
    cpu = {name: one.total() for name, one in series.items()}
    start = {name: statistics.median(done.start for done in one.done) for name, one in series.items()}
    print(f"\n{'':<44} {'naive':>8} {'sealrun':>8} {'ratio':>8}")
    rows = [("CPU-ms a run, all processes", cpu), ("submit to user code, p50 ms", start)]
    if rates["naive"]:
        rows.append(("runs a second, best burst", {name: max(b.rate for b in of) for name, of in rates.items()}))
        middles = {name: statistics.median(b.cpu for b in of) for name, of in rates.items()}
        rows.append(("CPU-ms a run in a burst, without submitting", middles))
    rows.append(("worker at rest, MiB", {name: one.memory for name, one in rest.items()}))
    rows.append(("worker at rest, % of a core", {name: one.percent for name, one in rest.items()}))
    for name, values in rows:
        ratio = values["sealrun"] / values["naive"] if values["naive"] else float("nan")
        print(f"{name:<44} {values['naive']:>8.2f} {values['sealrun']:>8.2f} {ratio:>8.2f}")


def p95(series: Sequence[float]) -> float:
    return sorted(series)[len(series) * 95 // 100]


def _shown(value: float | None, digits: int = 1) -> str:
    return f"{'':>8}" if value is None else f"{value:>8.{digits}f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--where", nargs="+", choices=WHERE, default=["redis-sqlite"])
    parser.add_argument("--secrets", nargs="+", type=int, default=[10])
    parser.add_argument("--rung", choices=WEAKER, default="namespace")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--burst", type=int, default=40, help="runs in a burst; 0 for none")
    parser.add_argument("--profile", choices=(*ROLES, "naive"), help="the functions of this process that take the time")
    parser.add_argument("--by", choices=("cpu", "faults"), default="cpu", help="what a traced process is profiled by")
    parser.add_argument("--rest", type=float, default=10, help="seconds to look at a worker at rest")
    parser.add_argument("--all", action="store_true", help="say each statement, too")
    parser.add_argument("--minutes", type=float, default=20, help="when to give up")
    options = parser.parse_args()
    if not 1 <= options.runs <= 1000:
        parser.error("--runs takes a number from 1 to 1000")
    if not 0 <= options.burst <= 1000:
        parser.error("--burst takes a number from 0 to 1000")
    if not 0 < options.rest <= 600:
        parser.error("--rest takes a number of seconds above 0, at most 600")
    return options


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"\n{time.monotonic() - began:.0f} s")
