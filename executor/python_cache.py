"""Where built Python environments are kept: one shelf per project and environment, entries that runs share.

    SEALRUN_CACHE/PROJECT/python/ENVIRONMENT/entries/TOKEN     a built environment: `env`, and `complete` once it is
                                             requests/DIGEST   the entry that a request led to
                                             uv/N              uv's own cache, for one builder at a time

Per environment and not only per project: a build runs third-party code that somebody who may submit to `dev` chose, and
nothing of it may reach `prod`. An entry's name is random, but the list of processes shows it: what keeps a run out of
others' entries is Landlock, and what keeps it from writing is their owner. Locks on the folders tell what is in use,
because the kernel drops them with their holder, however it dies: an entry that is not complete and that nobody holds is
what is left of a build that was killed.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from executor import cache as folders
from executor.cache import Kept, unusable
from executor.errors import EnvironmentNotBuilt
from executor.supervisor.clearing import remove_apart

COMPLETE = "complete"
_SHELVES = "*/python/*"
_SIZE = "bytes"
_GONE = ".gone-"
_FRESH = 24 * 3600.0  # seconds for which what was resolved without a lock of its own is not resolved anew
_FORGOTTEN = 30 * 24 * 3600.0  # seconds after which a request that nobody repeats is forgotten
_IN_HAND = 60.0  # seconds after its last use in which an entry stays: between its builder's lock and its run's


@dataclass(frozen=True)
class Entry:
    """A built environment. `facts` are what its builder wrote of it: `digest`, `lock`, `python`, `bytes`."""

    path: Path
    facts: dict[str, Any]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "env/bin/python"


class Shelf:
    """The environments built for one environment of a project."""

    def __init__(self, cache: Path, project_id: str, environment_id: str) -> None:
        """Nothing is made yet.

        Raises:
            EnvironmentNotBuilt: an id is none: they are of the run's row, and become folders.
        """
        if not all(re.fullmatch("[0-9a-z]{1,64}", name) for name in (project_id, environment_id)):
            raise EnvironmentNotBuilt(why="the run's row has an id that is none")
        self._folders = [cache, cache / project_id, cache / project_id / "python"]
        self._folders.append(self._folders[-1] / environment_id)
        self.entries, self.requests, self.caches = (self._folders[-1] / name for name in ("entries", "requests", "uv"))

    def prepare(self) -> None:
        """Make its folders: ours, and not writable by others.

        Raises:
            FolderUnusable: one exists and belongs to somebody else, is a link, or others may write in it.
        """
        # A lent user id must pass through to the entry it is told of, without seeing what else is there.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder in (*self._folders, self.entries, self.requests, self.caches):
            _own_folder(folder, mode)

    @contextlib.contextmanager
    def found(self, request: str, *, pinned: bool) -> Iterator[Entry | None]:
        """The environment a request led to before, held as long as the context lasts; None where it has to be built.

        Args:
            request: its digest.
            pinned: it has a lock of its own, and leads to the same for ever; else it is resolved anew after a day.
        """
        try:
            file = self.requests / request
            name = file.read_text()
            fresh = pinned or time.time() - file.stat().st_mtime < _FRESH
        except OSError:
            name, fresh = "", False
        with self.held(name if fresh else "") as entry:
            yield entry

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[Entry | None]:
        """A complete entry by its name, used now, and held as long as the context lasts."""
        path = self.entries / name
        with _locked(path if name else None, fcntl.LOCK_SH) as ours:
            entry = _complete(path) if ours else None
            if entry is not None:
                with contextlib.suppress(OSError):
                    os.utime(path / COMPLETE)
            yield entry

    def known(self) -> dict[str, str]:
        """The names of the complete entries by their digests."""
        entries = (_complete(path) for path in self.entries.glob("[!.]*"))
        return {entry.facts["digest"]: entry.path.name for entry in entries if entry is not None}

    def remember(self, request: str, name: str) -> None:
        """Write down what a request led to."""
        _write(self.requests / request, name)

    @contextlib.contextmanager
    def asking(self, request: str, queue: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
        """Be the one who builds for a request, as long as the context lasts.

        Args:
            request: its digest.
            queue: called where somebody else is; returns when what it is given says that it is our turn.
        """
        with (self.requests / f"{request}.lock").open("w") as lock:

            def turn() -> bool:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not turn():
                queue(turn)
            yield

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """A new entry to build in, ours as long as the context lasts, and removed after it unless it was completed."""
        with contextlib.ExitStack() as holding:
            ours = False
            while not ours:  # a sweeper may look at it before it is held
                path = self.entries / secrets.token_hex(8)
                path.mkdir()
                path.chmod(0o755)
                ours = holding.enter_context(_locked(path, fcntl.LOCK_EX))
            try:
                yield path
            finally:
                if not (path / COMPLETE).exists():
                    _remove(path)

    @contextlib.contextmanager
    def uv_cache(self) -> Iterator[Path]:
        """The first of uv's caches that nobody else uses; builders at the same time have one each."""
        with contextlib.ExitStack() as holding:
            number, ours = -1, False
            while not ours:
                number += 1
                path = self.caches / str(number)
                path.mkdir(mode=0o700, exist_ok=True)
                ours = holding.enter_context(_locked(path, fcntl.LOCK_EX))
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
    """The last word about a draft that was built; from here on it is an entry."""
    _write(uv_cache.parent / _SIZE, str(uv_bytes))
    _write(path / COMPLETE, json.dumps(facts))


def sweep(cache: Path) -> int:
    """Remove what killed builders left, and requests nobody repeats; returns how many."""
    swept = 0
    for path in cache.glob(f"{_SHELVES}/*/{_GONE}*"):
        _clear(path)
        swept += 1
    for path in cache.glob(f"{_SHELVES}/entries/[!.]*"):
        if not (path / COMPLETE).exists():
            with _locked(path, fcntl.LOCK_EX) as ours:
                if ours and not (path / COMPLETE).exists():
                    _remove(path)
                    swept += 1
    for path in cache.glob(f"{_SHELVES}/uv/[!.]*"):
        with _locked(path, fcntl.LOCK_EX) as ours:
            if ours:
                path.chmod(0o700)  # a builder that was killed left it open to its user id, which is lent again
    for file in cache.glob(f"{_SHELVES}/requests/*"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _FORGOTTEN:
                with _locked(file, fcntl.LOCK_EX) as ours:
                    if ours:
                        file.unlink()
                        swept += 1
    return swept


def prune(cache: Path, limit: int) -> int:
    """Keep the whole of a worker's cache within `limit` bytes; returns how many folders of it were removed.

    What was used the longest ago goes first, and nothing in use. uv's own caches count, and go, like entries.
    """
    found = [*_sizes(cache, "entries/[!.]*", COMPLETE), *_sizes(cache, "uv/[!.]*", _SIZE)]
    return folders.prune(
        cache, limit, (Kept(used, size, partial(_forgotten, used, path)) for used, size, path in found)
    )


def _forgotten(used: float, path: Path) -> bool:
    if time.time() - used < _IN_HAND:
        return False
    with _locked(path, fcntl.LOCK_EX) as ours:
        if ours:
            _remove(path)
        return ours


def _sizes(cache: Path, pattern: str, file: str) -> Iterator[tuple[float, int, Path]]:
    """When each was last used, how many bytes it has, and where it is."""
    for path in cache.glob(f"{_SHELVES}/{pattern}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            word = json.loads((path / file).read_text())
            yield (path / file).stat().st_mtime, int(word["bytes"] if isinstance(word, dict) else word), path


def _complete(path: Path) -> Entry | None:
    try:
        return Entry(path, json.loads((path / COMPLETE).read_text()))
    except (OSError, ValueError):
        return None


def _remove(path: Path) -> None:
    """Out of the way at once, by a name nobody is told; then for good."""
    gone = path.with_name(f"{_GONE}{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        path.rename(gone)
        _clear(gone)


def _clear(gone: Path) -> None:
    """By a process that may see what is in it, and beside what goes on here: it may be gigabytes."""
    threading.Thread(target=remove_apart, args=(gone,), name="sealrun-clear", daemon=True).start()


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    new.write_text(text)
    new.chmod(0o644)
    new.rename(path)


@contextlib.contextmanager
def _locked(path: Path | None, how: int) -> Iterator[bool]:
    """Hold a file or folder as long as the context lasts; False where it is gone, or held otherwise."""
    with contextlib.ExitStack() as holding:
        ours = False
        if path is not None:
            with contextlib.suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                holding.callback(os.close, handle)
                fcntl.flock(handle, how | fcntl.LOCK_NB)
                ours = os.path.samestat(os.fstat(handle), os.stat(path))
        yield ours


def _own_folder(path: Path, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode, parents=True)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise unusable(path, "it is not a folder of this user alone")
    path.chmod(mode)
