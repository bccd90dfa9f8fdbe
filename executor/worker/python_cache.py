"""Where built Python environments are kept: one shelf per project and environment, entries that runs share.

    SEALRUN_CACHE/PROJECT/python/ENVIRONMENT/entries/TOKEN     a built environment, in `env`
                                             requests/DIGEST   the entry that a request led to
                                             uv/N              uv's own cache, for one builder at a time

Per environment and not only per project: a build runs third-party code that somebody who may submit to `dev` chose, and
nothing of it may reach `prod`. An entry's name is random, but the list of processes shows it: what keeps a run out of
others' entries is Landlock, and what keeps it from writing is their owner. An environment cannot be moved, since its
scripts name their own place: it is built where it stays. What it is, its lock, is known only when it is built; so a
request leads to it by a file of its own.
"""

import contextlib
import fcntl
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from executor.errors import EnvironmentNotBuilt
from executor.sandbox.clearing import remove_apart
from executor.worker import cache as folders
from executor.worker.cache import Entry, Kept, Kind, Shelf, locked, noted, write

_SHELVES = "*/python/*"
_SIZE = "bytes"
_FRESH = 24 * 3600.0  # seconds for which what was resolved without a lock of its own is not resolved anew
_FORGOTTEN = 30 * 24 * 3600.0  # seconds after which a request that nobody repeats is forgotten
_IN_HAND = 60.0  # seconds after its last use in which an entry stays: between its builder's lock and its run's


def _clear(gone: Path) -> None:
    """By a process that may see what is in it, and beside what goes on here: it may be gigabytes."""
    threading.Thread(target=remove_apart, args=(gone,), name="sealrun-clear", daemon=True).start()


ENVIRONMENTS = Kind(f"{_SHELVES}/entries", _clear, _IN_HAND)
_UV = Kind(f"{_SHELVES}/uv", _clear, _IN_HAND)


@dataclass(frozen=True)
class Environments:
    """The Python environments built for one environment of a project.

    Raises:
        EnvironmentNotBuilt: an id is none: they are of the run's row, and become folders.
    """

    root: Path
    project_id: str
    environment_id: str

    def __post_init__(self) -> None:
        if not all(re.fullmatch("[0-9a-z]{1,64}", name) for name in (self.project_id, self.environment_id)):
            raise EnvironmentNotBuilt(why="the run's row has an id that is none")

    @property
    def entries(self) -> Shelf:
        """What was built."""
        return Shelf(ENVIRONMENTS, self.root, (self.project_id, "python", self.environment_id, "entries"))

    @property
    def requests(self) -> Path:
        """The folder of what led to which entry."""
        return self.entries.path.with_name("requests")

    @property
    def caches(self) -> Path:
        """The folder of uv's own caches."""
        return self.entries.path.with_name("uv")

    def prepare(self) -> None:
        """Make its folders: ours, and not writable by others.

        Raises:
            FolderUnusable: one exists and belongs to somebody else, is a link, or others may write in it.
        """
        self.entries.prepare()
        for folder in (self.requests, self.caches):
            folders.prepare(folder)

    @contextlib.contextmanager
    def found(self, request: str, *, pinned: bool) -> Iterator[Entry | None]:
        """The environment a request led to before, held as long as the context lasts; None where it has to be built.

        Args:
            request: its digest.
            pinned: it has a lock of its own, and leads to the same for ever; else it is resolved anew after a day.
        """
        name = None
        with contextlib.suppress(OSError):
            file = self.requests / request
            if pinned or time.time() - file.stat().st_mtime < _FRESH:
                name = file.read_text()
        if not name:
            yield None
            return
        with self.entries.held(name) as entry:
            yield entry

    def known(self) -> dict[str, str]:
        """The names of the entries by their digests."""
        entries = (noted(path) for path in self.entries.path.glob("[!.]*"))
        return {entry.facts["digest"]: entry.path.name for entry in entries if entry is not None}

    def remember(self, request: str, name: str) -> None:
        """Write down what a request led to."""
        write(self.requests / request, name)

    @contextlib.contextmanager
    def asking(self, request: str) -> Iterator[Callable[[], bool]]:
        """Stand in the queue for a request, as long as the context lasts; what is given says whether it is our turn.

        Whose turn it is builds, and the others find what it built when theirs comes.
        """
        with (self.requests / f"{request}.lock").open("w") as lock:

            def turn() -> bool:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            yield turn

    @contextlib.contextmanager
    def new(self) -> Iterator[Path]:
        """A new entry to build in, ours as long as the context lasts, and removed after it unless it was completed."""
        with contextlib.ExitStack() as holding:
            draft = None
            while draft is None:  # a sweeper may look at it before it is held
                draft = holding.enter_context(self.entries.draft(secrets.token_hex(8)))
            draft.chmod(0o755)  # a builder's user id must pass through
            yield draft

    @contextlib.contextmanager
    def uv_cache(self) -> Iterator[Path]:
        """The first of uv's caches that nobody else uses; builders at the same time have one each."""
        with contextlib.ExitStack() as holding:
            number, ours = -1, False
            while not ours:
                number += 1
                path = self.caches / str(number)
                path.mkdir(mode=0o700, exist_ok=True)
                ours = holding.enter_context(locked(path, fcntl.LOCK_EX))
            cache = path / "cache"
            cache.mkdir(mode=0o700, exist_ok=True)
            yield cache


@contextlib.contextmanager
def passable(uv_cache: Path) -> Iterator[None]:
    """Let a builder with a lent user id through to a cache of uv's that is its own, as long as the context lasts.

    Not before it is the builder's, nor once its id may be lent again: what is in it belongs to that id.
    """
    uv_cache.parent.chmod(0o711)
    try:
        yield
    finally:
        uv_cache.parent.chmod(0o700)


def complete(path: Path, facts: dict[str, Any], uv_cache: Path, uv_bytes: int) -> None:
    """The last word about a draft that was built with one of uv's caches; from here on it is an entry.

    `facts` are what its builder found of it: `digest`, `lock`, `bytes`.
    """
    write(uv_cache.parent / _SIZE, str(uv_bytes))
    folders.complete(path, facts)


def python_in(entry: Entry) -> Path:
    """The interpreter of an environment."""
    return entry.path / "env/bin/python"


def sweep(cache: Path) -> int:
    """Remove what killed builders left, and requests nobody repeats; returns how many."""
    swept = folders.sweep(cache, ENVIRONMENTS) + folders.clear_gone(cache, _UV)
    for path in cache.glob(f"{_UV.shelves}/[!.]*"):
        with locked(path, fcntl.LOCK_EX) as ours:
            if ours:
                path.chmod(0o700)  # a builder that was killed left it open to its user id, which is lent again
    for file in cache.glob(f"{_SHELVES}/requests/*"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _FORGOTTEN:
                with locked(file, fcntl.LOCK_EX) as ours:
                    if ours:
                        file.unlink()
                        swept += 1
    return swept


def prune(cache: Path, limit: int) -> int:
    """Keep the whole of a worker's cache within `limit` bytes; returns how many folders of it were removed.

    What was used the longest ago goes first, and nothing in use. uv's own caches count, and go, like entries.
    """
    return folders.prune(cache, limit, _uv_caches(cache), (folders.SOURCES, ENVIRONMENTS))


def _uv_caches(cache: Path) -> Iterator[Kept]:
    for path in cache.glob(f"{_UV.shelves}/[!.]*"):
        with contextlib.suppress(OSError, ValueError):
            note = path / _SIZE
            used = note.stat().st_mtime
            yield Kept(used, int(note.read_text()), partial(folders.forget, path, _UV, used))
