"""What a worker finds that it can have of the filter."""

import subprocess
import sys
from pathlib import Path

from tests.rig import CHECKOUT, as_ordinary, ordinary_account

HARDENED = (
    "import sys; sys.path.insert(0, sys.argv[1]); from executor.sandbox import filter, kernel; "
    "before = filter.probe(); kernel.harden(); print(before, filter.probe())"
)


def test_a_hardened_worker_finds_what_its_runs_will_have(tmp_path: Path) -> None:
    """Its own memory is closed to processes of its user, and a run's is not."""
    account = ordinary_account()
    python = [sys.executable] if account is None else as_ordinary(tmp_path, account)
    command = [*python, "-c", HARDENED, str(CHECKOUT)]
    before, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert before == after
