"""What goes into the operations on runs that were accepted, and what comes out beside a view of the run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from executor.schemas.order import Narrowed
from executor.schemas.output import BEGINNING, OutputFile, Place, StoredPiece
from executor.schemas.places import Input

_ARGUMENTS = ("argv", "text", "values", "positional")
_OPTIONS = {"secrets", "variables", "narrowed", "timeout", "queue_timeout", "retries", "retry_on", "output_limit"}


class ThatRun(Input):
    """One run: by its id, the beginning of one, or `@last`; of a project, where one is named."""

    run: str
    project: str | None = None


class ThatAttempt(ThatRun):
    """A run with one attempt of it, else with the one that counts."""

    attempt: int | None = None


class Again(ThatRun):
    """A run that is over, once more: what is given here is other than it was. Times in seconds.

    `argv` are words for a file, module or command; of a function or notebook `text` and `values` are all of the
    arguments by name, as text and as JSON, and `positional` those by position.
    """

    model_config = ConfigDict(strict=True)
    json_fields: ClassVar[frozenset[str]] = frozenset({"argv", "text", "values", "positional"})

    argv: Sequence[str] | None = None
    text: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None
    positional: Sequence[Any] | None = None
    secrets: Sequence[str] | None = None
    variables: Mapping[str, str] = {}
    narrowed: Narrowed = Field(default_factory=Narrowed)
    timeout: float | None = None
    queue_timeout: float | None = None
    retries: int = 0
    retry_on: Sequence[str] | None = None
    output_limit: Literal["end", "drop"] = "end"
    idempotency_key: str | None = None
    followed: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What is given of an order's fields, beside those that are each run's own."""
        return {name: getattr(self, name) for name in self.model_fields_set & _OPTIONS}

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given of its target's arguments."""
        return {name: getattr(self, name) for name in _ARGUMENTS if getattr(self, name) is not None}


class ThoseRuns(Input):
    """Runs of a project, else of all; in one state, else in any. At most so many, the latest first.

    With `before` they are older than that run: what comes behind a page that ended with it.
    """

    model_config = ConfigDict(strict=True)

    project: str | None = None
    state: str | None = None
    limit: int = 20
    before: str | None = None


class OutputOf(ThatAttempt):
    """Output of a run behind a place: of some of its streams, else of all; of one attempt, else of all."""

    after: Place = BEGINNING
    streams: Collection[str] | None = None


class FileOf(ThatAttempt):
    """One of the files that an attempt left, by its path."""

    path: str


class Download(ThatAttempt):
    """The files that an attempt left, to be written below a folder."""

    folder: Path


@dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class OpenFile:
    """A file that a run left: its size in bytes, and its parts, read as they are taken."""

    size: int
    parts: Iterator[bytes]


@dataclass(frozen=True)
class Submitted:
    """An accepted run.

    `rung` is False where the broker could not be told; workers look for such runs themselves. `new` is False where the
    run was submitted before, under the same idempotency key. `started` says that a worker was started for it.
    """

    run_id: str
    rung: bool
    new: bool = True
    started: bool = False


@dataclass(frozen=True)
class Look:
    """A run's state, its new output, and where to go on from; `away` where the database could not be asked.

    `retried` is how often it has been tried again, `held_up` why its output waits at its worker, if it does, `lost_to`
    that its worker is gone, and what comes of it.
    """

    state: str
    pieces: Sequence[StoredPiece]
    place: Place
    away: bool = False
    retried: int = 0
    held_up: str | None = None
    lost_to: str | None = None


@dataclass(frozen=True)
class Cancelled:
    """What came of cancelling: it is `cancelled` already, or its worker was asked to end it."""

    run_id: str
    cancelled: bool


@dataclass(frozen=True)
class Downloaded:
    """The files that were written, those that were withheld, and those of the written that were masked."""

    run_id: str
    folder: Path
    written: tuple[Path, ...]
    withheld: tuple[OutputFile, ...]
    masked: tuple[OutputFile, ...] = ()
