"""How long the command line takes to start, beside the bare interpreter: in turns, so that both meet the same machine.

    .venv/bin/python benchmarks/cli_start.py [REPEATS] [--base FOLDER]

Compiled byte code is made first. `whole` is from start to exit, and `CPU` what the process has used, in milliseconds.
For `sealrun run` there is the time to the first line, too, of a function that prints at once, with a worker on the
embedded broker that lives already: cold, and through a warm process that an earlier command has left. --base is a
checkout of another state, of which the same is measured in the same turns.
"""

import argparse
import compileall
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 20
PATIENCE = 60.0
PRINTS = "def prints():\n    print('first', flush=True)\n"
RUN = ["-m", "executor.cli", "run", "-p", "bench", "job.py:prints"]

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import sqlalchemy": ["-c", "import sqlalchemy"],
    "import sqlmodel": ["-c", "import sqlmodel"],
    "sealrun --help": ["-m", "executor.cli", "--help"],
    "sealrun runs list": ["-m", "executor.cli", "runs", "list"],
    "sealrun worker --help": ["-m", "executor.cli", "worker", "--help"],  # imports what a check does
    "what sealrun run imports": ["-c", "from executor.cli.lazy import load; load('run')"],
    "what it rings with": ["-c", "import executor.broker.application, kombu.transport.redis"],
    "sealrun run": RUN,
}
WARM = {"sealrun run": RUN, "sealrun runs list": COMMANDS["sealrun runs list"]}


class Took(NamedTuple):
    """Milliseconds."""

    whole: float
    cpu: float
    first: float


def main() -> None:
    options = _options()
    trees = {"": ROOT} | ({"base: ": options.base.resolve()} if options.base else {})
    for tree in trees.values():
        for package in ("executor", "secretstore"):
            compileall.compile_dir(tree / package, quiet=2)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        jobs = place / "jobs"
        jobs.mkdir()
        (jobs / "job.py").write_text(PRINTS)
        environ = {
            "PATH": os.defpath,
            "HOME": folder,
            "SEALRUN_HOME": f"{folder}/sealrun",
            "SEALRUN_WARM_SECONDS": "0",
            "PYTHONPATH": str(ROOT),
        }
        took(["-m", "executor.cli", "project", "create", "bench"], environ, jobs)
        worker = subprocess.Popen(
            [sys.executable, "-m", "executor.cli", "worker"], env=environ, cwd=jobs, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for_it(environ, jobs)
            ways = {
                f"{name}{command}": (words, {**environ, "PYTHONPATH": str(tree)})
                for command, words in COMMANDS.items()
                for name, tree in trees.items()
                if "executor" in " ".join(words) or tree == ROOT
            }
            warm = {**environ, "SEALRUN_WARM_SECONDS": "3600"}  # it ends with its home
            ways |= {f"warm: {command}": (words, warm) for command, words in WARM.items()}
            _leave_one_behind(warm, jobs)
            taken: dict[str, list[Took]] = {way: [] for way in ways}
            for _ in range(options.repeats):
                for way, (words, around) in ways.items():
                    taken[way].append(took(words, around, jobs))
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE)
    shown(taken)


def shown(taken: dict[str, list[Took]]) -> None:
    bare = statistics.median(one.whole for one in taken["bare interpreter"])
    print(f"{'':<32}{'whole':>8}{'p95':>8}{'times bare':>12}{'CPU':>8}{'first line':>12}{'p95':>8}")
    for name, series in taken.items():
        whole, cpu, first = (statistics.median(column) for column in zip(*series, strict=True))
        line = f"{first:>12.0f}{_late(one.first for one in series):>8.0f}" if name.endswith("sealrun run") else ""
        late = _late(one.whole for one in series)
        print(f"{name:<32}{whole:>8.0f}{late:>8.0f}{whole / bare:>12.1f}{cpu:>8.0f}{line}")
    print(f"twice the bare interpreter and 150 ms: {2 * bare + 150:.0f}")
    for command in WARM:
        ratios = [cold.first / warm.first for cold, warm in zip(taken[command], taken[f"warm: {command}"], strict=True)]
        print(f"{command} to its first line, cold / warm in the same turn, median: {statistics.median(ratios):.1f}")


def _late(times: Iterable[float]) -> float:
    ordered = sorted(times)
    return ordered[max(0, round(len(ordered) * 0.95) - 1)]


def took(arguments: Sequence[str], environ: dict[str, str], folder: Path) -> Took:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - began
        process.stdout.read()
    whole = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Took(whole * 1000, cpu * 1000, first * 1000)


def _wait_for_it(environ: dict[str, str], folder: Path) -> None:
    """Until the worker has taken a run."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            took(RUN, environ, folder)
            return
        except SystemExit:
            if time.monotonic() > until:
                raise


def _leave_one_behind(environ: dict[str, str], folder: Path) -> None:
    """Until a command of this environment has left a warm process that listens."""
    took(WARM["sealrun runs list"], environ, folder)
    until = time.monotonic() + PATIENCE
    while not any(path.is_socket() for path in Path(environ["SEALRUN_HOME"], "warm").iterdir()):
        if time.monotonic() > until:
            raise SystemExit("no warm process was left behind")
        time.sleep(0.01)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repeats", type=int, nargs="?", default=REPEATS)
    parser.add_argument("--base", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
