"""What a worker keeps: made once however many ask, whole or not there, in nobody's way, and not without end."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from executor.errors import (
    SourceDamaged,
    SourceUnavailable,
)
from executor.sandbox.folders import size_of
from executor.source import bundles, packing
from executor.source.packing import Packed
from executor.worker import cache, source_cache
from executor.worker.cache import SOURCES, Kept, Shelf, note_of, prune
from executor.worker.source_cache import Upload, cached_source
from secretstore.database import Database
from secretstore.errors import FolderUnusable
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.executor.source.test_bundles import execute, stored
from tests.processes import eventually

LIMIT = 1 << 20
KEY = "0f" * 32


class Keeper:
    """A lease that is fine, whatever else is done when it is asked."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self.check = check


nothing = Keeper()


def entry(
    root: Path, project: str, key: str, build: Callable[[Path], None], keeper: Keeper = nothing
) -> AbstractContextManager[cache.Entry]:
    return Shelf(SOURCES, root, (project, "sources")).made(key, build, keeper)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return cache.prepare(tmp_path / "cache")


@pytest.fixture
def packed(sqlite_db: Database, tmp_path: Path) -> Packed:
    """A source that was uploaded for project `p1`."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "job.py").write_text("print('here')\n")
    made = packing.pack(packing.listing(source, LIMIT))
    bundles.upload(sqlite_db, "p1", made)
    return made


def left(root: Path) -> list[str]:
    """What is in the cache, but for the notes of sizes."""
    return sorted(path.name for path in root.glob("*/*/*") if not path.name.startswith(".note-"))


# One source -----------------------------------------------------------------------------------------


def test_it_is_fetched_once_and_then_only_read(sqlite_db: Database, root: Path, packed: Packed) -> None:
    """The second run asks the database for nothing."""
    for _ in range(2):
        with cached_source(Upload(sqlite_db, "p1", packed.digest), root, LIMIT, nothing) as folder:
            assert folder == root / "p1" / "sources" / packed.digest
            assert (folder / "job.py").read_text() == "print('here')\n"
        bundles.discard(sqlite_db, "p1", packed.digest)
    assert left(root) == [packed.digest]


def test_ten_at_once_fetch_once(
    sqlite_db: Database, root: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for the one, and all have the same folder."""
    begin, fetched = threading.Barrier(10), []
    real = bundles.pieces

    def pieces(db: Database, project_id: str, digest: str) -> Iterator[bytes]:
        fetched.append(digest)
        return real(db, project_id, digest)

    monkeypatch.setattr(source_cache.bundles, "pieces", pieces)

    def one(_: int) -> bytes:
        begin.wait()
        with cached_source(Upload(sqlite_db, "p1", packed.digest), root, LIMIT, nothing) as folder:
            return (folder / "job.py").read_bytes()

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(one, range(10))) == {b"print('here')\n"}
    assert fetched == [packed.digest] and left(root) == [packed.digest]


def test_another_project_does_not_get_it(sqlite_db: Database, root: Path, packed: Packed) -> None:
    """Who knows a digest knows nothing: neither the database nor the folder of another project is asked."""
    with cached_source(Upload(sqlite_db, "p1", packed.digest), root, LIMIT, nothing):
        for project, digest in (("p2", packed.digest), ("p1/../p1", packed.digest), ("p1", "../sources"), ("", KEY)):
            with (
                pytest.raises(SourceUnavailable, match="no longer in the database"),
                cached_source(Upload(sqlite_db, project, digest), root, LIMIT, nothing),
            ):
                pass


def test_what_is_not_what_it_says_is_not_kept(sqlite_db: Database, root: Path, packed: Packed) -> None:
    """Neither here nor in the database, so that the next submission mends it."""
    other = packing.pack(packing.Listing(root, (), 0))
    bundles.upload(sqlite_db, "p1", other)
    execute(sqlite_db, "DELETE FROM executor_source_bundle_chunk WHERE digest = :this", this=packed.digest)
    execute(sqlite_db, "UPDATE executor_source_bundle_chunk SET digest = :this", this=packed.digest)
    execute(sqlite_db, "UPDATE executor_source_bundle SET size = :size", size=other.size)
    with (
        pytest.raises(SourceDamaged, match="SHA-256 does not match"),
        cached_source(Upload(sqlite_db, "p1", packed.digest), root, LIMIT, nothing),
    ):
        pass
    assert left(root) == [] and stored(sqlite_db) == (1, 0)


def test_more_than_this_worker_takes_stays_uploaded(sqlite_db: Database, root: Path, packed: Packed) -> None:
    """Another worker may take more."""
    with (
        pytest.raises(SourceUnavailable, match="10 bytes"),
        cached_source(Upload(sqlite_db, "p1", packed.digest), root, 10, nothing),
    ):
        pass
    assert left(root) == [] and stored(sqlite_db) == (1, 1)


def test_a_disk_that_does_not_take_it_is_told(
    sqlite_db: Database, root: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the folder and the reason; nothing half-written stays."""

    def full(handle: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("executor.source.unpacking.os.fchmod", full)
        with (
            pytest.raises(SourceUnavailable, match="no space left on device"),
            cached_source(Upload(sqlite_db, "p1", packed.digest), root, LIMIT, nothing),
        ):
            pass
    assert left(root) == []


# Any folder -----------------------------------------------------------------------------------------


def fill(folder: Path) -> None:
    (folder / "file").write_bytes(b"x" * 8192)
    folder.chmod(0o555)


def kept(root: Path, key: str, build: Callable[[Path], None] = fill) -> Path:
    with entry(root, "p1", key, build) as found:
        return found.path


class Killed(BaseException):
    """what ends a builder, or somebody who waits"""


def test_a_heartbeat_goes_on_while_another_makes_it(root: Path) -> None:
    """It renews a lease, and what it raises, as when the run is cancelled, ends the wait."""
    asked, done = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        asked.set()
        assert done.wait(20)
        fill(folder)

    def cancelled() -> None:
        raise Killed

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(kept, root, KEY, slow)
        assert asked.wait(20)
        with pytest.raises(Killed), entry(root, "p1", KEY, fill, Keeper(cancelled)):
            pass
        done.set()
        assert first.result() == root / "p1/sources" / KEY


def test_a_builder_that_fails_leaves_nothing(root: Path) -> None:
    """And is in nobody's way."""

    def fails(folder: Path) -> None:
        fill(folder)
        raise Killed

    with pytest.raises(Killed):
        kept(root, KEY, fails)
    assert left(root) == []
    assert sorted(path.name for path in kept(root, KEY).iterdir()) == ["file"]


BUILDER = """
import sys; sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from executor.worker.cache import SOURCES, Shelf
def build(folder):
    (folder / "half").write_text("of it")
    (folder / "closed").mkdir(mode=0)
    print("building", flush=True)
    sys.stdin.read()
with Shelf(SOURCES, Path(sys.argv[2]), ("p1", "sources")).made(sys.argv[3], build, None):
    pass
"""


@pytest.fixture
def builder(root: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is half-way."""
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, ROOT, root, KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"building\n"
        yield process
        process.kill()


def test_when_the_builder_is_killed_the_next_one_makes_it_anew(root: Path, builder: "subprocess.Popen[bytes]") -> None:
    """At once, and without a piece of what the killed one left."""
    prune(root, 1 << 40)
    assert left(root) == [KEY] and not note_of(root / "p1/sources" / KEY).exists()  # it is at work, and is let alone
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert sorted(path.name for path in kept(root, KEY).iterdir()) == ["file"]
    assert left(root) == [KEY]


def test_what_a_killed_builder_left_is_swept(root: Path, builder: "subprocess.Popen[bytes]") -> None:
    """Though nobody asks for it again; and so is what was being removed."""
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    (root / "p1/sources/.gone-0123/sub").mkdir(parents=True)
    prune(root, 1 << 40)
    assert left(root) == []


@pytest.mark.parametrize("harm", ["folder is gone", "note is gone", "note is no note"])
def test_what_somebody_changed_by_hand_is_made_anew(root: Path, harm: str) -> None:
    """A note without its folder, or a folder without its note, keeps nobody waiting, and counts for nothing."""
    folder = kept(root, KEY)
    match harm:
        case "note is gone":
            note_of(folder).unlink()
        case "note is no note":
            note_of(folder).write_text("{")
        case _:
            shutil.rmtree(folder)
    made: list[Path] = []

    def build(again: Path) -> None:
        made.append(again)
        fill(again)

    assert [*kept(root, KEY, build).iterdir()] == [folder / "file"] and made == [folder]
    assert prune(root, 0) == 1 and left(root) == []


def test_least_recently_used_goes_first(root: Path) -> None:
    """Until the rest is within the limit; used is what a run has had, not what was made last."""
    keys = ["a", "b", "c", "d"]
    for at, key in enumerate(keys):
        os.utime(note_of(kept(root, key)), (at + 1, at + 1))
    kept(root, "a")
    one = size_of(root / "p1/sources/a")
    assert one >= 8192
    assert prune(root, 4 * one) == 0
    assert prune(root, 2 * one) == 2
    assert left(root) == ["a", "d"]
    assert prune(root, 0) == 2 and list(root.glob("*/*/*")) == list(root.glob("*/*/.*")) == []


def test_all_projects_share_the_limit_with_what_is_kept_in_another_way(root: Path) -> None:
    """What was used the longest ago goes first, whoever keeps it; what else lies there is not touched."""
    for project in ("p1", "p2"):
        with entry(root, project, KEY, fill):
            pass
    (root / "p1/uv").mkdir()
    (root / "p1/uv/wheel").touch()
    gone: list[str] = []
    old = Kept(0.0, 1 << 20, lambda: gone.append("old") is None)
    more = [old, Kept(2.0**40, 10, lambda: gone.append("new") is None)]
    assert prune(root, 1 << 20, more) == 1
    assert gone == ["old"] and left(root) == [KEY, KEY, "wheel"]
    assert prune(root, 0, more[1:]) == 3
    assert [path.name for path in root.glob("*/*/*")] == ["wheel"]


def test_what_a_run_uses_stays(root: Path) -> None:
    """Whatever the limit says; afterwards it goes."""
    with entry(root, "p1", KEY, fill) as found:
        assert prune(root, 0) == 0
        assert (found.path / "file").exists()
    assert prune(root, 0) == 1
    assert left(root) == []


def test_asking_while_it_is_removed_makes_it_anew(root: Path) -> None:
    """Who finds it being removed waits for that, and never gets a half."""
    folder = kept(root, KEY)
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    beats: list[int] = []

    def removed() -> None:
        beats.append(1)
        if len(beats) == 2:
            folder.rename(folder.with_name(".gone-1"))
            os.close(lock)

    with entry(root, "p1", KEY, fill, Keeper(removed)) as again:
        assert sorted(path.name for path in again.path.iterdir()) == ["file"]
    assert len(beats) == 2


def test_a_lock_that_comes_too_late_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding a folder and locking it somebody may have removed it: the lock is on what is gone."""
    folder, real, calls = kept(root, KEY), fcntl.flock, []

    def late(lock: int, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            folder.rename(folder.with_name(".gone-1"))
        real(lock, how)

    monkeypatch.setattr(cache.fcntl, "flock", late)
    assert sorted(path.name for path in kept(root, KEY).iterdir()) == ["file"]


def test_many_ask_while_somebody_prunes(root: Path) -> None:
    """Nobody meets a folder that is not whole, and nobody waits for ever."""
    over = threading.Event()

    def pruner() -> None:
        while not over.is_set():
            prune(root, 0)

    def asks(at: int) -> bool:
        seen = True
        for turn in range(15):
            with entry(root, "p1", str((at + turn) % 3), fill) as found:
                seen &= (found.path / "file").stat().st_size == 8192
        return seen

    with ThreadPoolExecutor(5) as pool:
        pruning = pool.submit(pruner)
        try:
            assert all(pool.map(asks, range(4)))
        finally:
            over.set()
        pruning.result()


def test_the_cache_is_ours_alone(tmp_path: Path) -> None:
    """As the workspaces are: no link, not another's, not writable by others; a lent user id passes and sees nothing."""
    root = cache.prepare(tmp_path / "new" / "cache")
    mode = 0o711 if os.geteuid() == 0 else 0o700
    kept(root, KEY)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "p1", root / "p1/sources")} == {mode}
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    for wrong in ("link", "open", "file", "file/beneath"):
        with pytest.raises(FolderUnusable) as caught:
            cache.prepare(tmp_path / wrong)
        assert "SEALRUN_CACHE" in (caught.value.hint or "")


def test_a_run_of_our_own_user_cannot_lock_us_out(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """It can change modes where it shares the worker's user; the folder is found again, and can be removed."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from executor.worker.cache import SOURCES, Kept, Shelf, note_of, prune\n"
        "root = Path(sys.argv[2])\n"
        "def build(folder): (folder / 'file').touch()\n"
        "for turn in range(2):\n"
        "    with Shelf(SOURCES, root, ('p1', 'sources')).made('k', build, None) as found: print(found.path.name)\n"
        "    found.path.chmod(0)\n"
        "print(prune(root, -1), list((root / 'p1/sources').iterdir()))\n"
    )
    ended = as_ordinary_user(code, ROOT, open_folder)
    assert (ended.stdout, ended.stderr) == ("k\nk\n1 []\n", "")


def test_locks_of_this_test_end(root: Path) -> None:
    """No descriptor stays open behind a folder that was used."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        kept(root, KEY)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before, 5, "no descriptor stays open")
