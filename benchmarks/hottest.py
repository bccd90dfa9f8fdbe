"""Which functions of one process of a run take its time, those that take most first: `run_cpu.py --profile ROLE`."""

import argparse
import cProfile
import statistics
import sys
import time
from collections.abc import Sequence

import hot
from beside import ROOT, Way
from scene import WARM, Scene, scene, settled

from tests.processes import eventually

TRACED = ("zygote", "supervisor", "opener", "box", "run")
UNITS = {"cpu": "milliseconds of processor", "faults": "pages given or copied"}


def profile(options: argparse.Namespace) -> None:
    """Which functions of one process take its time."""
    role, where, count = options.profile, options.where[0], options.secrets[0]
    runs = min(options.runs, hot.PLACES // 2 - 2 * WARM)
    by = options.by if role in TRACED else "cpu"
    with scene(where, count, options.rung, f"{role},{by}" if by == "faults" else role) as made:
        way = made.naive if role == "naive" else made.sealrun
        for _ in range(WARM):
            way.one()
        settled(made)
        print(f"\n{role}, of {runs} runs one after the other; {where}, {count} secrets; {UNITS[by]} a run")
        if role in ("worker", "naive"):
            report_sampled(made, way, runs)
        elif role == "submitter":
            report_submitter(made, runs)
        else:
            for _ in range(runs):
                way.one()
            settled(made)
            if role == "zygote":
                made.worker.end()
            count, lines = hot.traced(made.folder / "traced", 0 if role == "zygote" else WARM)
            if role == "zygote":
                count = runs + WARM
            if not count:
                raise SystemExit(f"nothing was traced:\n{made.worker.said()}")
            report_lines(lines, count)
            if role == "run":
                report_imports(made, runs)


def report_sampled(made: Scene, way: Way, runs: int) -> None:
    """Of a worker."""
    (made.folder / "begin").touch()
    time.sleep(0.1)
    for _ in range(runs):
        way.one()
    settled(made)
    (made.folder / "end").touch()
    eventually((made.folder / "sampled").exists, 10, "the sampler has written what it has found")
    report_lines(list(hot.sampled(made.folder / "sampled", "by function")), runs)
    caused = sorted(hot.sampled(made.folder / "sampled", "caused"), key=lambda line: -line.own)
    print(f"\n{'on behalf of this line of ours':>30}")
    for line in caused[:40]:
        print(f"{line.own / runs:>9.3f} {_place(line)}")


def report_submitter(made: Scene, runs: int) -> None:
    """Of this process while it submits."""
    tracer = cProfile.Profile(time.thread_time_ns, 1e-6)
    send = made.sealrun._send

    def traced() -> str:
        return str(tracer.runcall(send))

    made.sealrun._send = traced  # type: ignore[method-assign]
    for _ in range(runs):
        made.sealrun.one()
    tracer.create_stats()
    found = tracer.stats.items()  # type: ignore[attr-defined]
    report_lines([hot.Line(where, own, whole, calls) for where, (_, calls, own, whole, _) in found], runs)


def report_imports(made: Scene, runs: int) -> None:
    """What the run's interpreter said of its imports, by the clock on the wall."""
    times: dict[str, list[float]] = {}
    for run_id in made.sealrun.submitted[-runs:]:
        for line in made.sealrun.rig.printed(run_id, "stderr").splitlines():
            if line.startswith("import time:") and "self [us]" not in line:
                own, _, name = line.removeprefix("import time:").split("|")
                times.setdefault(name.strip(), []).append(int(own) / 1000)
    print(f"\n{'its imports: self, p50':>30}")
    for name, series in sorted(times.items(), key=lambda item: -statistics.median(item[1]))[:25]:
        print(f"{statistics.median(series):>9.3f} {name}")


def report_lines(lines: Sequence[hot.Line], runs: int) -> None:
    """Two tables: those that take most themselves, and those that do with what they call."""
    total = sum(line.own for line in lines)
    print(f"in all {total / runs:.2f}")
    for title, key in (("of its own", lambda line: -line.own), ("with what it calls", lambda line: -line.whole)):
        print(f"\n{title:>20}\n{'own':>9} {'whole':>9} {'calls':>8}")
        for line in sorted(lines, key=key)[:45]:
            calls = f"{line.calls / runs:>8.1f}" if line.calls else f"{'':>8}"
            print(f"{line.own / runs:>9.3f} {line.whole / runs:>9.3f} {calls} {_place(line)}")


def _place(line: hot.Line) -> str:
    file, number, name = line.where
    for prefix in (f"{ROOT}/", f"{sys.prefix}/lib/", f"{sys.base_prefix}/lib/"):
        file = file.removeprefix(prefix)
    return f"{file}:{number} {name}" if number else name
