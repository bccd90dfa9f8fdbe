"""Where output waits: bounded, in order, byte for byte, and nowhere that anybody could find it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.worker.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, 100)
    yield made
    made.close()


def emptied(spool: Spool) -> list[tuple[str, bytes]]:
    found = []
    while taken := spool.take(50):
        found += [(entry.kind, entry.data) for entry in taken]
        spool.release(taken)
    return found


def test_what_goes_on_is_one_piece(spool: Spool) -> None:
    """Of one stream, with nothing of another in between; what is no bytes has its place among them."""
    for kind, data in (("stdout", b"a"), ("stdout", b"b"), ("stderr", b"c"), ("stdout", b"d")):
        spool.put(kind, data)
    spool.add("number", 5)
    spool.put("stdout", b"e")
    assert emptied(spool) == [("stdout", b"ab"), ("stderr", b"c"), ("stdout", b"d"), ("number", b""), ("stdout", b"e")]


def test_it_is_full_until_half_of_it_is_free(spool: Spool) -> None:
    """Else a run would be stopped and let go with every line."""
    for _ in range(10):
        assert not spool.full
        spool.put("stdout" if spool.waiting % 20 else "stderr", b"x" * 10)
    assert spool.full
    for left, full in ((90, True), (80, True), (70, True), (60, True), (50, False)):
        spool.release(spool.take(10))
        assert (spool.waiting, spool.full) == (left, full)


def test_it_is_a_file_without_a_name(spool: Spool, tmp_path: Path) -> None:
    """I1: nobody but this worker can open it, and the kernel removes it with the worker, however that ends."""
    spool.put("stdout", b"x" * 50)
    (found,) = [os.stat(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_ours(fd, tmp_path)]
    assert (found.st_nlink, found.st_mode & 0o777, found.st_size) == (0, 0o600, 50)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_full_spool(tmp_path: Path) -> None:
    """I7: what has come waits in memory, and nothing more is taken before it went."""
    spool = Spool(tmp_path / "no such folder", 100)
    spool.put("stdout", b"here")
    assert spool.full
    taken = spool.take(50)
    assert [entry.data for entry in taken] == [b"here"] and spool.full
    spool.release(taken)
    assert not spool.full


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=60)), max_size=60))
def test_nothing_is_lost_and_nothing_comes_twice(steps: list[tuple[str, bytes]]) -> None:
    """I7: however much has gone round in the file."""
    spool = Spool(Path("/tmp"), 100)
    spool._size = 170  # a small ring, so that it goes round
    found: list[tuple[str, bytes]] = []
    for kind, data in steps:
        if spool.full:
            found += emptied(spool)
        spool.put(kind, data)
    found += emptied(spool)
    spool.close()
    for stream in ("stdout", "stderr"):
        assert b"".join(data for kind, data in found if kind == stream) == b"".join(
            data for kind, data in steps if kind == stream
        )


def _is_ours(fd: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(f"{folder}/")
    except FileNotFoundError:
        return False
