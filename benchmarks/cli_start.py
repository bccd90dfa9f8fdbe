"""How long the command line takes to start, beside the bare interpreter: in turns, so that both meet the same machine.

    .venv/bin/python benchmarks/cli_start.py [REPEATS]

Compiled byte code is made first; times are of whole processes, from start to exit, in milliseconds.
"""

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 20

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import sqlalchemy": ["-c", "import sqlalchemy"],
    "sealrun --help": ["-m", "executor.cli", "--help"],
    "sealrun runs list": ["-m", "executor.cli", "runs", "list"],
    "sealrun worker --help": ["-m", "executor.cli", "worker", "--help"],  # imports what a check does
    "what sealrun run imports": ["-c", "import executor.cli.run"],
}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    for package in ("executor", "secretstore"):
        compileall.compile_dir(ROOT / package, quiet=2)
    with tempfile.TemporaryDirectory() as home:
        environ = {"PATH": os.defpath, "HOME": home, "SEALRUN_HOME": f"{home}/sealrun", "PYTHONPATH": str(ROOT)}
        taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
        took(COMMANDS["sealrun runs list"], environ)  # makes the database
        for _ in range(repeats):
            for name, command in COMMANDS.items():
                taken[name].append(took(command, environ))
    bare = statistics.median(taken["bare interpreter"])
    print(f"{'':<26}{'median':>8}{'min':>8}{'times the bare one':>20}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<26}{median:>8.0f}{min(times):>8.0f}{median / bare:>20.1f}")
    print(f"twice the bare interpreter and 150 ms: {2 * bare + 150:.0f}")


def took(arguments: Sequence[str], environ: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environ, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
