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
class MaskedIn:
    """A secret that was found in a file, in a form and so many times, and masked there.

    `part` is `content`, or `name`: the file's own. `offset` is the byte of the file, as it is given, where the first of
    these is masked; None in a name, and where the file was not masked byte for byte.
    """

    secret: str
    form: str
    count: int
    part: str = "content"
    offset: int | None = None

    def __str__(self) -> str:
        place = ", in its name" if self.part == "name" else ""
        place += f", at byte {self.offset:,}" if self.offset is not None else ""
        return f"{self.secret}, {self.form}{place}" + (f", {self.count:,} times" if self.count > 1 else "")


@dataclass(frozen=True)
class OutputFile:
    """A file that was left, or the reason why one was withheld. `size` in bytes.

    Of a file that was masked `masked` says what was, the first ones first, and `masked_more` how many more hits. It is
    `executable` where it was a program, and its run was asked to keep that.
    """

    path: str
    size: int | None
    withheld: str | None
    masked: tuple[MaskedIn, ...] = ()
    masked_more: int = 0
    executable: bool = False

    @property
    def masked_text(self) -> str | None:
        """What was masked in it, as a text; None where nothing was."""
        if not self.masked:
            return None
        return "; ".join(map(str, self.masked)) + (f"; and {self.masked_more:,} more" if self.masked_more else "")
