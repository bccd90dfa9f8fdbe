"""What a worker keeps for the runs to come: folders named by what is in them, made once and never changed.

`CACHE/PROJECT/KIND/KEY` is there as a whole or not at all: it is made beside its place and renamed. A folder's own lock
says what happens to it, and the kernel drops a lock with its holder, however that dies: shared while a run uses the
folder, exclusive while somebody makes or removes it.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from executor.supervisor.removal import remove
from executor.supervisor.workspace import prepare_root
from secretstore.errors import FolderUnusable

KINDS = ("sources",)

_STAGING, _GONE, _SIZE = ".staging-", ".gone-", ".size-"
_POLL = 0.02  # seconds between two looks at whether somebody else has made it


def prepare(root: Path) -> Path:
    """Make the folder of all that is kept: ours, not writable by others, and no list for a run's user.

    Raises:
        FolderUnusable: it belongs to somebody else, is a link, others may write in it, or it cannot be made.
    """
    try:
        return prepare_root(root)
    except FolderUnusable:
        raise unusable(root, "it is not a folder of this user alone") from None
    except OSError as error:
        raise unusable(root, os.strerror(error.errno or 0).lower()) from None


def unusable(path: Path, why: str) -> FolderUnusable:
    """The refusal of a folder of the cache."""
    hint = "remove it, or point SEALRUN_CACHE at a folder of your own"
    return FolderUnusable("{path} cannot keep code for runs: {why}", path=path, why=why, hint=hint)


@contextlib.contextmanager
def entry(
    root: Path, project_id: str, kind: str, key: str, build: Callable[[Path], None], beat: Callable[[], None]
) -> Iterator[Path]:
    """A folder of the cache, made if it is not there, and kept from removal while the context lasts.

    Args:
        root: the folder of all that is kept, see `prepare`.
        project_id: whose it is; no other project's runs get it.
        kind: one of `KINDS`.
        key: names the content.
        build: fills an empty folder, or raises; what it leaves is taken for whole.
        beat: called again and again while somebody else makes it; what it raises ends the wait.

    Raises:
        OSError: there is no room, or no right.
    """
    folder = root / project_id / kind
    path = folder / key
    lock = _held(path)
    while lock is None:
        _make(root, project_id, kind)
        with _staging(folder, key) as staging:
            if staging is None or os.path.lexists(path):
                beat()
                time.sleep(_POLL)
            else:
                build(staging)
                os.rename(staging, path)
        lock = _held(path)
    try:
        yield path
    finally:
        os.close(lock)


class Kept(NamedTuple):
    """Something in the cache: when it was last used (seconds since 1970), its bytes, and how to remove it.

    `remove` says whether it did: what is in use stays.
    """

    used: float
    size: int
    remove: Callable[[], bool]


def prune(root: Path, limit: int, more: Iterable[Kept] = ()) -> int:
    """Remove what was not used for longest until `limit` bytes are left, and what nobody will ever finish.

    `more` is what is kept in another way, and counts as well. Returns how many were removed.
    """
    for kind in KINDS:
        for leftover in [*root.glob(f"*/{kind}/{_STAGING}*"), *root.glob(f"*/{kind}/{_GONE}*")]:
            _removed(leftover)
    kept = sorted([*_kept(root), *more], key=lambda one: one.used)
    excess = sum(one.size for one in kept) - limit
    removed = 0
    for one in kept:
        if excess > 0 and one.remove():
            excess -= one.size
            removed += 1
    return removed


def _kept(root: Path) -> Iterator[Kept]:
    for kind in KINDS:
        for path in root.glob(f"*/{kind}/[!.]*"):
            with contextlib.suppress(OSError):
                yield Kept(path.stat().st_mtime, _size(path), partial(_forgotten, path))


def _forgotten(path: Path) -> bool:
    if not _removed(path):
        return False
    path.with_name(_SIZE + path.name).unlink(missing_ok=True)
    return True


def _held(path: Path) -> int | None:
    """A shared lock on a folder that is there, marked as used now; None where it is not, or is being removed."""
    lock = _locked(path, fcntl.LOCK_SH)
    if lock is not None:
        os.utime(lock)
    return lock


def _locked(path: Path, how: int) -> int | None:
    """The descriptor of the folder that is at a path, with a lock; None where it is not to be had now."""
    try:
        lock = _opened(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        path.chmod(0o555)  # a run that shares our user may change modes, if nothing else
        lock = _opened(path)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextlib.contextmanager
def _staging(folder: Path, key: str) -> Iterator[Path | None]:
    """An empty folder to make something in, for one at a time; None while another has it."""
    path = folder / f"{_STAGING}{key}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    lock = _locked(path, fcntl.LOCK_EX)
    if lock is None:
        yield None
        return
    try:
        path.chmod(0o700)
        for name in os.listdir(path):  # what somebody left who was killed
            remove(path / name)
        yield path
    finally:
        if _is_at(lock, path):
            remove(path)
        os.close(lock)


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


def _removed(path: Path) -> bool:
    """Remove a folder that nobody holds; out of the way first, so that it is never seen half there."""
    try:
        lock = _locked(path, fcntl.LOCK_EX)
    except OSError:
        return False
    if lock is None:
        return False
    try:
        gone = path.with_name(_GONE + secrets.token_hex(8))
        path.rename(gone)
        remove(gone)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _make(root: Path, project_id: str, kind: str) -> None:
    mode = 0o711 if os.geteuid() == 0 else 0o700  # a lent user id must pass through
    for folder in (root / project_id, root / project_id / kind):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=mode)
            folder.chmod(mode)


def _size(path: Path) -> int:
    """Bytes on the disk; counted once, since nothing in it changes."""
    note = path.with_name(_SIZE + path.name)
    with contextlib.suppress(OSError, ValueError):
        return int(note.read_text())
    size = 0
    for folder, _, files in os.walk(path):
        for name in (".", *files):
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_blocks * 512
    note.write_text(str(size))
    return size
