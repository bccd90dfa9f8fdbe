"""Unpack an uploaded archive. Anybody who can write to the database may have made it, so nothing in it is trusted.

It reads only what `packing` writes: files, folders, and links that stay inside. Everything else is refused, and what
was unpacked is worthless until the archive's SHA-256 has been compared.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from executor.source.packing import BLOCK, ENTRIES_LIMIT, PATH_LIMIT, archive_limit, leads_inside

_LONG_PATH, _LONG_GOAL = b"L", b"K"
_FILE, _LINK, _FOLDER = b"0", b"2", b"5"


class Unacceptable(Exception):
    """why an archive is refused"""


class TooLarge(Unacceptable):
    """it has more files or bytes than allowed"""


def unpack(pieces: Iterable[bytes], folder: Path, digest: str, limit: int) -> None:
    """Write an archive's files into an empty folder, which is read-only in the end.

    Args:
        pieces: the archive, in order.
        folder: the target; nobody else may write there.
        digest: the archive's expected SHA-256, in hex.
        limit: bytes of all files together.

    Raises:
        TooLarge: it has more files or bytes than allowed.
        Unacceptable: it is not a valid archive, or another one; what was written is worthless.
        OSError: a file could not be written.
    """
    archive = _Archive(pieces, archive_limit(limit))
    folders = {"": folder}
    for path, kind, length, executable, goal in _acceptable(archive, limit):
        above, _, name = path.rpartition("/")
        place = folders[above] / name
        if kind == _FOLDER:
            place.mkdir(mode=0o700)
            folders[path] = place
        elif kind == _LINK:
            place.symlink_to(goal)
        else:
            _write(place, archive.read(length), executable)
    if archive.digest != digest:
        raise Unacceptable("its SHA-256 does not match")
    for place in folders.values():
        place.chmod(0o755)  # what a run sees of it is its own to change


def inspect(pieces: Iterable[bytes], digest: str, limit: int) -> int:
    """Read an archive as `unpack` does, and write nothing; return how many entries it has.

    Raises:
        TooLarge, Unacceptable: as `unpack`.
    """
    archive, count = _Archive(pieces, archive_limit(limit)), 0
    for _, _, length, _, _ in _acceptable(archive, limit):
        count += 1
        for _ in archive.read(length):
            pass
    if archive.digest != digest:
        raise Unacceptable("its SHA-256 does not match")
    return count


class _Archive:
    """The bytes of an archive, hashed as they are read."""

    def __init__(self, pieces: Iterable[bytes], limit: int) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")
        self._more = limit
        self._sha = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()

    def read(self, size: int) -> Iterator[memoryview]:
        """Yield exactly so many bytes, and skip the padding after them."""
        for wanted, is_content in ((size, True), (-size % BLOCK, False)):
            while wanted:
                self._fill()
                part, self._left = self._left[:wanted], self._left[wanted:]
                wanted -= len(part)
                if is_content:
                    yield part
                elif any(part):
                    raise Unacceptable("it has data between its files")

    def block(self, size: int = BLOCK) -> bytes:
        return b"".join(self.read(size))

    def end(self) -> None:
        """Refuse anything that follows."""
        if self._left or any(self._pieces):
            raise Unacceptable("it has data after its end")

    def _fill(self) -> None:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                raise Unacceptable("it ends too early")
            self._more -= len(piece)
            if self._more < 0:
                raise TooLarge
            self._sha.update(piece)
            self._left = memoryview(piece)


def _acceptable(archive: _Archive, limit: int) -> Iterator[tuple[str, bytes, int, bool, str]]:
    """Yield what `_members` does, each folder before what is in it; refuse what is too much, or leads outside."""
    folders, seen = {""}, set[str]()
    size = 0
    for count, (path, kind, length, executable, goal) in enumerate(_members(archive), 1):
        size += length
        if count > ENTRIES_LIMIT or size > limit:
            raise TooLarge
        above, _, name = path.rpartition("/")
        if name in ("", ".", "..") or above not in folders:
            raise Unacceptable("it has a path that leads outside")
        if path in seen:
            raise Unacceptable("it has a path twice")
        seen.add(path)
        if kind == _FOLDER:
            folders.add(path)
        elif kind == _LINK and not leads_inside(path, goal):
            raise Unacceptable("it has a link that leads outside")
        yield path, kind, length, executable, goal
    archive.end()


def _members(archive: _Archive) -> Iterator[tuple[str, bytes, int, bool, str]]:
    """Yield path, kind, size, whether it is executable, and a link's goal; the caller reads a file's content next."""
    long: dict[bytes, bytes] = {}
    while any(head := archive.block()):
        kind, length = head[156:157], _number(head[124:136])
        if head[257:265] != b"ustar  \0" or _number(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * 32:
            raise Unacceptable("it is not a sealrun archive")
        if kind in (_LONG_PATH, _LONG_GOAL):
            if not 0 < length <= PATH_LIMIT + 2 or kind in long:
                raise Unacceptable("it has a path that is too long")
            long[kind] = archive.block(length).removesuffix(b"\0")
            continue
        if kind not in (_FILE, _LINK, _FOLDER) or (length and kind != _FILE):
            raise Unacceptable("it has something other than files, folders and links")
        path = _text(long.pop(_LONG_PATH, head[:100].rstrip(b"\0")))
        goal = _text(long.pop(_LONG_GOAL, head[157:257].rstrip(b"\0")))
        if long or len(path.encode()) > PATH_LIMIT + 1:
            raise Unacceptable("it has a path that is too long")
        executable = bool(_number(head[100:108]) & 0o100)
        yield path.removesuffix("/") if kind == _FOLDER else path, kind, length, executable, goal
    if any(archive.block()):
        raise Unacceptable("it ends too early")


def _write(place: Path, content: Iterable[memoryview], executable: bool) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb", buffering=0) as file:
        for piece in content:
            while piece:
                piece = piece[file.write(piece) :]
        os.fchmod(handle, 0o755 if executable else 0o644)


def _number(field: bytes) -> int:
    digits = field.rstrip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise Unacceptable("it is not a sealrun archive")
    return int(digits, 8)


def _text(name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Unacceptable("it has a path that is not text")
    return text
