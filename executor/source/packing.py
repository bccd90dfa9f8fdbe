"""Pack a source root into one archive, which is uploaded for a run that may start on any machine.

The archive is a tar of files, folders and links. The same content gives the same bytes everywhere: it is sorted and has
no times and owners. Its SHA-256 is its name.
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
"""Bytes of a path from the source root, which gets longer where it is unpacked."""

BLOCK = 512
_OVERHEAD = 2 * (BLOCK + PATH_LIMIT + BLOCK) + 2 * BLOCK  # a link's path and goal in separate blocks; its head
_NAMED = 5
_COUNTED_LIMIT = 10 * ENTRIES_LIMIT


@dataclass(frozen=True)
class Entry:
    """Something beneath a source root. `size` is in bytes; `seen` identifies the file that was found."""

    path: str
    kind: bytes
    size: int = 0
    executable: bool = False
    goal: str = ""
    seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The contents of a source root, each folder before its members. `size` is of the files, in bytes.

    `unasked` are files of values, such as `.env`, that are left out although no ignore file says so.
    """

    root: Path
    entries: tuple[Entry, ...]
    size: int
    unasked: tuple[str, ...] = ()

    def has(self, path: str) -> bool:
        """Tell whether it has something at this path."""
        return any(entry.path == path for entry in self.entries)


@dataclass(frozen=True)
class Packed:
    """The archive; `digest` is its SHA-256 in hex."""

    digest: str
    entries: int
    tar: memoryview

    @property
    def size(self) -> int:
        """Bytes of the archive."""
        return len(self.tar)


def archive_limit(limit: int) -> int:
    """Return the largest archive of so many bytes of files."""
    return limit + ENTRIES_LIMIT * _OVERHEAD


def listing(root: Path, limit: int) -> Listing:
    """List a source root without what ignore files leave out; reads no other files.

    Args:
        root: the source root, a path without links.
        limit: bytes of all files together.

    Raises:
        SourceRefused: it is too large, or something in it cannot be uploaded.
        FileUnreadable: an ignore file cannot be read.
    """
    entries: list[Entry] = []
    unasked: list[str] = []
    for entry in _found(root, unasked):
        entries.append(entry)
        if len(entries) > _COUNTED_LIMIT:
            break
    size = sum(entry.size for entry in entries)
    if size > limit:
        raise SourceRefused(
            "the source root {root} is too large to upload: {size}, at most {limit}; its largest files: {largest}",
            root=root,
            size=size_text(size),
            limit=size_text(limit),
            largest=_largest(entries),
            hint="add what the run does not need to .sealrunignore, or raise SEALRUN_SOURCE_LIMIT_MIB",
        )
    if len(entries) > ENTRIES_LIMIT:
        more = "more than " if len(entries) > _COUNTED_LIMIT else ""
        count = f"{more}{min(len(entries), _COUNTED_LIMIT):,}"
        raise SourceRefused(
            "the source root {root} has too many files and folders to upload: {count}, at most {limit}; "
            "most are in {fullest}",
            root=root,
            count=count,
            limit=f"{ENTRIES_LIMIT:,}",
            fullest=_fullest(entries),
            hint="add what the run does not need to .sealrunignore",
        )
    for entry in entries:
        _check(entry)
    return Listing(root, tuple(sorted(entries, key=lambda entry: entry.path.encode())), size, tuple(sorted(unasked)))


def pack(found: Listing) -> Packed:
    """Read the listed files into an archive.

    Raises:
        SourceRefused: a file cannot be read, or has changed since it was listed.
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
    """Tell whether a link at `path` stays beneath the root as it is written: up first, then down.

    If every link does, no chain of links leads out: each starts in a folder inside, does not climb above the root, and
    only then passes through names that may be links again.
    """
    if not goal or goal.startswith("/"):
        return False
    steps = [step for step in goal.split("/") if step not in ("", ".")]
    climbs = next((at for at, step in enumerate(steps) if step != ".."), len(steps))
    return climbs <= path.count("/") and ".." not in steps[climbs:]


def size_text(size: int) -> str:
    """Write a number of bytes for a person."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


def _found(root: Path, unasked: list[str]) -> Iterator[Entry]:
    waiting: list[tuple[str, Ignoring]] = [("", Ignoring.at(root))]
    while waiting:
        folder, ignoring = waiting.pop()
        try:
            with os.scandir(root / folder) as members:
                present = list(members)
            for member in present:
                is_folder = member.is_dir(follow_symlinks=False)
                name, path = os.fsencode(member.name), folder + member.name
                if _never(member, is_folder):
                    continue
                if ignoring.ignores(name, is_folder):
                    if name.startswith(b".env") and ignoring.ignores_unasked(name, is_folder):
                        unasked.append(_shown(path))
                    continue
                yield _entry(path, member)
                if is_folder:
                    below = ignoring.beneath(name).within(Path(member.path))
                    waiting.append((path + "/", below))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise SourceRefused(
                path=_shown(os.path.relpath(error.filename or root, root)),
                why="it disappeared meanwhile" if missing else os.strerror(error.errno or 0).lower(),
            ) from None


def _never(member: "os.DirEntry[str]", is_folder: bool) -> bool:
    """Tell whether it is never source: a checkout's history, a Python environment, compiled code."""
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
        why = "it is not a file, folder or link"
    elif len(entry.path.encode()) > PATH_LIMIT:
        why = f"its path has more than {PATH_LIMIT:,} bytes"
    elif entry.kind == tarfile.SYMTYPE:
        if entry.goal.startswith("/"):
            why = f"it is a link to {_shown(entry.goal)}, which exists on this machine only"
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
    """Name the top-level folders with the most entries: one line each leaves them out."""
    counted = Counter(entry.path.partition("/")[0] for entry in entries if "/" in entry.path)
    most = counted.most_common(_NAMED)
    return ", ".join(f"{_shown(name)}/ ({count:,})" for name, count in most) or "that folder itself"


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _changed(entry: Entry) -> SourceRefused:
    hint = "submit the run again when nothing writes to it, or add it to .sealrunignore"
    return SourceRefused("{path} changed while it was being read", path=entry.path, hint=hint)
