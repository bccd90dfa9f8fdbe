"""`sealrun doctor --conformance`: the same attacks on a user's own machine, without database, broker or secrets."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.conformance.catalog import CATALOG
from executor.conformance.judging import left_of
from tests.rig import CHECKOUT

FOR_TESTS = {"tmux", "ssh-agent", "none-servers"}
"""What they attack is started by the tests alone."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A place for temporary files that every user may pass."""
    with tempfile.TemporaryDirectory(prefix="sealrun-t-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_it_tells_what_holds_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    """I3: what is promised holds; nothing is made in SEALRUN_HOME, and nothing stays of folders and processes."""
    home = tmp_path / "home"
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(tmp_path), "SEALRUN_HOME": str(home)}
    environ["TMPDIR"] = str(temporary)
    code = "import sys; from executor.cli.main import main; sys.argv = ['sealrun', *sys.argv[1:]]; main()"
    told = [sys.executable, "-c", code, "doctor", "--conformance", "--json"]
    ended = subprocess.run(told, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False)
    document = json.loads(ended.stdout)
    verdicts = {one["attack"]: one["verdict"] for one in document["attacks"]}
    assert (ended.returncode, document["ok"]) == (0, True), ended.stderr
    assert list(verdicts) == [one.name for one in CATALOG]
    assert {name for name in FOR_TESTS if verdicts[name] != "not run"} == set()
    assert not home.exists() or not any(home.iterdir())
    assert list(temporary.iterdir()) == []
    assert left_of(str(temporary)) == []
