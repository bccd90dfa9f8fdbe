"""What a supervisor looks after itself: a run's disk, and its memory and processes where the kernel does not."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.limits.disk import Disk
from executor.sandbox.removal import remove
from executor.supervisor.bounds import Bounds
from tests.executor.run_process import dig
from tests.processes import eventually

M = 1 << 20


def _counted(disk: Disk) -> int:
    """After a whole count, begun now."""
    for _ in range(3):
        disk.look(10)
    return disk.bytes


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sealrun-bounds-", dir="/var/tmp"))  # on disk
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def test_what_is_below_its_folders_is_counted(folder: Path) -> None:
    """In folders, under two names once, and what a link leads to not at all; a hole takes no room."""
    _fill(folder / "own/a/b", 2 * M)
    os.link(folder / "own/a/b", folder / "own/again")
    _fill(folder / "else", 3 * M)
    (folder / "own/link").symlink_to(folder)
    with open(folder / "own/hole", "wb") as file:
        file.truncate(1 << 30)

    assert 2 * M <= _counted(Disk([str(folder / "own")])) < 2 * M + 100_000


HELD = {
    "open": "keep(fd); time.sleep(60)",
    "in a thread with descriptors of its own": """
def hold():
    libc.unshare(0x400)
    keep(fd)
    time.sleep(60)
threading.Thread(target=hold).start()
os.read(told, 1)
os.close(fd)
os.write(1, b"!")
""",
    "mapped": """
mapped = mmap.mmap(fd, 4096, trackfd=False) if sys.version_info >= (3, 13) else libc.mmap(None, 4096, 1, 1, fd, 0)
os.close(fd)
keep(-1)
time.sleep(60)
""",
}


@pytest.mark.parametrize("how", [*HELD])
def test_a_file_without_a_name_is_counted_as_long_as_it_is_held(folder: Path, how: str) -> None:
    """By a process below this one, on the disk of its folders."""
    if how == "mapped" and os.geteuid():
        pytest.skip("only root may look at what is mapped")
    code = f"""
import ctypes, mmap, os, sys, threading, time
libc = ctypes.CDLL(None)
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mmap.restype = ctypes.c_void_p
fd = os.open(sys.argv[1] + "/gone", os.O_RDWR | os.O_CREAT)
os.unlink(sys.argv[1] + "/gone")
os.write(fd, os.urandom({2 * M}))
told, tell = os.pipe()
def keep(fd):
    os.write(tell if threading.current_thread() is not threading.main_thread() else 1, b"!")
{HELD[how]}
"""
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"!"
        try:
            assert 2 * M <= _counted(Disk([str(folder)])) < 2 * M + 100_000
        finally:
            process.kill()
    assert _counted(Disk([str(folder)])) < 100_000


def test_what_is_too_deep_to_be_counted_is_too_much(folder: Path) -> None:
    """As nobody knows how much it is; what stands beside it is counted all the same."""
    for name in ("own", "else"):
        (folder / name).mkdir()
    dig(folder / "own", 400)
    assert _counted(Disk([str(folder)])) < 10 * M
    dig(folder / "else", 600)
    disk = Disk([str(folder)])
    assert _counted(disk) > 1 << 50
    remove(folder / "else")
    assert _counted(disk) < 10 * M


def test_a_count_takes_its_time_and_no_more(folder: Path) -> None:
    """It goes on where it was; what it has seen so far is enough to know that it is too much."""
    for number in range(1000):
        (folder / str(number)).write_bytes(b"x")
    disk, all_of_it = Disk([str(folder)]), 1000 * os.lstat(folder / "0").st_blocks * 512
    looks = 0
    while disk.look(0.0) < all_of_it:
        looks += 1
        assert looks < 100
    assert looks > 3


def test_a_folder_that_is_gone_or_replaced_leads_nowhere(folder: Path) -> None:
    """A run may do with its folders what it likes."""
    _fill(folder / "else/big", 2 * M)
    (folder / "own").symlink_to(folder / "else")
    assert _counted(Disk([str(folder / "own"), str(folder / "none"), ""])) == 0


@pytest.mark.parametrize(
    ("which", "limit", "reason"),
    [
        ("memory", {"memory": 40 * M}, "out_of_memory"),
        ("memory", {"memory": 4000 * M}, None),  # what this process has is in its copies, too
        ("pids", {"pids": 1}, "process_limit"),
        ("pids", {"pids": 1000}, None),
    ],
)
def test_more_than_it_may_have_is_a_reason(which: str, limit: dict[str, int], reason: str | None, folder: Path) -> None:
    """Of two processes below this one, with 60 MB in one of them."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        held = bytearray(os.urandom(M)) * 60
        if os.fork() == 0:
            time.sleep(60)
        os.write(writer, b"!")
        time.sleep(60)
        os._exit(len(held))
    try:
        os.read(reader, 1)
        given = {"memory": None, "pids": None, "disk": None, **limit}
        bounds = Bounds({which}, folders=[str(folder)], **given)
        assert bounds.over() == reason
    finally:
        for victim in (*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()), pid):
            os.kill(victim, 9)
        os.waitpid(pid, 0)


def test_nothing_is_looked_at_that_has_no_limit(folder: Path) -> None:
    """So that a run costs nothing by it."""
    assert Bounds((), memory=1, pids=1, disk=1, folders=[str(folder)]).next_at == float("inf")


def test_too_much_on_disk_is_a_reason(folder: Path) -> None:
    """As soon as it is seen."""
    _fill(folder / "much", 2 * M)
    bounds = Bounds({"disk"}, memory=None, pids=None, disk=M, folders=[str(folder)])
    eventually(lambda: bounds.over() == "disk_limit", 10, "it is seen")


def test_a_kill_in_its_group_is_a_reason(folder: Path) -> None:
    """Of any process of the run, looked for as long as it goes on."""
    kills = []
    bounds = Bounds((), memory=M, pids=None, disk=None, folders=[str(folder)], starved=lambda: bool(kills))
    assert bounds.over() is None
    kills.append(1)
    eventually(lambda: bounds.over() == "out_of_memory", 10, "it is seen")
