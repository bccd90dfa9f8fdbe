"""What a run leaves: its masked output, piece by piece, and files."""

import re
from dataclasses import dataclass
from datetime import datetime

from executor.errors import RequestUnclear

STREAMS = ("stdout", "stderr", "setup")

PIECE = 256 << 10
"""Bytes that a piece has at most."""


@dataclass(frozen=True)
class Piece:
    """Bytes of one of `STREAMS`, masked already."""

    sequence: int
    stream: str
    at: datetime
    data: bytes


@dataclass(frozen=True, order=True)
class Place:
    """How far a reader has come; as text `ATTEMPT:SEQUENCE`."""

    attempt: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read `ATTEMPT:SEQUENCE`, as in 1:53.

        Raises:
            RequestUnclear: it is none.
        """
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
        if found is None:
            raise RequestUnclear(
                '"{place}" is no place in a run\'s output',
                place=text,
                hint="a place is ATTEMPT:SEQUENCE, as in 1:53: what `runs logs` says when it is left, and --json shows",
            )
        return cls(int(found[1]), int(found[2]))


BEGINNING = Place()


@dataclass(frozen=True)
class StoredPiece(Piece):
    """A piece as it is read: with the attempt that wrote it."""

    attempt: int

    @property
    def place(self) -> Place:
        """Where a reader is who has read it."""
        return Place(self.attempt, self.sequence)


@dataclass(frozen=True)
class OutputFile:
    """A file that was left, or the reason why one was withheld. `size` in bytes."""

    path: str
    size: int | None
    withheld: str | None
