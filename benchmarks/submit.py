"""What a submission costs in a process that makes many: CPU of `client.run`, and of each of a thousand of `run_many`.

The source does not change meanwhile, and the first seconds do not count. Bells go to a real Redis; nobody hears them.
--base is a checkout of another state, measured in the same turns; what it does not have is left out.

    python benchmarks/submit.py [--rounds 5] [--database URL] [--base FOLDER] [--broker redis://127.0.0.1:6379/11]

Without --database it is SQLite; one that is named is to be empty. Start it with a virtual environment's interpreter.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS, MANY = 100, 1000
CODE = "def job(n: int = 0):\n    print(n)\n"
SETTLED = 3.5  # seconds after which files that have not changed are remembered


def main() -> None:
    options = _options()
    if options.client:
        client(Path(options.client))
        return
    trees = {"": ROOT} | ({"base: ": options.base.resolve()} if options.base else {})
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        jobs = Path(folder) / "jobs"
        jobs.mkdir()
        (jobs / "job.py").write_text(CODE)
        environ = {"PATH": os.defpath, "HOME": folder, "SEALRUN_HOME": f"{folder}/home", "SEALRUN_HOST": "bench"}
        environ["SEALRUN_BROKER_URL"] = options.broker
        if options.database:
            environ["SEALRUN_DATABASE_URL"] = options.database
        for words in (["migrate"], ["project", "create", "bench"]):
            command = [sys.executable, "-m", "executor.cli", *words]
            subprocess.run(command, env=environ | {"PYTHONPATH": str(ROOT)}, cwd=folder, check=True)
        clients = {name: _client(str(jobs), environ | {"PYTHONPATH": str(tree)}) for name, tree in trees.items()}
        taken: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, process in clients.items():
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write("again\n")
                process.stdin.flush()
                for way, figure in (part.split("=") for part in process.stdout.readline().split()):
                    taken.setdefault(name + way, []).append(float(figure))
        for process in clients.values():
            process.communicate()
    print(f"CPU-ms a submission{'':<12}{'median':>8}{'min':>8}")
    for way, series in sorted(taken.items()):
        print(f"  {way:<29}{statistics.median(series):>8.2f}{min(series):>8.2f}")


def client(folder: Path) -> None:
    """The process that submits: a round for each line that it reads."""
    from executor import Client

    bench = Client("bench")
    common: dict[str, Any] = {"folder": folder, "secrets": []}
    _each(lambda: bench.run("job.py:job", **common), 10)
    time.sleep(SETTLED)
    _each(lambda: bench.run("job.py:job", **common), 10)
    for _ in sys.stdin:
        took = {"run": _each(lambda: bench.run("job.py:job", **common), RUNS)}
        if hasattr(bench, "run_many"):
            items = [{"args": {"n": number}} for number in range(MANY)]
            took["run_many"] = _each(lambda of=items: bench.run_many(of, target="job.py:job", **common), 1) / MANY
        print(*(f"{way}={figure:.3f}" for way, figure in took.items()), flush=True)


def _each(act: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - began) * 1000 / times


def _client(folder: str, environ: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--client", folder]
    return subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--broker", default="redis://127.0.0.1:6379/11")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
