"""Paths below a root, as the kernel follows them and, where it has no call for that, as we do."""

import ctypes
import errno
import os
from pathlib import Path

import pytest

from executor.sandbox.box import mounts


@pytest.fixture(params=["openat2", "walked"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "walked":
        monkeypatch.setattr(mounts, "_OPENAT2", 100_000)  # no such call


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/here").mkdir(parents=True)
    (tmp_path / "etc/here/file").write_text("content")
    (tmp_path / "outside").write_text("not this")
    links = {
        "up": "../../../etc/here", "absolute": "/etc/here", "chain": "absolute", "loop": "loop",
        "etc/dots": "../etc/./here/../here", "last": "etc/here/file",
    }  # fmt: skip
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


def found(root: Path, path: str, *, straight: bool) -> str:
    top = os.open(root, os.O_PATH)
    before = len(os.listdir("/proc/self/fd"))
    try:
        handle = mounts.opened(top, path, straight=straight)
        try:
            return os.readlink(f"/proc/self/fd/{handle}").removeprefix(str(root)) or "/"
        finally:
            os.close(handle)
    except OSError as error:
        assert error.filename == path
        return errno.errorcode[error.errno or 0]
    finally:
        assert len(os.listdir("/proc/self/fd")) == before
        os.close(top)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "path, followed, straight",
    [
        ("/etc/here/file", "/etc/here/file", "/etc/here/file"),
        ("/", "/", "/"),
        ("/etc/../etc/here", "/etc/here", "/etc/here"),
        ("/../../etc", "/etc", "/etc"),
        ("/up/file", "/etc/here/file", "ELOOP"),
        ("/absolute/file", "/etc/here/file", "ELOOP"),
        ("/chain/file", "/etc/here/file", "ELOOP"),
        ("/etc/dots", "/etc/here", "ELOOP"),
        ("/last", "/etc/here/file", "ELOOP"),
        ("/loop", "ELOOP", "ELOOP"),
        ("/etc/none", "ENOENT", "ENOENT"),
        ("/outside/x", "ENOTDIR", "ENOTDIR"),
    ],
)
def test_i3_no_path_leads_out_of_the_root(root: Path, path: str, followed: str, straight: str) -> None:
    """Absolute links and dots end in it; where links are not expected none is followed."""
    assert found(root, path, straight=False) == followed
    assert found(root, path, straight=True) == straight


@pytest.mark.parametrize("times", [1, 1000], ids=["once", "again and again"])
def test_a_mount_elsewhere_at_this_moment_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The kernel asks for another try; where it goes on to do so, the path is walked part by part."""
    asked, real = [0], mounts._libc

    class Busy:
        def syscall(self, number: int, *arguments: object) -> int:
            asked[0] += 1
            if asked[0] <= times:
                ctypes.set_errno(errno.EAGAIN)
                return -1
            return int(real.syscall(number, *arguments))

    monkeypatch.setattr(mounts, "_libc", Busy())
    assert found(root, "/etc/dots", straight=False) == "/etc/here"
    assert 1 < asked[0] < 100
