"""Where an attempt's output waits for the database: bounded, on disk, in a file without a name.

The kernel removes such a file with the last process that has it, however that ends, so that none is left to sweep. Its
bytes are masked: they come from a supervisor.
"""

import os
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from executor.schemas.output import PIECE

SPOOL = 64 << 20
"""Bytes that wait at most."""

BATCH = 1 << 20
"""Bytes that are stored together: some milliseconds for whoever waits for the database meanwhile."""

_ROOM = 1 << 20  # bytes beyond the limit, for the frame that reaches it
_ENTRIES = 1 << 16  # so many things wait at most, however small they are


@dataclass
class Entry:
    """Something that waits: bytes of one kind, with nothing of another in between, or a thing that is no bytes.

    The bytes lie at `place` of the file or, where it could not be written, in `data`.
    """

    kind: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    thing: object = None
    place: int | None = None
    size: int = 0
    data: bytes = b""

    def goes_on(self, kind: str, place: int | None, size: int) -> bool:
        """Whether so many bytes more, there in the file, belong to this one."""
        follows = self.place is not None and self.place + self.size == place
        return follows and self.kind == kind and self.size + size <= PIECE


class Spool:
    """A queue for two threads: one puts, one takes. Whoever puts asks first whether it is `full`."""

    def __init__(self, folder: Path, limit: int = SPOOL) -> None:
        self.changed = threading.Condition()
        """Held for whatever is looked at and waited for."""
        self.full = False
        """Nothing more should be put until half of it is free again."""
        self._folder, self._limit = folder, limit
        self._size = limit + _ROOM
        self._file: IO[bytes] | None = None
        self._entries: deque[Entry] = deque()
        self._head = 0  # where the next byte goes, counted without end
        self._used = 0  # bytes that wait, those that are being taken among them

    @property
    def waiting(self) -> int:
        """Bytes that wait."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, kind: str, data: bytes) -> None:
        """Add bytes, to the last entry if they go on with it."""
        if self._used + len(data) > self._size:
            self._keep_in_memory(kind, data)
            return
        while data:
            place = self._head % self._size
            part = data[: min(self._size - place, PIECE)]  # the file is a ring
            try:
                self._write(part, place)
            except OSError:  # its disk is full: what is here waits in memory, and nothing more is taken until it went
                self._keep_in_memory(kind, data)
                return
            with self.changed:
                self._add(kind, place, len(part))
                self._head += len(part)
            data = data[len(part) :]

    def add(self, kind: str, thing: object) -> None:
        """Add what is no bytes."""
        with self.changed:
            self._append(Entry(kind, thing=thing))
            self._look()

    def take(self, most: int) -> list[Entry]:
        """What has waited longest, of up to so many bytes, or one entry; with its bytes in `data`."""
        with self.changed:
            taken: list[Entry] = []
            size = 0
            while self._entries and (not taken or size + self._entries[0].size <= most):
                taken.append(self._entries.popleft())
                size += taken[-1].size
        for entry in taken:
            if entry.place is not None and self._file is not None:
                entry.data = os.pread(self._file.fileno(), entry.size, entry.place)
        return taken

    def release(self, taken: list[Entry]) -> None:
        """What was taken is stored: its room is free."""
        with self.changed:
            self._used -= sum(entry.size for entry in taken)
            self._look()

    def holds(self, kind: str) -> bool:
        """Whether something of a kind waits."""
        return any(entry.kind == kind for entry in self._entries)

    def close(self) -> None:
        """Nothing is put or taken any more."""
        if self._file is not None:
            self._file.close()

    def _write(self, data: bytes, place: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # `close` closes it
        done = 0
        while done < len(data):
            done += os.pwrite(self._file.fileno(), data[done:], place + done)

    def _add(self, kind: str, place: int | None, size: int, data: bytes = b"") -> None:
        last = self._entries[-1] if self._entries else None
        if last is not None and last.goes_on(kind, place, size):
            last.size += size
        else:
            self._append(Entry(kind, place=place, size=size, data=data))
        self._used += size
        if self._used - size < BATCH <= self._used:
            self.changed.notify_all()
        self._look()

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) == 1:
            self.changed.notify_all()

    def _keep_in_memory(self, kind: str, data: bytes) -> None:
        with self.changed:
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                self._add(kind, None, len(piece), piece)
            self.full = True

    def _look(self) -> None:
        if self._used >= self._limit or len(self._entries) >= _ENTRIES:
            self.full = True
        elif self.full and self._used <= self._limit // 2 and len(self._entries) <= _ENTRIES // 2:
            self.full = any(entry.place is None and entry.size for entry in self._entries)
            self.changed.notify_all()
