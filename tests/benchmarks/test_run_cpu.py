"""The benchmark of a run's processor time works, on the smallest scale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/run_cpu.py"
ROLES = ("submitter", "worker", "zygote", "supervisor", "opener", "box", "run")


def printed(*options: str) -> str:
    words = [sys.executable, str(SCRIPT), "--where", "embedded-sqlite", *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rest", "0"), "--rest takes a number of seconds above 0"),
        (("--runs", "0"), "--runs takes a number from 1 to 1000"),
        (("--burst", "-1"), "--burst takes a number from 0 to 1000"),
    ],
)
def test_a_number_that_would_do_nothing_is_refused_at_once(words: tuple[str, str], said: str) -> None:
    """By its option, before anything is started."""
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and said in done.stderr and not done.stdout


@pytest.mark.long
def test_each_process_of_a_run_has_its_row() -> None:
    """All seven have taken processor time; the naive task has three of them."""
    said = printed("--runs", "3", "--burst", "3", "--rest", "0.5")
    table = said.partition("CPU-ms a run")[2].partition("\n\n")[0]
    rows = {words[0]: words[1:] for line in table.splitlines() if (words := line.split())[0] in ROLES}
    assert set(rows) == set(ROLES)
    assert len(rows["worker"]) == len(rows["run"]) == 4
    assert float(rows["supervisor"][0]) > 1
    assert re.search(r"^CPU-ms a run, all processes +\d", said, re.M)
    assert re.search(r"^\d+\.\d statements and [1-9]\d*\.\d commits a run", said, re.M)


@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "function"), [("worker", "dispatch"), ("supervisor", "_supervise"), ("run", "_become")]
)
def test_the_functions_of_a_process_are_told(role: str, function: str) -> None:
    """A sampled process, a traced one, and the one that becomes an interpreter."""
    assert re.search(rf"executor/\S+:\d+ (\w+\.)*{function}$", printed("--runs", "5", "--profile", role), re.M)
