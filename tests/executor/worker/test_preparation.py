"""What a worker opens of a run before its gate: its source and its interpreter, whatever the run's row says of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from executor.errors import SourceIsHome
from executor.models import Run
from executor.sandbox import folders as open_folders
from executor.worker.equipment import Equipment
from executor.worker.lease import LeaseKeeper
from executor.worker.preparation import source_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody else than the worker's user."""
    folder = tmp_path / "accounts/bob"
    folder.mkdir(parents=True)
    monkeypatch.setattr(open_folders, "_homes", lambda: frozenset({folder}))
    return folder


def source_at(folder: Path) -> Path:
    run = SimpleNamespace(bundle=None, source_root=str(folder))
    with source_of(cast(Equipment, None), cast(Run, run), cast(LeaseKeeper, None)) as it:
        return it.folder


def test_i3_a_home_of_another_account_is_no_source(home: Path) -> None:
    """Its row was written by whoever may submit, and the worker may be root; what lies beneath is fine."""
    (home / "jobs").mkdir()
    for folder in (home, home.parent, Path("/")):
        with pytest.raises(SourceIsHome, match="a run must not read a whole home folder"):
            source_at(folder)
    assert source_at(home / "jobs") == home / "jobs"
