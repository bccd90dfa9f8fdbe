"""A source root as one archive with one name: what is uploaded for a run that may start on any machine.

The archive is a tar of files, folders and links, the same bytes for the same content wherever it is made: sorted,
without times and owners. Its SHA-256 is its name.
"""

import hashlib
import heapq
import io
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executor.errors import SourceRefused
from executor.source.ignoring import Ignoring

ENTRIES_LIMIT = 20_000
PATH_LIMIT = 2_048
"""Bytes of a path from the source root: the folder where it is unpacked stands before it."""

BLOCK = 512
_OVERHEAD = 2 * (BLOCK + PATH_LIMIT + BLOCK) + 2 * BLOCK  # path and goal of a link in blocks of their own; its head
_NAMED = 5
_COUNTED_LIMIT = 10 * ENTRIES_LIMIT


@dataclass(frozen=True)
class Entry:
    """Something beneath a source root. `size` in bytes; `seen` tells whether a file is still the one that was found."""

    path: str
    kind: bytes
    size: int = 0
    executable: bool = False
    goal: str = ""
    seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What belongs to a source root, each folder before what is in it. `size` is of the files, in bytes."""

    root: Path
    entries: tuple[Entry, ...]
    size: int

    def has(self, path: str) -> bool:
        """Whether a file of this path from the root is among it."""
        return any(entry.path == path for entry in self.entries)


@dataclass(frozen=True)
class Packed:
    """The archive; `digest` is its SHA-256 in hex."""

    digest: str
    entries: int
    tar: memoryview

    @property
    def size(self) -> int:
        """Of the archive, in bytes."""
        return len(self.tar)


def archive_limit(limit: int) -> int:
    """The bytes that an archive of so many bytes of files may have."""
    return limit + ENTRIES_LIMIT * _OVERHEAD


def listing(root: Path, limit: int) -> Listing:
    """Find what belongs to a source root and what ignore files leave out, without reading any other file.

    Args:
        root: the source root, a path without links.
        limit: bytes that the files may have in all.

    Raises:
        SourceRefused: there is too much of it, or something cannot be uploaded as it is.
        FileUnreadable: an ignore file cannot be read.
    """
    entries = []
    for entry in _found(root):
        entries.append(entry)
        if len(entries) > _COUNTED_LIMIT:
            break
    size = sum(entry.size for entry in entries)
    if size > limit:
        raise SourceRefused(
            "the source root {root} has {size} to upload, and at most {limit} go; the largest files: {largest}",
            root=root,
            size=size_text(size),
            limit=size_text(limit),
            largest=_largest(entries),
            hint="add what the run does not need to .sealrunignore; SEALRUN_SOURCE_LIMIT_MIB is the limit",
        )
    if len(entries) > ENTRIES_LIMIT:
        more = "more than " if len(entries) > _COUNTED_LIMIT else ""
        count = f"{more}{min(len(entries), _COUNTED_LIMIT):,}"
        raise SourceRefused(
            "the source root {root} has {count} files and folders to upload, and at most {limit} go; "
            "most are in {fullest}",
            root=root,
            count=count,
            limit=f"{ENTRIES_LIMIT:,}",
            fullest=_fullest(entries),
            hint="add what the run does not need to .sealrunignore",
        )
    for entry in entries:
        _check(entry)
    return Listing(root, tuple(sorted(entries, key=lambda entry: entry.path.encode())), size)


def pack(found: Listing) -> Packed:
    """Read what was found into an archive.

    Raises:
        SourceRefused: a file cannot be read, or is no longer what it was when it was found.
    """
    tar = io.BytesIO()
    for entry in found.entries:
        head = tarfile.TarInfo(entry.path)
        head.type, head.size, head.linkname = entry.kind, entry.size, entry.goal
        head.mode = 0o755 if entry.executable or entry.kind == tarfile.DIRTYPE else 0o644
        tar.write(head.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"))
        if entry.kind == tarfile.REGTYPE:
            tar.write(_content(found.root, entry))
            tar.write(bytes(-entry.size % BLOCK))
    tar.write(bytes(2 * BLOCK))
    whole = tar.getbuffer()
    return Packed(hashlib.sha256(whole).hexdigest(), len(found.entries), whole)


def leads_inside(path: str, goal: str) -> bool:
    """Whether a link at `path` leads to a place beneath the root by its own words: up first, then down.

    Where every link is such a one, none leads out, however many stand in a row: each goes on from a folder inside, does
    not climb above the root, and only then passes through names that may be links again.
    """
    if not goal or goal.startswith("/"):
        return False
    steps = [step for step in goal.split("/") if step not in ("", ".")]
    climbs = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    return climbs <= path.count("/") and ".." not in steps[climbs:]


def size_text(size: int) -> str:
    """Bytes as a person reads them."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


def _found(root: Path) -> Iterator[Entry]:
    waiting: list[tuple[str, Ignoring]] = [("", Ignoring.at(root))]
    while waiting:
        folder, ignoring = waiting.pop()
        try:
            with os.scandir(root / folder) as members:
                present = list(members)
            for member in present:
                is_folder = member.is_dir(follow_symlinks=False)
                if _never(member, is_folder) or ignoring.ignores(os.fsencode(member.name), is_folder):
                    continue
                path = folder + member.name
                yield _entry(path, member)
                if is_folder:
                    below = ignoring.beneath(os.fsencode(member.name)).within(Path(member.path))
                    waiting.append((path + "/", below))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise SourceRefused(
                path=_shown(os.path.relpath(error.filename or root, root)),
                why="it disappeared while it was looked at" if missing else os.strerror(error.errno or 0).lower(),
            ) from None


def _never(member: "os.DirEntry[str]", is_folder: bool) -> bool:
    """What is no source: a checkout's history, environments of this machine, compiled code."""
    if not is_folder:
        return member.name == ".git"
    return member.name in (".git", ".venv", "__pycache__") or os.path.lexists(os.path.join(member.path, "pyvenv.cfg"))


def _entry(path: str, member: "os.DirEntry[str]") -> Entry:
    found = member.stat(follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, tarfile.DIRTYPE)
    if stat.S_ISLNK(found.st_mode):
        return Entry(path, tarfile.SYMTYPE, goal=os.readlink(member.path))
    if stat.S_ISREG(found.st_mode):
        executable = bool(found.st_mode & stat.S_IXUSR)
        return Entry(path, tarfile.REGTYPE, found.st_size, executable, seen=_identity(found))
    return Entry(path, b"")


def _check(entry: Entry) -> None:
    why = None
    if _shown(entry.path) != entry.path:
        why = "its name is not UTF-8"
    elif not entry.kind:
        why = "it is neither a file nor a folder nor a link"
    elif len(entry.path.encode()) > PATH_LIMIT:
        why = f"its path has more than {PATH_LIMIT:,} bytes"
    elif entry.kind == tarfile.SYMTYPE:
        if entry.goal.startswith("/"):
            why = f"it is a link to {_shown(entry.goal)}, a path of this machine"
        elif _shown(entry.goal) != entry.goal or len(entry.goal.encode()) > PATH_LIMIT:
            why = "it is a link to a path that is not UTF-8 or too long"
        elif not leads_inside(entry.path, entry.goal):
            why = f"it is a link to {entry.goal}, which leads out of the source root"
    if why is not None:
        raise SourceRefused(path=_shown(entry.path), why=why)


def _content(root: Path, entry: Entry) -> bytes:
    try:
        handle = os.open(root / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb", buffering=0) as file:
            before = _identity(os.fstat(handle))
            content = b""
            while len(content) <= entry.size and (piece := file.read(entry.size + 1 - len(content))):
                content = content + piece if content else piece
            after = _identity(os.fstat(handle))
    except PermissionError:
        raise SourceRefused(path=entry.path, why="permission denied") from None
    except OSError:
        raise _changed(entry) from None
    if not entry.seen == before == after or len(content) != entry.size:
        raise _changed(entry)
    return content


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _largest(entries: list[Entry]) -> str:
    largest = heapq.nlargest(_NAMED, entries, key=lambda entry: entry.size)
    return ", ".join(f"{_shown(entry.path)} ({size_text(entry.size)})" for entry in largest if entry.size)


def _fullest(entries: list[Entry]) -> str:
    """The folders that hold the most, at the top level, where one line leaves them out."""
    counted = Counter(entry.path.partition("/")[0] for entry in entries if "/" in entry.path)
    most = counted.most_common(_NAMED)
    return ", ".join(f"{_shown(name)}/ ({count:,})" for name, count in most) or "that folder itself"


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _changed(entry: Entry) -> SourceRefused:
    hint = "submit the run again when nothing writes there, or add it to .sealrunignore"
    return SourceRefused("{path} changed while it was read for the upload", path=entry.path, hint=hint)
