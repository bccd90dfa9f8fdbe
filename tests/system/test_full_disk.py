"""A real disk that is full, under the database of a real worker: told as that, and over when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import eventually
from tests.rig import Rig, rig

pytestmark = pytest.mark.long

NOISE = "import os\nfor _ in range(160): os.write(1, os.urandom(1 << 16))\n"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig whose home has room for a database and little more."""
    if os.geteuid() != 0:
        pytest.skip("needs tests that run as root: a small disk is mounted")
    made = Rig.__init__

    def small(self: Rig, folder: Path, **options: Any) -> None:
        (folder / "home").mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(folder / "home")]).returncode:
            pytest.skip("nothing may be mounted here")
        made(self, folder, **options)

    monkeypatch.setattr(Rig, "__init__", small)
    with rig(settings={"SEALRUN_LEASE_SECONDS": "4"}) as found:
        found.project("shop")
        found.start_worker()
        try:
            yield found
        finally:
            subprocess.run(["umount", "-l", str(found.home)], check=True)


def test_i7_a_full_disk_is_told_and_does_no_other_harm(place: Rig) -> None:
    """The run, those that wait and the log say what it is; the next run is taken when there is room."""
    (worker,) = place.workers
    ended = place.python_run(NOISE)
    assert ended.how[:2] == ("failed", "storage_failed"), worker.said()
    assert "could not be kept" in str(ended.view.message) and "its disk is full" in str(ended.view.message)
    waits = place.submit({"kind": "command", "argv": ["echo", "hello"]})
    eventually(lambda: "its disk is full" in str(place.view(waits).waiting_for), 30, "who waits is told")
    assert worker.said().count("its disk is full") == 1
    subprocess.run(["mount", "-o", "remount,size=64m", str(place.home)], check=True)
    assert place.ended(waits).stdout == "hello\n"
    assert worker.said().count("runs are taken") == 1
