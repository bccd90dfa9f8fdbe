"""The private place of one attempt: HOME, TMPDIR, SEALRUN_OUTPUT_DIR and a folder for secrets that are files.

It is made before the run and removed after it.

It stands outside SEALRUN_HOME, which no run may reach into. A worker that runs as root lends each attempt a user id of
its own. Locks tell who is using what, because the kernel drops them with their holder, however it dies.
"""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.errors import StartFailed
from executor.sandbox.clearing import clear
from executor.sandbox.removal import remove as remove
from secretstore.errors import FolderUnusable

_LOCK = ".lock-"
_LOCK_PATIENCE = 1.0  # seconds; a janitor holds it for microseconds


@dataclass(frozen=True)
class Workspace:
    """Where one attempt lives. `uid` is None where the worker is not root and runs share its user."""

    path: Path
    uid: int | None

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
        """What is left here survives the run."""
        return self.path / "output"

    @property
    def private(self) -> Path:
        """Where secrets and credentials stand as files, unless the run has memory of its own for that."""
        return self.path / "private"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of them; the run alone writes in them, and its supervisor empties them."""
        return self.home, self.temporary, self.output, self.private


@contextlib.contextmanager
def workspace(root: Path, name: str, uids: range) -> Iterator[Workspace]:
    """Make the place of one attempt, and remove it whatever happens.

    Args:
        root: the folder of all workspaces, see `prepare_root`.
        name: `RUN-ATTEMPT`; unique.
        uids: user ids to lend from where this process is root.

    Raises:
        StartFailed: every id is lent.
    """
    with contextlib.ExitStack() as ending:
        uid = ending.enter_context(_lent_uid(uids)) if os.geteuid() == 0 else None
        place = Workspace(root / name, uid)
        ending.enter_context(_locked(root / f"{_LOCK}{name}"))
        ending.callback(clear, place.path)
        # What holds them is not the run's to change: it could put a link where its supervisor looks.
        place.path.mkdir(mode=0o700 if uid is None else 0o711)
        for folder in place.folders:
            folder.mkdir(mode=0o700)
            if uid is not None:
                os.chown(folder, uid, uid)
        yield place


def prepare_root(root: Path) -> Path:
    """Make the folder of all workspaces: ours, and not writable by others.

    Raises:
        FolderUnusable: it exists and belongs to somebody else, is a link, or others may write in it.
    """
    # A lent user id must pass through, without seeing what else is there.
    return _own_folder(root, 0o711 if os.geteuid() == 0 else 0o700)


def orphans(root: Path) -> Iterator[Path]:
    """Workspaces whose worker is gone: their locks are free."""
    for lock in root.glob(f"{_LOCK}*"):
        try:
            with open(lock, "rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield root / lock.name.removeprefix(_LOCK)
                lock.unlink(missing_ok=True)
        except (BlockingIOError, FileNotFoundError):
            continue


@contextlib.contextmanager
def reserved(uid: int) -> Iterator[bool]:
    """Hold a user id machine-wide, for as long as the context lasts; False where somebody else holds it."""
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
def _locked(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as holding:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            lock = holding.enter_context(open(path, "wb"))
            # A janitor that looks at this moment finds the lock free, holds it for an instant, and takes its file away.
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
        yield


@contextlib.contextmanager
def _lent_uid(uids: range) -> Iterator[int]:
    first = secrets.randbelow(len(uids))  # what a run may leave under its id, such as keys, is not met by the next one
    for uid in [*uids[first:], *uids[:first]]:
        with reserved(uid) as ours:
            if ours:
                yield uid
                return
    raise StartFailed(
        "every user id from {first} to {last} is lent to a run",
        first=uids.start,
        last=uids.stop - 1,
        hint="lower the worker's -c, or widen SEALRUN_RUN_UIDS",
    )


def _own_folder(path: Path, mode: int) -> Path:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=mode, parents=True)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise FolderUnusable(
            "{path} is not a folder of this user alone, so no run may be given a place in it",
            path=path,
            hint="remove it, or point SEALRUN_WORKSPACES at a folder of your own",
        )
    os.chmod(path, mode)
    return path
