"""From an attempt's spool to the database: in order, in a thread of its own, behind whatever else wants to write."""

import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from executor.runs import Lease, StaleToken, output
from executor.runs.follower import is_followed
from executor.schemas.output import STREAMS, Piece
from executor.worker.equipment import Equipment
from executor.worker.spool import BATCH, Entry, Spool
from executor.worker.starts import GIVE_WAY
from secretstore.errors import DatabaseUnavailable, DatabaseUnwritable

FILE, FILE_BEGINS, FILE_DATA, NUMBER = "file", "file begins", "file data", "number"
"""Kinds of entries, beside the streams."""

_LISTEN = 0.02  # seconds of silence after which what waits is stored
_AGE = 0.1  # seconds it may wait for company
_SHORT = 1.0  # seconds of a run nobody follows after which its output is not kept for its end any more
_ASK = 0.1  # seconds before it is asked whether somebody follows it by now, and twice as many each time after that
_AGAIN = 0.5  # seconds between two tries at a database that takes nothing


class Storer:
    """Stores what waits, until it is told to end; what fails is said to whoever asks, and the rest is passed over."""

    def __init__(
        self, worker: Equipment, lease: Lease, spool: Spool, after: int, *, leave: bool, followed: bool = True
    ) -> None:
        """Nothing is stored yet.

        Args:
            worker: what the worker brings.
            lease: of the attempt.
            spool: where it waits.
            after: the number of the last piece of output that the attempt has already.
            leave: whether the last of it is left to whoever commits the outcome.
            followed: whether somebody reads it as it comes.
        """
        self.stored = after
        """The number of the last piece of output that is stored."""
        self.waits: str | None = None
        """Why nothing can be stored at the moment."""
        self.unkept: str | None = None
        """Why some of the output never was: it was waited for long enough."""
        self.failed: Exception | None = None
        """What ended the storing: the token is stale, or something that nobody foresaw."""
        self._worker, self._lease, self._spool, self._leave = worker, lease, spool, leave
        self._short_until = time.monotonic() + _SHORT if leave and not followed else 0.0
        self._ask_after = _ASK
        self._file: tuple[str, int] | None = None  # the output file that is coming, and its next piece
        self._ending = self._abandoned = self._over = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Something waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sealrun-store", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Nothing more comes."""
        with self._spool.changed:
            self._ending = True
            self._spool.changed.notify_all()

    def ended(self, timeout: float) -> bool:
        """Whether all is stored that is not left, within so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def abandon(self) -> None:
        """Store no more; what waits is nobody's."""
        self._abandoned = True
        self.end()
        if self._thread is None or self._over:
            self._spool.close()

    def rest(self) -> list[SQLModel]:
        """What was left, as rows."""
        pieces, rows = self._sorted(self._spool.take(BATCH)) if self.unkept is None else ([], [])
        self._spool.close()
        return [*output.rows(self._lease, pieces), *rows]

    def _work(self) -> None:
        try:
            while self._more():
                if self._spool.waiting >= BATCH:
                    self._worker.starts.let_go_first(GIVE_WAY)
                taken = self._spool.take(BATCH)
                began = time.monotonic()
                pieces, rows = self._sorted(taken)
                self._insist(pieces, rows)
                self._spool.release(taken)
                # As long as it took, the database is free for others, who may be in other processes.
                self._pause(time.monotonic() - began)
        except Exception as problem:  # noqa: BLE001  # raised in the thread that follows the run
            self.failed = problem
        finally:
            self._over = True
            if self._abandoned:
                self._spool.close()

    def _more(self) -> bool:
        """Wait until something is to be stored; False where nothing is any more."""
        self._gather()
        while self._keeps():
            pass
        spool = self._spool
        with spool.changed:
            if self._abandoned or not len(spool):
                return False
            left = self._ending and self._leave and spool.waiting <= BATCH
            return not left or spool.holds(FILE) or spool.holds(FILE_DATA)

    def _gather(self) -> None:
        """Until something waits, and a moment longer, as more of it may come."""
        spool = self._spool
        with spool.changed:
            spool.changed.wait_for(lambda: len(spool) or self._ending)
            first, seen = time.monotonic(), -1
            while not self._ending and seen != spool.waiting < BATCH and time.monotonic() - first < _AGE:
                seen = spool.waiting
                spool.changed.wait(_LISTEN)

    def _keeps(self) -> bool:
        """Wait with what a run printed that may soon be over: it is then committed with the outcome.

        Not for one that somebody follows; whether somebody has begun to is asked, ever more rarely.
        """
        left, spool = self._short_until - time.monotonic(), self._spool
        if left <= 0:
            return False
        with spool.changed:
            wait = min(self._ask_after, left)
            if spool.changed.wait_for(lambda: self._ending or spool.waiting >= BATCH, wait):
                return False
        self._ask_after *= 2
        try:
            followed = is_followed(self._worker.db, self._lease.run_id)
        except DatabaseUnavailable:
            followed = True  # what is to be done about that is done where it is stored
        if followed:
            self._short_until = 0.0
        return not followed

    def _sorted(self, taken: Sequence[Entry]) -> tuple[list[Piece], list[SQLModel]]:
        """Entries as pieces of output, which are numbered, and as rows."""
        pieces: list[Piece] = []
        rows: list[SQLModel] = []
        for entry in taken:
            if entry.kind in STREAMS:
                self.stored += 1
                pieces.append(Piece(self.stored, entry.kind, entry.at, entry.data))
            elif entry.kind == FILE_DATA:
                assert self._file is not None
                path, sequence = self._file
                self._file = (path, sequence + 1)
                rows.append(output.file_piece(self._lease, path, sequence, entry.data))
            elif entry.kind == FILE_BEGINS:
                self._file = (str(entry.thing), 0)
            else:
                assert isinstance(entry.thing, SQLModel)
                rows.append(entry.thing)
        return pieces, rows

    def _insist(self, pieces: Sequence[Piece], rows: Sequence[SQLModel]) -> None:
        """Write, and wait for a database that takes nothing; without end it is not waited for.

        Raises:
            StaleToken: the attempt is no longer this worker's to write about.
        """
        began, failed = time.monotonic(), False
        while self.unkept is None:
            try:
                output.append(self._worker.db, self._lease, pieces, rows)
            except DatabaseUnavailable as problem:
                failed = True
                self._wait_for(problem, time.monotonic() - began)
            except IntegrityError:
                if not failed:
                    raise
                break  # the commit whose answer was lost had been made
            else:
                break
        self.waits = None

    def _wait_for(self, problem: DatabaseUnavailable, seconds: float) -> None:
        self._worker.storage.failed(problem)
        self.waits = str(problem)
        # Where it can be read, the lease may be good meanwhile, and nothing else would ever end the run.
        if isinstance(problem, DatabaseUnwritable) and seconds > self._lease.seconds:
            self.unkept = str(problem)
        elif seconds > 2 * self._lease.seconds:
            raise StaleToken
        else:
            self._pause(_AGAIN)

    def _pause(self, seconds: float) -> None:
        """Rest, unless nobody wants what waits."""
        with self._spool.changed:
            self._spool.changed.wait_for(lambda: self._abandoned, seconds)
        if self._abandoned:
            raise StaleToken
