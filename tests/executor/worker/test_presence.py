"""A worker's own word about itself, and what a check makes of it: true whatever becomes of the worker."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from executor.errors import WorkerUnwell
from executor.worker import checking, descriptors
from executor.worker.checking import check
from executor.worker.health import DEAF, Health, Leaving
from executor.worker.presence import present, seen
from executor.worker.storage import Storage
from secretstore.database import Database
from secretstore.errors import FolderUnusable
from tests.executor.conftest import ROOT
from tests.processes import eventually
from tests.rig import PATIENCE

WORKER = """
import sys, time
from pathlib import Path
from executor.worker.presence import present
with present(Path(sys.argv[1]), sys.argv[2], lambda: sys.argv[3] or None, print):
    sys.stdout.flush()
    time.sleep(600)
"""


@contextmanager
def worker(root: Path, name: str, why: str = "") -> Iterator["subprocess.Popen[bytes]"]:
    """A process of its own that is seen under this name."""
    command = [sys.executable, "-c", WORKER, str(root), name, why]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_it_is_seen_as_long_as_it_lives(tmp_path: Path) -> None:
    """With why it takes no run; afterwards nothing is left of it."""
    with present(tmp_path, "mill@here", lambda: "it is starting", lambda _: None):
        (one,) = seen(tmp_path)
        assert (one.name, one.pid, one.alive, one.why) == ("mill@here", os.getpid(), True, "it is starting")
        with pytest.raises(WorkerUnwell, match="lives, and takes no run: it is starting"):
            check(tmp_path, None, live=False)
        assert check(tmp_path, None, live=True) == f"worker mill@here (process {os.getpid()}) lives"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WorkerUnwell, match="no worker is here"):
        check(tmp_path, None, live=True)
    with pytest.raises(WorkerUnwell, match="no worker is here"):
        check(tmp_path / "none", None, live=True)


def test_one_that_was_killed_is_gone_though_its_process_id_is_taken_again(tmp_path: Path) -> None:
    """The lock goes with the process, and no id is believed: this one has become another's. The next forgets it."""
    with worker(tmp_path, "mill@here") as process:
        assert check(tmp_path, "mill@here", live=False).endswith("takes runs")
        process.kill()
        process.wait()
        (file,) = tmp_path.iterdir()
        record = json.loads(file.read_text()) | {"pid": os.getpid(), "at": time.monotonic()}
        file.write_text(json.dumps(record))
        for live in (True, False):
            with pytest.raises(WorkerUnwell, match="has ended without a word"):
                check(tmp_path, None, live)
    with present(tmp_path, "mill@here", lambda: None, lambda _: None):
        assert len(seen(tmp_path)) == 1


def test_one_that_stands_still_is_no_live_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is there, and has not turned for a while."""
    monkeypatch.setattr(checking, "STILL", 2.5)
    with worker(tmp_path, "mill@here") as process:
        check(tmp_path, None, live=True)
        process.send_signal(signal.SIGSTOP)

        def still() -> bool:
            try:
                check(tmp_path, None, live=True)
            except WorkerUnwell as error:
                return "has stood still for" in str(error)
            return False

        eventually(still, PATIENCE, "it is told")


def test_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    """As `-n` of `sealrun worker` takes it, this machine's name in the place of %h; whoever else looks is no worker."""
    host = socket.gethostname()
    with (
        present(tmp_path, f"mill@{host}", lambda: None, lambda _: None),
        present(tmp_path, "celery@dam", lambda: "full", lambda _: None),
    ):
        with pytest.raises(WorkerUnwell, match="several workers here: celery@dam, mill@"):
            check(tmp_path, None, live=True)
        assert "takes runs" in check(tmp_path, "mill@%h", live=False)
        assert "celery@dam" in check(tmp_path, "dam", live=True)
        with pytest.raises(WorkerUnwell, match='no worker "celery@weir" is here, but celery@dam, mill@'):
            check(tmp_path, "weir", live=True)


def test_it_takes_no_run_for_each_thing_that_it_lacks(sqlite_db: Database, tmp_path: Path) -> None:
    """In words that say what to look at; what it has had a moment ago it still has."""
    storage, now = Storage(sqlite_db, tmp_path), time.monotonic()

    def why(**lack: Any) -> str | None:
        well = {"leaving": Leaving(), "storage": storage, "begun": True, "beaten": now, "turned": now}
        return Health(**(well | lack)).why()

    assert why() is None and why(turned=None) is None
    assert "it is starting" in str(why(begun=False)) and "it is starting" in str(why(storage=None))
    assert "no heartbeat has reached its database for 11 s" in str(why(beaten=now - 11))
    assert "it has not heard its broker for" in str(why(turned=now - DEAF - 1))
    assert why(leaving=Leaving(since=now)) == "it was told to stop"
    storage.failed("the worker's disk is full")
    assert why() == "the worker's disk is full"


def test_a_folder_in_which_others_may_write_is_not_believed(tmp_path: Path) -> None:
    """The usual one has a name that anybody can foresee, below a folder where anybody can make it."""
    with present(tmp_path, "mill@here", lambda: None, lambda _: None):
        assert check(tmp_path, None, live=True)
        tmp_path.chmod(0o777)
        with pytest.raises(FolderUnusable, match="is not a private folder of this user"):
            check(tmp_path, None, live=True)
        tmp_path.chmod(0o700)
        link = tmp_path / "link"
        link.symlink_to(tmp_path)
        with pytest.raises(WorkerUnwell, match="cannot be looked at: not a directory"):
            check(link, None, live=True)
        if os.geteuid() == 0:
            os.chown(tmp_path, 60600, 60600)
            with pytest.raises(FolderUnusable, match="is not a private folder of this user"):
                check(tmp_path, None, live=True)
            os.chown(tmp_path, 0, 0)


def test_what_is_no_workers_file_is_passed_over(tmp_path: Path) -> None:
    """A pipe, which would be waited for, a link, a folder, what says something else, and somebody else's file."""
    os.mkfifo(tmp_path / ".worker-a")
    (tmp_path / ".worker-b").symlink_to("/etc/passwd")
    (tmp_path / ".worker-c").mkdir()
    (tmp_path / ".worker-d").write_text('{"name": 5, "at": "now"}')
    if os.geteuid() == 0:
        record = {"name": "theirs", "pid": 1, "at": time.monotonic(), "why": None}
        (tmp_path / ".worker-e").write_text(json.dumps(record))
        os.chown(tmp_path / ".worker-e", 60600, 60600)
    assert seen(tmp_path) == []
    with present(tmp_path, "mill@here", lambda: None, lambda _: None):
        assert [one.name for one in seen(tmp_path)] == ["mill@here"]


def test_i7_a_worker_without_spare_file_descriptors_takes_no_run(sqlite_db: Database, tmp_path: Path) -> None:
    """I7: its runs would fail, or wait for it in vain; another worker may have some."""
    well = Health(Leaving(), Storage(sqlite_db, tmp_path), begun=True, beaten=time.monotonic())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    assert well.why() is None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + descriptors.SPARE // 2, before[1]))
        some = well.why()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        none = well.why()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert f"too few file descriptors left: {used} of " in str(some)
    assert none == "it has no file descriptors left"
    assert well.why() is None
