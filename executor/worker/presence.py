"""A worker's own word about itself: a small file beside its workspaces, which `sealrun worker --check` reads.

It is there whatever becomes of the database. Once a second the worker writes down that its process turns, and why it
can take no run, if so. The file is locked as long as the worker lives: the kernel drops the lock however that ends, so
that no process id has to be believed, which another process may have by now.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from executor.sandbox.workspace import is_own_folder, locked
from secretstore.errors import FolderUnusable

PULSE = 1.0  # seconds between two pulses
STILL = 20.0
"""Seconds without a pulse after which a worker is told to stand still."""

_PREFIX = ".worker-"
_SIZE = 4096  # bytes; written over in place, which needs no room on a full disk
_WHY = 1000  # characters of a reason
_TORN = 5  # times a record is read that is just being written


@dataclass(frozen=True)
class Seen:
    """A worker as its file shows it. `why` says why it takes no run; `still` is how many seconds ago it turned."""

    name: str
    pid: int
    alive: bool
    still: float
    why: str | None


@contextlib.contextmanager
def present(
    root: Path, name: str, why: Callable[[], str | None], told: Callable[[str | None], object]
) -> Iterator[Callable[[], None]]:
    """Be seen while the context lasts; what it gives is a pulse, for what is not to wait for the next one.

    Args:
        root: the folder of this worker's workspaces.
        name: the worker's name.
        why: is asked at each pulse why it can take no run.
        told: is called with the answer.
    """
    _forget_the_dead(root)
    over = threading.Event()
    with locked(root / f"{_PREFIX}{uuid4().hex}") as file:

        def pulse() -> None:
            reason = why()
            _write(file, name, reason)
            told(reason)

        def turn() -> None:
            while not over.wait(PULSE):
                pulse()

        pulse()
        thread = threading.Thread(target=turn, name="sealrun-presence", daemon=True)
        thread.start()
        try:
            yield pulse
        finally:
            over.set()
            thread.join(5)


def seen(root: Path) -> list[Seen]:
    """The workers that have their workspaces in a folder; those that ended without a word are among them.

    Raises:
        OSError: one may not look.
        FolderUnusable: it is not a folder of this user alone: anybody may have put there what it shows.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not is_own_folder(os.fstat(folder)):
            hint = "ask as the worker's user; or remove it, or set SEALRUN_WORKSPACES to a folder of your own"
            message = "{path} is not a private folder of this user, so no worker in it is believed"
            raise FolderUnusable(message, path=root, hint=hint)
        found = []
        for name in os.listdir(folder):
            if name.startswith(_PREFIX):
                with _opened(name, folder) as file:
                    found.append(_read(file) if file is not None else None)
    finally:
        os.close(folder)
    return [one for one in found if one is not None]


@contextlib.contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[IO[bytes] | None]:
    """A worker's file; None for what cannot be one: a link, a pipe, somebody else's."""
    try:
        # A pipe would wait for whoever writes.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
        yield None
        return
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(handle)
        yield None
        return
    with open(handle, "rb") as file:
        yield file


def _write(file: IO[bytes], name: str, why: str | None) -> None:
    record = {"name": name, "pid": os.getpid(), "at": time.monotonic(), "why": why and why[:_WHY]}
    with contextlib.suppress(OSError):  # a file system that copies on write may have no room
        os.pwrite(file.fileno(), json.dumps(record).encode()[:_SIZE].ljust(_SIZE), 0)


def _read(file: IO[bytes]) -> Seen | None:
    alive = _is_locked(file)
    for _ in range(_TORN):
        try:
            record = json.loads(os.pread(file.fileno(), _SIZE, 0))
            still = max(time.monotonic() - record["at"], 0.0)
            return Seen(record["name"], record["pid"], alive, still, record["why"])
        except (ValueError, KeyError, TypeError):
            time.sleep(0.01)
    return None


def _is_locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: whoever else looks is no worker
    except BlockingIOError:
        return True
    return False


def _forget_the_dead(root: Path) -> None:
    for path in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _opened(str(path)) as file:
            if file is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
