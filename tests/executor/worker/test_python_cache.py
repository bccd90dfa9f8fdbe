"""Where built environments are kept: held while they are used, built once, swept, pruned, and taken back with care."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox import handover
from executor.worker import python_cache
from executor.worker.cache import note_of
from executor.worker.python_cache import Environments
from secretstore.errors import FolderUnusable
from tests.processes import eventually

REQUEST, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def shelf(cache: Path) -> Environments:
    made = Environments(cache, "project", "environment")
    made.prepare()
    return made


def put(shelf: Environments, digest: str = "d", size: int = 10, age: float = 0) -> Path:
    """An entry as a builder leaves it."""
    with shelf.new() as draft, shelf.uv_cache() as uv_cache:
        (draft / "env").mkdir()
        python_cache.complete(draft, {"digest": digest, "lock": "l", "bytes": size}, uv_cache, 0)
    os.utime(note_of(draft), (time.time() - age,) * 2)
    return draft


def look(shelf: Environments, request: str, pinned: bool = False) -> Path | None:
    with shelf.found(request, pinned=pinned) as entry:
        return entry.path if entry is not None else None


def there(shelf: Environments, *paths: Path) -> None:
    """Soon these are all there is: what goes is cleared away beside everything else."""

    def folders() -> set[Path]:
        return {path for path in shelf.entries.path.iterdir() if path.is_dir()}

    eventually(lambda: folders() == {*paths}, 10, lambda: str(folders()))
    assert {*shelf.entries.path.iterdir()} == {*paths, *map(note_of, paths)}


# Finding ------------------------------------------------------------------------------------------


def test_what_a_request_led_to_is_found_again(shelf: Environments) -> None:
    """For a day, or for ever where the request has a lock; and only where the environment is still there."""
    path = put(shelf, age=3600)
    shelf.remember(REQUEST, path.name)
    assert look(shelf, REQUEST) == path and look(shelf, OTHER) is None
    assert time.time() - note_of(path).stat().st_mtime < 60  # used now
    os.utime(shelf.requests / REQUEST, (time.time() - 25 * 3600,) * 2)
    assert look(shelf, REQUEST) is None and look(shelf, REQUEST, pinned=True) == path
    note_of(path).unlink()
    assert look(shelf, REQUEST, pinned=True) is None


def test_an_environment_has_a_shelf_of_its_own(shelf: Environments, cache: Path) -> None:
    """What code that `dev` chose has built is not found by `prod` of the same project."""
    path = put(shelf)
    shelf.remember(REQUEST, path.name)
    other = Environments(cache, "project", "prod")
    other.prepare()
    assert look(shelf, REQUEST) == path and look(other, REQUEST) is None and other.known() == {}
    with other.uv_cache() as theirs, shelf.uv_cache() as ours:
        assert theirs != ours


def test_ten_who_ask_at_once_build_once(shelf: Environments) -> None:
    """One builds, and the others find what it built when it is their turn."""
    built: list[Path] = []
    started = threading.Barrier(10)

    def ask() -> None:
        started.wait()
        with shelf.asking(REQUEST) as turn:
            eventually(turn, 10, "it is our turn")
            if look(shelf, REQUEST) is None:
                built.append(put(shelf))
                shelf.remember(REQUEST, built[-1].name)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [look(shelf, REQUEST)] == built


def test_builders_at_the_same_time_have_a_cache_each(shelf: Environments) -> None:
    """Each may be another user's; the first that is free is taken again."""
    with shelf.uv_cache() as first:
        with shelf.uv_cache() as second:
            assert first != second
        if os.geteuid() == 0:
            with python_cache.passable(first):
                assert [stat.S_IMODE(path.parent.stat().st_mode) for path in (first, second)] == [0o711, 0o700]
    with shelf.uv_cache() as again:
        assert again == first


def test_a_folder_of_somebody_else_is_refused(cache: Path, tmp_path: Path) -> None:
    """A cache that others may write to would be code of theirs in a run."""
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(FolderUnusable, match="not a folder of this user"):
        Environments(cache, "p", "e").prepare()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FolderUnusable):
        Environments(tmp_path / "link", "p", "e").prepare()


# Clearing -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def builder(shelf: Environments) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process that is building, and its draft."""
    code = (
        "import sys, pathlib; from executor.worker.python_cache import Environments\n"
        "with Environments(pathlib.Path(sys.argv[1]), 'project', 'environment').new() as draft:\n"
        "    (draft / 'env').mkdir(); print(draft, flush=True); sys.stdin.read()\n"
    )
    root = shelf.root
    with subprocess.Popen(
        [sys.executable, "-c", code, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_a_killed_builder_leaves_is_swept(shelf: Environments, cache: Path) -> None:
    """While it lives its draft stays; an environment that is complete stays anyway."""
    path = put(shelf)
    with builder(shelf) as (process, draft):
        python_cache.sweep(cache)
        assert (draft / "env").is_dir()
        process.kill()
        process.wait()
    assert python_cache.sweep(cache) == 1
    there(shelf, path)


def test_a_build_that_fails_leaves_nothing(shelf: Environments) -> None:
    """Whatever it had written by then."""
    with contextlib.suppress(ZeroDivisionError), shelf.new() as draft:
        (draft / "build/deep").mkdir(parents=True)
        _ = 1 / 0
    there(shelf)


def test_pruning_takes_what_was_used_the_longest_ago(shelf: Environments, cache: Path) -> None:
    """Until the rest fits; not what a run holds, nor what was used a moment ago."""
    old, middle, new, now = (put(shelf, str(age), 10, age) for age in (9000, 6000, 3000, 0))
    assert python_cache.prune(cache, 40) == 0
    with shelf.entries.held(old.name) as entry:
        assert entry is not None
        os.utime(note_of(old), (time.time() - 9000,) * 2)
        assert python_cache.prune(cache, 25) == 2
        assert {path for path in (old, middle, new, now) if path.exists()} == {old, now}
    # A process that was forked meanwhile has the lock too, until it has become another program.
    eventually(lambda: python_cache.prune(cache, 0) == 1, 10, "what nobody holds any more goes")
    there(shelf, now)


def test_uvs_own_caches_are_pruned_too(shelf: Environments, cache: Path) -> None:
    """They count, and go like environments."""
    with shelf.new() as draft, shelf.uv_cache() as uv_cache:
        (uv_cache / "wheels").mkdir()
        python_cache.complete(draft, {"digest": "d", "lock": "l", "bytes": 10}, uv_cache, 1000)
    os.utime(uv_cache.parent / "bytes", (time.time() - 3600,) * 2)
    assert python_cache.prune(cache, 100) == 1
    assert not uv_cache.exists() and note_of(draft).exists()


# Taking back --------------------------------------------------------------------------------------


def built(tmp_path: Path) -> Path:
    """A draft with an environment in it."""
    draft = tmp_path / "draft"
    (draft / "env/bin").mkdir(parents=True)
    (draft / "build").mkdir()
    (draft / "build/lock.txt").write_text("rich==14\n")
    (draft / "env/bin/python").symlink_to("/usr/bin/python3")
    (draft / "env/bin/tool").write_text("#!")
    (draft / "env/bin/tool").chmod(0o775)
    (draft / "env/text").write_text("text")
    (tmp_path / "uv").mkdir(exist_ok=True)
    return draft


def take(draft: Path, seed: str = "seed") -> dict[str, object] | None:
    return handover.taken(handover.take(draft, seed, draft.parent / "uv"))


def test_what_was_built_is_read_only_and_known_by_its_lock(tmp_path: Path) -> None:
    """Nothing in it can be written; its digest is of the lock and the seed, and changes with either."""
    draft = built(tmp_path)
    found = take(draft)
    assert found is not None and found["built"] and found["bytes"]
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (draft / "env").rglob("*")}
    assert (modes["bin"], modes["tool"], modes["text"]) == (0o555, 0o555, 0o444)
    assert not (draft / "build").exists() and stat.S_IMODE((draft / "env").stat().st_mode) == 0o555
    digests = set()
    for lock, seed in (("rich==14\n", "seed"), ("rich==14\n", "other"), ("rich==15\n", "seed")):
        (draft / "build").mkdir()
        (draft / "build/lock.txt").write_text(lock)
        again = take(draft, seed)
        assert again is not None
        digests.add(again["digest"])
    assert len(digests) == 3 and found["digest"] in digests


@pytest.mark.parametrize("odd", ["named elsewhere", "pipe", "lock that leads elsewhere"])
def test_what_is_odd_is_not_taken(tmp_path: Path, odd: str) -> None:
    """I3: a builder chose the names; a file that has another name elsewhere would be made ours, or be read for it."""
    draft = built(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    if odd == "named elsewhere":
        os.link(secret, draft / "env/text.txt")
    elif odd == "pipe":
        os.mkfifo(draft / "env/pipe")
    else:
        (draft / "build/lock.txt").unlink()
        (draft / "build/lock.txt").symlink_to(secret)
    assert take(draft) is None
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="user ids are lent by a worker that is root")
def test_a_cache_is_lent_with_all_that_is_in_it(tmp_path: Path) -> None:
    """Files that git links to each other within it, too; one that has a name outside is a reason to begin anew."""
    folder = tmp_path / "uv"
    (folder / "git").mkdir(parents=True)
    (folder / "git/object").write_text("x")
    os.link(folder / "git/object", folder / "linked")
    (folder / "link").symlink_to("/etc/passwd")
    with handover.lend(folder, 61001) as lending:
        lending.wait()
    assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {61001}
    assert os.stat("/etc/passwd").st_uid == 0
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    os.link(secret, folder / "text")
    with handover.lend(folder, 61002) as lending:
        lending.wait()
    assert [*folder.iterdir()] == [] and folder.stat().st_uid == 61002
    assert secret.stat().st_uid == 0 and secret.read_text() == "hunter2"


def test_facts_are_all_a_worker_hears(tmp_path: Path) -> None:
    """I1: neither a name nor a text of what was built, which may hold a secret, comes out of the process that goes
    through it."""
    draft = built(tmp_path)
    (draft / "env/hunter2").write_text("hunter2")
    (draft / "build/lock.txt").write_text("hunter2")
    process = handover.take(draft, "seed", tmp_path / "uv")
    said = process.communicate()[0].decode()
    assert set(json.loads(said)) == {"lock", "digest", "built", "bytes", "uv_bytes"} and "hunter2" not in said
