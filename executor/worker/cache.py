"""What a worker keeps for the runs to come: folders that are whole or not there, made once and never changed.

    CACHE/PROJECT/…/NAME          an entry
    CACHE/PROJECT/…/.note-NAME    says that it is whole, and what is known of it; last touched when it was last used

A folder's own lock says what happens to it, and the kernel drops a lock with its holder, however that dies: shared
while a run uses the folder, exclusive while somebody makes or removes it. A folder without a note that nobody holds is
what a builder left that was killed.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from executor.sandbox.folders import size_of
from executor.sandbox.removal import remove
from executor.sandbox.workspace import prepare_root
from executor.worker.lease import LeaseKeeper
from secretstore.errors import FolderUnusable

_NOTE, _GONE = ".note-", ".gone-"
_POLL = 0.02  # seconds between two looks at whether somebody else has made it


@dataclass(frozen=True)
class Kind:
    """Entries that are kept alike."""

    shelves: str
    """Where they lie beneath the cache, as a pattern."""
    clear: Callable[[Path], None] = remove
    in_hand: float = 0.0
    """Seconds after its last use in which an entry stays."""


SOURCES = Kind("*/sources")


@dataclass(frozen=True)
class Entry:
    """A folder that is whole. `facts` are what its builder noted of it; `bytes` is among them."""

    path: Path
    facts: dict[str, Any]


def prepare(root: Path) -> Path:
    """Make a folder, and those above it: ours, not writable by others, and no list for a run's user.

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


@dataclass(frozen=True)
class Shelf:
    """The entries of one kind that one owner has; `names` lead from the cache's root to their folder."""

    kind: Kind
    root: Path
    names: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The folder of the entries."""
        return self.root.joinpath(*self.names)

    def prepare(self) -> None:
        """Make its folders.

        Raises:
            FolderUnusable: one of them exists and is not ours alone.
        """
        for depth in range(-1, len(self.names)):
            prepare(self.root.joinpath(*self.names[: depth + 1]))

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[Entry | None]:
        """The entry of a name, used now, and kept from removal while the context lasts; None where there is none."""
        path = self.path / name
        with locked(path, fcntl.LOCK_SH) as ours:
            entry = noted(path) if ours else None
            if entry is not None:
                with contextlib.suppress(OSError):
                    os.utime(note_of(path))
            yield entry

    @contextlib.contextmanager
    def made(self, name: str, build: Callable[[Path], None], keeper: LeaseKeeper) -> Iterator[Entry]:
        """The entry of a name, made if it is not there, and kept from removal while the context lasts.

        Args:
            name: says what is in it.
            build: fills an empty folder, or raises; what it leaves is taken for whole.
            keeper: is asked again and again while somebody else makes it; what it raises ends the wait.

        Raises:
            OSError: there is no room, or no right.
        """
        while True:
            with self.held(name) as entry:
                if entry is not None:
                    yield entry
                    return
            self.prepare()
            with self.draft(name) as draft:
                if draft is not None:
                    build(draft)
                    complete(draft, {"bytes": size_of(draft)})
                    continue
            keeper.check()
            time.sleep(_POLL)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[Path | None]:
        """An empty folder to make an entry in, removed after the context unless it was completed.

        None while another has it, or where it is whole already.
        """
        path = self.path / name
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        with locked(path, fcntl.LOCK_EX) as ours:
            # A note whose folder somebody removed by hand says nothing about the new one.
            if not ours or (noted(path) is not None and os.listdir(path)):
                yield None
                return
            note_of(path).unlink(missing_ok=True)
            path.chmod(0o700)
            for left in os.listdir(path):  # by somebody who was killed
                remove(path / left)
            try:
                yield path
            finally:
                if noted(path) is None:
                    _away(path, self.kind)


def complete(path: Path, facts: dict[str, Any]) -> None:
    """The last word about a draft: from here on it is an entry."""
    write(note_of(path), json.dumps(facts))


def noted(path: Path) -> Entry | None:
    """The entry that is at a path, if it is whole."""
    try:
        return Entry(path, json.loads(note_of(path).read_text()))
    except (OSError, ValueError):
        return None


def note_of(path: Path) -> Path:
    """Where it says that an entry is whole."""
    return path.with_name(_NOTE + path.name)


class Kept(NamedTuple):
    """Something in the cache: when it was last used (seconds since 1970), its bytes, and how to remove it.

    `remove` says whether it did: what is in use stays.
    """

    used: float
    size: int
    remove: Callable[[], bool]


def prune(root: Path, limit: int, more: Iterable[Kept] = (), kinds: Sequence[Kind] = (SOURCES,)) -> int:
    """Remove what was not used for longest until `limit` bytes are left, and what nobody will ever finish.

    `more` is what is kept in another way, and counts as well. Returns how many entries were removed.
    """
    for kind in kinds:
        sweep(root, kind)
    entries = [one for kind in kinds for one in _kept(root, kind)]
    kept = sorted([*entries, *more], key=lambda one: one.used)
    excess = sum(one.size for one in kept) - limit
    removed = 0
    for one in kept:
        if excess > 0 and one.remove():
            excess -= one.size
            removed += 1
    return removed


def sweep(root: Path, kind: Kind) -> int:
    """Remove what killed builders left; returns how many folders."""
    swept = clear_gone(root, kind)
    for path in root.glob(f"{kind.shelves}/[!.]*"):
        if noted(path) is None:
            with contextlib.suppress(OSError), locked(path, fcntl.LOCK_EX) as ours:
                # Looked at once more: until the lock it may have been somebody's draft, and be whole by now.
                if ours and noted(path) is None:
                    swept += _away(path, kind)
    return swept


def clear_gone(root: Path, kind: Kind) -> int:
    """Remove for good what somebody was removing who was killed; returns how many folders."""
    gone = list(root.glob(f"{kind.shelves}/{_GONE}*"))
    for path in gone:
        kind.clear(path)
    return len(gone)


def forget(path: Path, kind: Kind, used: float) -> bool:
    """Remove an entry unless somebody holds it, or has only just let go of it."""
    if time.time() - used < kind.in_hand:
        return False
    with contextlib.suppress(OSError), locked(path, fcntl.LOCK_EX) as ours:
        return ours and _away(path, kind)
    return False


def write(path: Path, text: str) -> None:
    """A small file, as a whole or as it was."""
    new = path.with_name(f".new-{secrets.token_hex(8)}")
    new.write_text(text)
    new.chmod(0o644)
    new.rename(path)


@contextlib.contextmanager
def locked(path: Path, how: int) -> Iterator[bool]:
    """Hold what is at a path as long as the context lasts; False where it is gone, or held otherwise."""
    with contextlib.ExitStack() as holding:
        ours = False
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            handle = _opened(path)
            holding.callback(os.close, handle)
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            # Until the lock somebody may have removed it: then this is a lock on what is gone.
            ours = os.path.samestat(os.fstat(handle), os.stat(path))
        yield ours


def _opened(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except PermissionError:
        path.chmod(0o555)  # a run that shares our user may change modes, if nothing else
        return os.open(path, flags)


def _kept(root: Path, kind: Kind) -> Iterator[Kept]:
    for path in root.glob(f"{kind.shelves}/[!.]*"):
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
            entry = noted(path)
            if entry is not None:
                used = note_of(path).stat().st_mtime
                yield Kept(used, int(entry.facts["bytes"]), partial(forget, path, kind, used))


def _away(path: Path, kind: Kind) -> bool:
    """Remove a folder that is ours: its note, then out of the way, so that nobody sees half of it, then for good."""
    gone = path.with_name(_GONE + secrets.token_hex(8))
    try:
        note_of(path).unlink(missing_ok=True)
        path.rename(gone)
    except OSError:
        return False
    kind.clear(gone)
    return True
