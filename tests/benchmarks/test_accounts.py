"""What the benchmarks say of processor time is what the kernel says, for processes that are dead already too."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import accounts  # noqa: E402  # a script's own module, which no package has


def test_a_dead_process_is_accounted_for_with_and_without_its_children(tmp_path: Path) -> None:
    """The zygote's stand-in collects a child that has collected one: each is booked by itself, and the sum is exact."""
    file = tmp_path / "deaths"
    accounts.make(file)
    # In a process of its own: `accounting` replaces os.waitpid for good.
    subprocess.run([sys.executable, __file__, str(file)], check=True, timeout=60)
    (lower, upper) = sorted(accounts.deaths(file), key=lambda death: death.whole.cpu)
    assert lower.own.cpu >= 30
    assert abs(lower.whole.cpu - lower.own.cpu) < 1
    assert upper.own.cpu >= 10
    assert abs(upper.whole.cpu - upper.own.cpu - lower.whole.cpu) < 1
    assert upper.whole.faults == upper.own.faults + lower.whole.faults


def _spend(milliseconds: float) -> None:
    while time.process_time() * 1000 < milliseconds:
        pass


def _upper() -> int:
    """10 milliseconds of its own, and a child that takes 30."""
    began = time.process_time() * 1000
    if (pid := os.fork()) == 0:
        _spend(30)
        os._exit(0)
    os.waitpid(pid, 0)
    _spend(began + 10)
    return 0


def _fork(work: Any, _: Any) -> int:
    if pid := os.fork():
        return pid
    os._exit(work())


if __name__ == "__main__":
    zygote = SimpleNamespace(fork=_fork)
    accounts.accounting(Path(sys.argv[1]), zygote)
    zygote.fork(_upper, ())
    os.waitpid(-1, 0)
