"""What a supervisor sends from the gate to the outcome: collected, and stored in the order in which it came."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from executor.boundary.wire import Frame, Kind
from executor.models import Metric, Sample
from executor.runs import Lease, StaleToken, output
from executor.schemas.output import Piece
from executor.schemas.receipts import SETUP
from executor.worker.equipment import Equipment
from executor.worker.installer_words import InstallerWords
from secretstore.errors import DatabaseUnavailable

_ROW_BYTES = 256 << 10
_FLUSH_BYTES = 1 << 20
_FLUSH_AGE = 0.1  # seconds a piece of output may wait for company before it is stored


@dataclass
class _Row:
    """Output that waits to be stored: of one stream, with nothing of another in between."""

    stream: str
    at: datetime
    data: bytearray = field(default_factory=bytearray)


class Collector:
    """Output and numbers wait a moment for company and are stored together; files are stored as they come."""

    def __init__(self, worker: Equipment, lease: Lease, after: int = 0) -> None:
        """Nothing has come yet; `after` is the number of the last piece of output that the attempt has already."""
        self.left: dict[str, Any] = {}
        """What a function left: `result`, `note`, `problem`."""
        self.aliases: dict[str, str] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self._worker = worker
        self._lease = lease
        self._rows: list[_Row] = []
        self._numbers: list[SQLModel] = []  # samples and metrics
        self._bytes = 0
        self._sequences = {"output": after, "sample": 0, "metric": 0}
        self._since = 0.0  # when the first of what waits came
        self._file: tuple[str, int] | None = None  # the output file that is coming, and its next piece

    @property
    def output(self) -> int:
        """The number of the last piece of output that is stored."""
        return self._sequences["output"]

    @property
    def waiting(self) -> bool:
        """Whether something waits to be stored."""
        return bool(self._rows or self._numbers)

    def take(self, frame: Frame) -> None:
        """Take what has come.

        Raises:
            StaleToken: it could not be stored, and the attempt is no longer this worker's to write about.
        """
        match frame.kind:
            case Kind.STDOUT | Kind.STDERR:
                self._add_output(frame.kind.name.lower(), frame.payload)
            case Kind.SAMPLE:
                self._add_number(Sample, "sample", frame.json())
            case Kind.METRICS:
                for found in frame.json():
                    self._add_number(Metric, "metric", found)
            case Kind.STARTED:
                started = frame.json()
                self.aliases, self.connections = started["aliases"], started["connections"]
            case Kind.RESULT | Kind.PROBLEM:
                self.left |= frame.json()
            case Kind.OUTPUT | Kind.OUTPUT_DATA | Kind.OUTPUT_WITHHELD:
                self._take_file(frame)

    def store_what_has_waited(self) -> None:
        """Store it if it has waited long enough for company."""
        if self.waiting and time.monotonic() - self._since > _FLUSH_AGE:
            self.store()

    def store(self) -> None:
        """Store all that waits.

        Raises:
            StaleToken: the attempt is no longer this worker's to write about.
        """
        if self.waiting:
            pieces, numbers = self._taken()
            self._insist(lambda: output.append(self._worker.db, self._lease, pieces, numbers))

    def rest(self) -> list[SQLModel]:
        """What waits, as rows for whoever stores them: they are committed with the outcome."""
        pieces, numbers = self._taken()
        return [*output.rows(self._lease, pieces), *numbers]

    def _add_output(self, stream: str, data: bytes) -> None:
        self._begin_to_wait()
        last = self._rows[-1] if self._rows else None
        if last is None or last.stream != stream or len(last.data) + len(data) > _ROW_BYTES:
            last = _Row(stream, datetime.now(UTC))
            self._rows.append(last)
        last.data += data
        self._bytes += len(data)
        if self._bytes >= _FLUSH_BYTES:
            self.store()

    def _add_number(self, table: type[Sample] | type[Metric], of: str, found: dict[str, Any]) -> None:
        self._begin_to_wait()
        self._sequences[of] += 1
        this: dict[str, Any] = {
            "run_id": self._lease.run_id,
            "attempt": self._lease.attempt,
            "sequence": self._sequences[of],
        }
        self._numbers.append(table(**this, at=datetime.now(UTC), **found))

    def _begin_to_wait(self) -> None:
        if not self.waiting:
            self._since = time.monotonic()

    def _take_file(self, frame: Frame) -> None:
        db, lease = self._worker.db, self._lease
        if frame.kind is Kind.OUTPUT:
            found = frame.json()
            self._file = (found["path"], 0)
            self._insist(lambda: output.begin_file(db, lease, found["path"], found["size"]))
        elif frame.kind is Kind.OUTPUT_WITHHELD:
            found = frame.json()
            self._insist(lambda: output.begin_file(db, lease, found["path"], None, found["why"]))
        elif self._file is not None:
            path, sequence = self._file
            self._file = (path, sequence + 1)
            self._insist(lambda: output.append_to_file(db, lease, path, sequence, frame.payload))

    def _taken(self) -> tuple[list[Piece], list[SQLModel]]:
        """What has waited; nothing waits any more."""
        first = self._sequences["output"] + 1
        pieces = [Piece(number, row.stream, row.at, bytes(row.data)) for number, row in enumerate(self._rows, first)]
        self._sequences["output"] += len(pieces)
        numbers = self._numbers
        self._rows, self._numbers, self._bytes = [], [], 0
        return pieces, numbers

    def _insist(self, write: Callable[[], object]) -> None:
        """Write, and wait for a database that is away; the supervisor's deadline goes on running meanwhile."""
        give_up = time.monotonic() + 2 * self._lease.seconds
        failed = False
        while True:
            try:
                write()
                return
            except DatabaseUnavailable:
                failed = True
                if time.monotonic() > give_up:
                    raise StaleToken from None
                self._worker.stopping.wait(0.5)
            except IntegrityError:
                if not failed:
                    raise
                return  # the commit whose answer was lost had been made


class SetupCollector(Collector):
    """The same for an installer: all it says is one stream, and what it leaves behind is no output of the run."""

    def __init__(self, worker: Equipment, lease: Lease, after: int) -> None:
        """Nothing has come yet; `after` is the number of the last piece of output that the attempt has already."""
        super().__init__(worker, lease, after)
        self.words = InstallerWords()

    def take(self, frame: Frame) -> None:
        """Take what has come."""
        if frame.kind in (Kind.STDOUT, Kind.STDERR):
            self._show(self.words.take(frame.payload))
        elif frame.kind is Kind.STARTED:
            super().take(frame)

    def finish(self) -> None:
        """It says no more: store all that waits.

        Raises:
            StaleToken: the attempt is no longer this worker's to write about.
        """
        self._show(self.words.finish())
        self.store()

    def _show(self, words: bytes) -> None:
        if words:
            self._add_output(SETUP, words)
