"""What a supervisor sends from the gate to the outcome: collected, and stored in the order in which it came."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlmodel import SQLModel

from executor.boundary.wire import Frame, Kind
from executor.models import Metric, Sample
from executor.runs import Lease, output
from executor.runs.masked import summed
from executor.runs.spec import Hit
from executor.schemas.receipts import SETUP
from executor.worker.equipment import Equipment
from executor.worker.installer_words import InstallerWords
from executor.worker.spool import SPOOL, Spool
from executor.worker.starts import GIVE_WAY
from executor.worker.storing import FILE, FILE_BEGINS, FILE_DATA, NUMBER, Storer

_SHARE = 1 << 16  # bytes that are taken before whatever is being started goes first
_SLOWED = "it prints faster than its output can be stored, and is slowed for it; nothing is lost"


class Collector:
    """Puts what comes into the attempt's spool, from which it is stored; what a function left it keeps itself."""

    leaves_the_last = True
    """Whether the end of the output is committed with the outcome."""

    def __init__(
        self, worker: Equipment, lease: Lease, after: int = 0, *, spool: int = SPOOL, followed: bool = True
    ) -> None:
        """Nothing has come yet.

        Args:
            worker: what the worker brings.
            lease: of the attempt.
            after: the number of the last piece of output that the attempt has already.
            spool: bytes that may wait for the database.
            followed: whether somebody reads it as it comes, so that none of it is kept for the outcome's commit.
        """
        self.left: dict[str, Any] = {}
        """What a function left: `result`, `note`, `problem`."""
        self.aliases: dict[str, str] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.masked: tuple[Hit, ...] = ()
        """What the masker has found, told before the outcome."""
        self._starts = worker.starts
        self._since = 0  # bytes taken since others were let go first
        self._lease = lease
        self._spool = Spool(worker.settings.workspaces, spool)
        self._storer = Storer(worker, lease, self._spool, after, leave=self.leaves_the_last, followed=followed)
        self._sequences = {"sample": 0, "metric": 0}
        self._slowed = False

    @property
    def output(self) -> int:
        """The number of the last piece of output that is stored."""
        return self._storer.stored

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more is to be taken."""
        return self._spool.full

    @property
    def held_up(self) -> str | None:
        """Why output waits, as long as more of it does than usual."""
        if self._storer.waits is not None:
            return f"{self._storer.waits}; the run's output waits"
        self._slowed = self._spool.full or (self._slowed and len(self._spool) > 0)
        return _SLOWED if self._slowed else None

    @property
    def unkept(self) -> str | None:
        """Why some of the output could not be kept."""
        return self._storer.unkept

    def check(self) -> None:
        """Go on, unless nothing can be stored any more.

        Raises:
            StaleToken: the attempt is no longer the worker's to write about.
        """
        if self._storer.failed is not None:
            raise self._storer.failed

    def wait_for_room(self, timeout: float) -> None:
        """Until something may be taken again, for at most so many seconds."""
        with self._spool.changed:
            self._spool.changed.wait_for(lambda: not self._spool.full, timeout)

    def give_way(self) -> None:
        """After each share of output let what is being started beside it go first."""
        if self._since >= _SHARE:
            self._since = 0
            self._starts.let_go_first(GIVE_WAY)

    def take(self, frame: Frame) -> None:
        """Take what has come."""
        match frame.kind:
            case Kind.STDOUT | Kind.STDERR:
                self._put(frame.kind.name.lower(), frame.payload)
            case Kind.SAMPLE:
                self._add_number(Sample, "sample", frame.json())
            case Kind.METRICS:
                for found in frame.json():
                    self._add_number(Metric, "metric", found)
            case Kind.STARTED:
                self._starts.over(self._lease.run_id)
                started = frame.json()
                self.aliases, self.connections = started["aliases"], started["connections"]
            case Kind.RESULT | Kind.PROBLEM:
                self.left |= frame.json()
            case Kind.OUTPUT | Kind.OUTPUT_WITHHELD:
                found = frame.json()
                told = (found.get("size"), found.get("why"), found.get("masked"), found.get("executable", False))
                self._add(FILE, output.file(self._lease, found["path"], *told))
            case Kind.OUTPUT_BEGINS:
                self._add(FILE_BEGINS, frame.json()["path"])
            case Kind.OUTPUT_DATA:
                self._put(FILE_DATA, frame.payload)
            case Kind.MASKED:
                self.masked = tuple(Hit(**found) for found in frame.json())

    def end(self) -> None:
        """Nothing more comes."""
        self._storer.end()

    def ended(self, timeout: float) -> bool:
        """Whether all is stored but what is left for the outcome, within so many seconds.

        Raises:
            StaleToken: it cannot be, and the attempt is no longer the worker's to write about.
        """
        ended = self._storer.ended(timeout)
        self.check()
        return ended

    def abandon(self) -> None:
        """Nobody wants it any more."""
        self._storer.abandon()

    def rest(self) -> list[SQLModel]:
        """What is left, as rows for whoever stores them: they are committed with the outcome."""
        return self._storer.rest()

    def _put(self, kind: str, data: bytes) -> None:
        self._since += len(data)
        self._spool.put(kind, data)
        self._storer.begin()

    def _add(self, kind: str, thing: SQLModel | str) -> None:
        self._spool.add(kind, thing)
        self._storer.begin()

    def _add_number(self, table: type[Sample] | type[Metric], of: str, found: dict[str, Any]) -> None:
        self._sequences[of] += 1
        this: dict[str, Any] = {
            "run_id": self._lease.run_id,
            "attempt": self._lease.attempt,
            "sequence": self._sequences[of],
        }
        self._add(NUMBER, table(**this, at=datetime.now(UTC), **found))


class SetupCollector(Collector):
    """The same for an installer: all it says is one stream, and what it leaves behind is no output of the run."""

    leaves_the_last = False

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
        elif frame.kind is Kind.MASKED:
            super().take(frame)
            self.masked = summed(replace(hit, stream=SETUP) for hit in self.masked)

    def end(self) -> None:
        """It says no more."""
        self._show(self.words.finish())
        super().end()

    def _show(self, words: bytes) -> None:
        if words:
            self._put(SETUP, words)
