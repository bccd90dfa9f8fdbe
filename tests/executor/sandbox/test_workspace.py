"""A run's private place: made for it alone, and gone after it, whatever the run did there."""

import fcntl
import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from executor.errors import StartFailed
from executor.sandbox import removal
from executor.sandbox import workspace as module
from executor.sandbox.removal import remove
from executor.sandbox.workspace import in_use, orphans, prepare_root, workspace
from secretstore.errors import FolderUnusable
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.executor.run_process import dig

UIDS = range(60610, 60612)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of all workspaces."""
    return prepare_root(tmp_path / "runs")


def test_a_place_has_its_folders_and_goes_with_its_context(root: Path) -> None:
    """HOME, TMPDIR, output and private folder, for its user alone; afterwards nothing is left, not even a lock."""
    with workspace(root, "r-1", UIDS) as place:
        assert place.path == root / "r-1"
        for folder in place.folders:
            found = folder.stat()
            assert stat.S_IMODE(found.st_mode) == 0o700
            assert found.st_uid == (os.geteuid() if place.uid is None else place.uid)
        above = place.path.stat()
        assert above.st_uid == os.geteuid(), "what holds them is not the run's to change"
        assert stat.S_IMODE(above.st_mode) == (0o700 if place.uid is None else 0o711)
        assert (place.uid in UIDS) == (os.geteuid() == 0)
        assert list(orphans(root)) == []
    assert list(root.iterdir()) == []


def test_a_place_goes_when_its_run_fails(root: Path) -> None:
    """An exception passes through."""
    with pytest.raises(ZeroDivisionError), workspace(root, "r-1", UIDS) as place:
        (place.home / "file").touch()
        _ = 1 / 0
    assert list(root.iterdir()) == []


def test_a_place_with_nothing_in_it_is_removed_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process of its own, which would take longer than many a run."""
    monkeypatch.setattr("executor.sandbox.clearing._start", lambda *_: pytest.fail("a process was started"))
    with workspace(root, "r-1", UIDS) as place:
        assert place.private.is_dir()
    assert list(root.iterdir()) == []


def test_a_name_is_used_once_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second attempt of the same name, which cannot be, does not take over what the first one holds."""
    monkeypatch.setattr(module, "_LOCK_PATIENCE", 0.05)
    with workspace(root, "r-1", UIDS) as place:
        (place.home / "kept").touch()
        with pytest.raises(OSError), workspace(root, "r-1", UIDS):
            pass
        assert (place.home / "kept").exists()


# Removing -----------------------------------------------------------------------------------------

HOSTILE = """
import os, sys
root = sys.argv[1]
os.makedirs(root + "/a/b/c/d")
for name in ("a/file", "a/b/file", "a/b/c/file", "a/b/c/d/file"):
    open(f"{root}/{name}", "w").close()
os.symlink(sys.argv[2], root + "/link-to-folder")
os.symlink(sys.argv[2] + "/file", root + "/a/link-to-file")
os.symlink("/nowhere", root + "/a/b/dangling")
os.symlink(".", root + "/a/b/c/loop")
os.mkfifo(root + "/a/fifo")
open(root.encode() + b"/a/\\xff\\n", "w").close()
os.chmod(root + "/a/b/c/d", 0)
os.chmod(root + "/a/b/c", 0)
os.chmod(root + "/a/b", 0o100)
os.chmod(root + "/a", 0)
os.chmod(root, 0)
"""


def test_hostile_trees_are_removed_and_links_not_followed(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """By an ordinary user, whom permission bits stop: what links point to stays as it is, modes included."""
    outside = open_folder / "outside"
    outside.mkdir(mode=0o555)
    (outside / "file").touch(0o444)
    if os.geteuid() == 0:
        os.chown(outside, 60600, 60600)
        os.chown(outside / "file", 60600, 60600)
    code = HOSTILE + (
        "sys.path[:0] = [sys.argv[3]]\n"
        "from executor.sandbox.removal import remove\n"
        "from pathlib import Path\n"
        "remove(Path(root)); remove(Path(root))\n"
        "print(os.path.lexists(root))\n"
    )
    ended = as_ordinary_user(code, open_folder / "place", outside, ROOT)
    assert (ended.stdout, ended.stderr) == ("False\n", "")
    assert stat.S_IMODE(outside.stat().st_mode) == 0o555
    assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o444


def test_removing_what_is_gone_leaves_the_folder_above_alone(tmp_path: Path) -> None:
    """Every run of a worker that is root passes through it: its mode must not change."""
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(0o711)
    remove(root / "gone")
    assert stat.S_IMODE(root.stat().st_mode) == 0o711


def test_folders_with_more_names_than_are_held_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their number: a part of them after the other, and what was moved up meanwhile too."""
    monkeypatch.setattr(removal, "_AT_ONCE", 7)
    for folder in ("", "a", "a/b", "c"):
        (tmp_path / "all" / folder).mkdir(exist_ok=True)
        for number in range(50):
            (tmp_path / "all" / folder / f"f{number}").touch()
            (tmp_path / "all" / folder / f"d{number}").mkdir()
    remove(tmp_path / "all")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("depth", [1200])
def test_trees_deeper_than_any_path_are_removed(deep_folder: Path, depth: int) -> None:
    """A run can nest folders beyond Python's recursion, a path's length and the descriptors of a process."""
    place = deep_folder / "place"
    place.mkdir()
    dig(place, depth)
    remove(place)
    assert not place.exists()


def test_a_place_that_is_a_link_or_a_file_is_just_taken_away(tmp_path: Path) -> None:
    """Whatever stands there: what it points to is untouched."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "file").touch()
    remove(tmp_path / "link")
    remove(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "outside"]


# The root -----------------------------------------------------------------------------------------


def test_the_root_is_ours_alone(tmp_path: Path) -> None:
    """Made if missing; refused where others may write, where it is a link, or no folder."""
    root = prepare_root(tmp_path / "new" / "runs")
    assert stat.S_IMODE(root.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert prepare_root(root) == root
    for spoil in (0o770, 0o777, 0o702):
        root.chmod(spoil)
        with pytest.raises(FolderUnusable):
            prepare_root(root)
    root.chmod(0o755)
    prepare_root(root)
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "file").touch()
    for wrong in ("link", "file"):
        with pytest.raises(FolderUnusable):
            prepare_root(tmp_path / wrong)


def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    """In /var/tmp anybody may have been there first."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a folder away")
    root = tmp_path / "runs"
    root.mkdir()
    os.chown(root, 60600, 60600)
    with pytest.raises(FolderUnusable):
        prepare_root(root)


def test_the_last_to_use_the_root_removes_it_if_it_is_empty(tmp_path: Path) -> None:
    """Not while another uses it, nor with something in it, nor where somebody has chosen it."""
    root = tmp_path / "runs"
    with in_use(root, kept=False):
        with in_use(root, kept=False):
            pass
        assert root.is_dir()
        (root / "r-1").mkdir()
    assert (root / "r-1").is_dir()
    (root / "r-1").rmdir()
    with in_use(root, kept=True):
        pass
    assert root.is_dir()
    with in_use(root, kept=False):
        pass
    assert not root.exists()
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file/runs", Path("/proc/runs")):
        with pytest.raises((FolderUnusable, OSError)), in_use(wrong, kept=False):
            pass


def test_who_starts_as_the_last_one_ends_has_a_root(tmp_path: Path) -> None:
    """Each finds it there for as long as it uses it, however the others come and go."""
    root = tmp_path / "runs"

    def come_and_go() -> None:
        for _ in range(200):
            with in_use(root, kept=False):
                (root / str(threading.get_ident())).mkdir()
                (root / str(threading.get_ident())).rmdir()

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(come_and_go) for _ in range(4)]:
            one.result()
    assert not root.exists()


# Orphans ------------------------------------------------------------------------------------------


def holding(root: str, name: str, ready: object, stop: object) -> None:
    with workspace(Path(root), name, UIDS):
        ready.set()
        stop.wait()


def test_a_place_is_an_orphan_once_its_holder_is_dead(root: Path) -> None:
    """However it died: the kernel drops the lock. While it lives nobody takes the place for one."""
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    holder = context.Process(target=holding, args=(str(root), "r-1", ready, stop))
    holder.start()
    assert ready.wait(30)
    assert list(orphans(root)) == []
    holder.kill()
    holder.join()
    found = []
    for place in orphans(root):
        found.append(place)
        remove(place)
    assert found == [root / "r-1"]
    assert list(root.iterdir()) == [] and list(orphans(root)) == []


def test_a_place_that_is_just_being_made_is_no_orphan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the lock's file and the lock a janitor may look: the place is made, and its lock guards it."""
    real, looked = fcntl.flock, []

    def flock(fd: Any, how: int) -> None:
        if not looked and ".lock-" in os.readlink(f"/proc/self/fd/{fd if isinstance(fd, int) else fd.fileno()}"):
            looked.append(True)
            for _ in orphans(root):
                pass
        real(fd, how)

    monkeypatch.setattr(module.fcntl, "flock", flock)
    with workspace(root, "r-1", UIDS) as place:
        assert looked
        assert place.home.is_dir()
        assert (root / ".lock-r-1").exists()
        assert list(orphans(root)) == []


@pytest.mark.long
def test_places_made_beside_a_busy_janitor_all_come_up(root: Path) -> None:
    """The same, found by trying."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for _ in orphans(root):
                pass

    janitor = threading.Thread(target=look)
    janitor.start()
    try:
        for number in range(300):
            with workspace(root, f"r-{number}", UIDS) as place:
                assert place.home.is_dir()
    finally:
        done.set()
        janitor.join()


# User ids -----------------------------------------------------------------------------------------


@pytest.fixture
def rooted() -> Iterator[None]:
    """Only root lends user ids."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    yield


@pytest.mark.usefixtures("rooted")
def test_a_user_id_is_lent_once_between_processes(root: Path) -> None:
    """Two runs at once have two ids, of this worker or of another; a third finds none and says which are lent."""
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    holder = context.Process(target=holding, args=(str(root), "r-1", ready, stop))
    holder.start()
    try:
        assert ready.wait(30)
        other = (root / "r-1/home").stat().st_uid
        with workspace(root, "r-2", UIDS) as place:
            assert {place.uid, other} == set(UIDS)
            with pytest.raises(StartFailed, match="60610 to 60611"), workspace(root, "r-3", UIDS):
                pass
            assert not (root / "r-3").exists()
        with module.reserved(other) as ours:
            assert not ours
    finally:
        stop.set()
        holder.join()
    with workspace(root, "r-3", UIDS) as place:
        assert place.uid in UIDS


@pytest.mark.usefixtures("rooted")
def test_the_user_id_of_one_run_is_not_that_of_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run may leave under its id, such as keys, is not met at once: ids are begun at a random place."""
    lent = set()
    for first in (0, 1):
        monkeypatch.setattr(module.secrets, "randbelow", lambda count, first=first: min(first, count - 1))
        with workspace(root, "r-1", UIDS) as place:
            lent.add(place.uid)
    assert lent == set(UIDS)


@pytest.mark.usefixtures("rooted")
def test_locks_on_user_ids_lie_where_root_alone_may_write(root: Path) -> None:
    """Not in /var/tmp, where anybody may have made their folder first and kept every run from an id."""
    with workspace(root, "r-1", UIDS) as place:
        held = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if fd.isdigit() and int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")
        ]
        (lock,) = [Path(path) for path in held if Path(path).name == str(place.uid)]
        for folder in lock.parents:
            found = folder.stat()
            assert found.st_uid == 0 and not found.st_mode & 0o022, folder


def test_an_ordinary_user_lends_none(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """Its runs share its user id, and the place works the same."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[2]]\n"
        "from pathlib import Path\n"
        "from executor.sandbox.workspace import *\n"
        "root = prepare_root(Path(sys.argv[1]) / 'runs')\n"
        "with workspace(root, 'r-1', range(1, 2)) as place:\n"
        "    print(place.uid, place.home.is_dir(), list(orphans(root)))\n"
        "print(list(root.iterdir()), oct(root.stat().st_mode))\n"
    )
    ended = as_ordinary_user(code, open_folder, ROOT)
    assert ended.stderr == ""
    assert ended.stdout == "None True []\n[] 0o40700\n"
