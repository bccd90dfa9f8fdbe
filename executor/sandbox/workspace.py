"""The private folders of one attempt: HOME, TMPDIR, SEALRUN_OUTPUT_DIR, and those for secrets and for what it writes.

They are made before the run and removed after it, outside SEALRUN_HOME, which no run may reach. A worker that runs as
root lends each attempt its own user id. Locks say what is in use: the kernel drops them however their holder dies.
"""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from executor.errors import StartFailed
from executor.sandbox.clearing import clear
from executor.sandbox.removal import remove as remove
from secretstore.errors import FolderUnusable

LOCK = ".lock-"
_TRIES = 100  # to have a folder that others remove
_LOCK_PATIENCE = 1.0  # seconds; a janitor holds it for microseconds


@dataclass(frozen=True)
class Workspace:
    """Where one attempt lives. `uid` is None if the worker is not root: runs then share its user.

    `in_memory`: what it has of secrets and credentials as files lies in memory of its own, and not here.
    """

    path: Path
    uid: int | None
    in_memory: bool = False

    @property
    def home(self) -> Path:
        """The run's HOME."""
        return self.path / "home"

    @property
    def temporary(self) -> Path:
        """The run's TMPDIR."""
        return self.path / "tmp"

    @property
    def output(self) -> Path:
        """The run's SEALRUN_OUTPUT_DIR; its files are kept."""
        return self.path / "output"

    @property
    def private(self) -> Path:
        """The folder of secrets and credentials that are files, unless the run has its own /dev/shm."""
        return self.path / "private"

    @property
    def copies(self) -> Path:
        """The folder of the run's copy of its source, where nothing can be laid over that."""
        return self.path / "work"

    @property
    def written(self) -> Path:
        """The folder of what is laid over the source; the run sees it only through that."""
        return self.path / "written"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those in which the run alone writes, and which its supervisor empties."""
        own = (self.home, self.temporary, self.output)
        return own if self.in_memory else (*own, self.private)

    def lend(self, folder: Path) -> None:
        """Make a folder in which the run alone writes."""
        folder.mkdir(mode=0o700)
        if self.uid is not None:
            os.chown(folder, self.uid, self.uid)


@contextlib.contextmanager
def workspace(root: Path, name: str, uids: range, *, in_memory: bool = False) -> Iterator[Workspace]:
    """Make the workspace of one attempt, and remove it whatever happens.

    Args:
        root: the folder of all workspaces, see `prepare_root`.
        name: `RUN-ATTEMPT`; unique.
        uids: user ids to lend if this process is root.
        in_memory: see `Workspace`.

    Raises:
        StartFailed: every user id is in use.
    """
    with contextlib.ExitStack() as ending:
        uid = ending.enter_context(_lent_uid(uids)) if os.geteuid() == 0 else None
        place = Workspace(root / name, uid, in_memory)
        ending.enter_context(locked(root / f"{LOCK}{name}"))
        ending.callback(clear, place.path)
        # The run must not own the folder above: it could put a link where its supervisor looks.
        place.path.mkdir(mode=0o700 if uid is None else 0o711)
        for folder in place.folders:
            place.lend(folder)
        yield place


def prepare_root(root: Path) -> Path:
    """Make the folder of all workspaces, private to this user.

    Raises:
        FolderUnusable: it belongs to somebody else, is a link, or others may write in it.
    """
    # A lent user id must pass through without listing it.
    return _own_folder(root, 0o711 if os.geteuid() == 0 else 0o700)


@contextlib.contextmanager
def in_use(root: Path, *, kept: bool, prepare: Callable[[Path], Path] = prepare_root) -> Iterator[Path]:
    """Make a folder of this user, and use it while the context lasts; whoever is the last removes it if it is empty.

    Args:
        root: the folder.
        kept: it stays, since somebody has chosen it.
        prepare: makes it.

    Raises:
        FolderUnusable, OSError: it cannot be made.
    """
    handle = _held(root, prepare)
    try:
        yield root
    finally:
        with contextlib.suppress(OSError):  # another uses it, or something is in it
            if not kept:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                root.rmdir()
        os.close(handle)


def _held(root: Path, prepare: Callable[[Path], Path]) -> int:
    for tries_left in reversed(range(_TRIES)):
        try:
            handle = os.open(prepare(root), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if tries_left:
                continue
            raise
        fcntl.flock(handle, fcntl.LOCK_SH)
        # Whoever used it last may have removed it before it was held.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.lstat(root)):
                return handle
        os.close(handle)
    raise FolderUnusable(path=root, why="it is removed again and again")


def orphans(root: Path) -> Iterator[Path]:
    """Yield workspaces whose worker is gone: their locks are free."""
    for lock in root.glob(f"{LOCK}*"):
        try:
            with open(lock, "rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield root / lock.name.removeprefix(LOCK)
                lock.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue


@contextlib.contextmanager
def reserved(uid: int) -> Iterator[bool]:
    """Reserve a user id on this machine while the context lasts; False if somebody else holds it."""
    locks = _own_folder(Path("/run/sealrun-uids"), 0o700)
    lock = os.open(locks / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """Make a file and hold its lock while the context lasts; then remove it.

    Raises:
        BlockingIOError: somebody else holds it, and not just to look whether it is free.
    """
    with contextlib.ExitStack() as holding:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            lock = holding.enter_context(open(path, "wb"))
            # A janitor may find the lock free at this moment, hold it briefly and delete its file: check, try again.
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                    break
            except (BlockingIOError, FileNotFoundError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            holding.close()
        holding.callback(path.unlink, missing_ok=True)
        yield lock


@contextlib.contextmanager
def _lent_uid(uids: range) -> Iterator[int]:
    # Start anywhere, so that the next run does not meet keys that the last one left under its id.
    first = secrets.randbelow(len(uids))
    for uid in [*uids[first:], *uids[:first]]:
        with reserved(uid) as ours:
            if ours:
                yield uid
                return
    raise StartFailed(
        "every user id from {first} to {last} is in use",
        first=uids.start,
        last=uids.stop - 1,
        hint="lower the worker's -c, or widen SEALRUN_RUN_UIDS",
    )


def is_own_folder(found: os.stat_result) -> bool:
    """Whether it is a folder of this user, in which nobody else may write."""
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _own_folder(path: Path, mode: int) -> Path:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode, parents=True)
    if not is_own_folder(os.lstat(path)):
        raise FolderUnusable(
            "{path} is not a private folder of this user, so no workspace is made in it",
            path=path,
            hint="remove it, or set SEALRUN_WORKSPACES to a folder of your own",
        )
    os.chmod(path, mode)
    return path
