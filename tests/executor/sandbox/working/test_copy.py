"""A copy of a source: what there is of it for whoever makes it, within limits, and nothing that it leads to."""

import os
import socket
import stat
from pathlib import Path

import pytest

from executor.sandbox.working import copy as module
from executor.sandbox.working.copy import Room, fill, make, mark, too_much
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.executor.run_process import dig


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """With one of everything."""
    made = tmp_path / "source"
    (made / "data/inner").mkdir(parents=True)
    (made / "data/inner/file").write_text("inner")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o4755)
    (made / "kept").write_text("kept")
    (made / "kept").chmod(0o444)
    os.utime(made / "kept", ns=(1_000_000_000, 2_000_000_001))
    (made / "link").symlink_to("/etc/shadow")
    (made / "folder").symlink_to("data")
    os.mkfifo(made / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(made / "socket"))
    for name in (".venv", ".git"):
        (made / name / "bin").mkdir(parents=True)
    (made / "data/.git").mkdir()
    return made


def test_a_copy_has_what_its_source_has(source: Path, tmp_path: Path) -> None:
    """Links as links, modes without what lends rights, times; no pipe and no socket."""
    copied = make(str(source), str(tmp_path / "copy"))
    there = tmp_path / "copy"
    assert sorted(path.name for path in there.iterdir()) == [
        ".git", ".venv", "data", "folder", "kept", "link", "run.sh",
    ]  # fmt: skip
    assert os.readlink(there / "link") == "/etc/shadow" and os.readlink(there / "folder") == "data"
    assert os.readlink(there / ".venv") == str(source / ".venv") and not (there / "data/.git").is_symlink()
    assert (there / "data/inner/file").read_text() == "inner"
    modes = {name: stat.S_IMODE((there / name).stat().st_mode) for name in ("run.sh", "kept", "data")}
    assert modes == {"run.sh": 0o755, "kept": 0o444, "data": 0o755}
    assert (there / "kept").stat().st_mtime_ns == 2_000_000_001
    assert copied.whole and copied.marks[b"data/inner/file"] == mark((there / "data/inner/file").lstat())
    assert set(copied.marks) == {b"data/inner/file", b"run.sh", b"kept", b"link", b"folder"}


def test_what_was_begun_is_made_anew(source: Path, tmp_path: Path) -> None:
    """A process that was given up may have left half of one."""
    (tmp_path / "copy/data").mkdir(parents=True)
    (tmp_path / "copy/half").write_text("half")
    make(str(source), str(tmp_path / "copy"))
    assert not (tmp_path / "copy/half").exists()


def test_holes_stay_holes(source: Path, tmp_path: Path) -> None:
    """A file of a terabyte that has a few bytes takes a few."""
    with open(source / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
        os.pwrite(sparse.fileno(), b"middle", 1 << 30)
    assert too_much(source) is None
    make(str(source), str(tmp_path / "copy"))
    found = (tmp_path / "copy/sparse").stat()
    assert found.st_size == 1 << 40 and found.st_blocks * 512 < 1 << 20
    with open(tmp_path / "copy/sparse", "rb") as copied:
        assert os.pread(copied.fileno(), 6, 1 << 30) == b"middle"


@pytest.mark.parametrize(("entries", "size", "whole"), [(4, 1 << 20, False), (100, 3, False), (100, 1 << 20, True)])
def test_no_more_is_copied_than_there_is_room_for(
    source: Path, tmp_path: Path, entries: int, size: int, whole: bool
) -> None:
    """What fits is there; the rest is told to be missing."""
    (tmp_path / "part").mkdir()
    (source / "large").write_bytes(b"x" * 8192)
    below, above = os.open(source, os.O_RDONLY), os.open(tmp_path / "part", os.O_RDONLY)
    assert fill(below, above, room=Room(entries, size)).whole == whole
    found = list((tmp_path / "part").rglob("*"))
    size_of = sum(path.stat().st_size for path in found if path.is_file() and not path.is_symlink())
    assert len(found) <= entries and (whole or size_of <= size)
    os.close(below)
    os.close(above)


def test_a_source_is_too_much_for_a_reason(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known without a look at all of it; what is linked to counts nothing."""
    assert too_much(source) is None
    dig(source / ".venv", 300)
    assert too_much(source) is None
    dig(source / "data", 300)
    assert too_much(source) == "it is more than 128 folders deep"
    monkeypatch.setattr(module, "FILES", 5)
    monkeypatch.setattr(module.Room.__init__, "__defaults__", (5, 1 << 20))
    assert (too_much(source) or "").startswith("it has more than 5 files")


def test_a_source_that_has_grown_is_not_copied_in_part(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that finds half of its files would do half of its work."""
    monkeypatch.setattr(module.Room.__init__, "__defaults__", (5, 1 << 20))
    with pytest.raises(OSError, match="too large to be copied"):
        make(str(source), str(tmp_path / "copy"))


def test_what_may_not_be_read_is_there_and_closed(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """So that a program says that it was refused, and not that it is missing."""
    code = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from executor.sandbox.working.copy import make
os.makedirs("source/closed"); os.makedirs("source/listed")
open("source/listed/file", "w").close(); open("source/secret", "w").close()
os.chmod("source/closed", 0); os.chmod("source/listed", 0o444); os.chmod("source/secret", 0)
make("source", "copy")
for name in sorted(os.listdir("copy")):
    print(name, oct(os.lstat(f"copy/{name}").st_mode & 0o777))
"""
    ended = as_ordinary_user(code, ROOT)
    assert ended.stdout.splitlines() == ["closed 0o0", "listed 0o0", "secret 0o0"], ended.stderr
