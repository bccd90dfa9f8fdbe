"""The database: where transactions begin and end, and whose clock decides."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Interval, Table, bindparam, func, literal, text, type_coerce
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import Session, SQLModel

from secretstore.engine import BUSY_SECONDS, WRITING, Turns, begin, by_hand, masked_url, open_engine
from secretstore.errors import DatabaseForbids, DatabaseUnavailable, DatabaseUnwritable, SecretStoreError
from secretstore.schema import current_revision, require_revision, upgrade
from secretstore.timestamps import UtcDateTime, utc_now
from secretstore.transaction import Statements, Transaction, pipelined

__all__ = [
    "HEAD", "Database", "UtcDateTime", "clock", "current", "migrate", "require_current", "table_of", "upgrade",
    "utc_now",
]  # fmt: skip

HEAD = "0001"
"""The revision this version of the package needs."""

_MIGRATIONS = Path(__file__).with_name("migrations")
_VERSION_TABLE = "secretstore_revision"

_WIPE_PATIENCE = 1000  # milliseconds
_PAGES = 500  # given back at a time, in some 20 ms: others may write in between

_SQLITE_FILE_ERRORS = (
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)
_SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
_SQLITE_READ_ONLY = (
    "SQLITE_READONLY",
    "SQLITE_READONLY_DIRECTORY",
    "SQLITE_READONLY_CANTINIT",
    "SQLITE_READONLY_RECOVERY",
)
_POSTGRESQL_FULL, _POSTGRESQL_READ_ONLY = "53100", "25006"
_POSTGRESQL_FORBIDDEN = "42501"
# Connection, authorization, no such database, no resources, stopped:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_SERVER_STATES = ("08", "28", "3D", "53", "57P")


class Database:
    """SQLite or PostgreSQL. It connects at its first use, and threads may share it."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_engine(url)
        self.dialect: str = self.engine.dialect.name
        self.url_shown = masked_url(self.engine.url)
        self._writing_engine = self.engine.execution_options(**WRITING)
        self._turns = Turns()
        self.statements = Statements(self.engine)
        """Those of `acting` and `looking`, compiled."""

    def __repr__(self) -> str:
        return f"Database({self.url_shown!r})"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that is rolled back at its end.

        Raises:
            DatabaseUnavailable: it cannot be reached, or the connection breaks.
        """
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self, *, last: bool = False) -> Iterator[Session]:
        """Open a transaction that is committed at its end, and rolled back by any exception.

        Args:
            last: it can wait, and stands behind whatever else this process wants to write.

        Raises:
            DatabaseUnwritable: its disk is full, or it is read-only.
            DatabaseUnavailable: it cannot be reached, the connection breaks, or another writer keeps SQLite locked for
                longer than the busy timeout.
        """
        turn = self._turns.last() if last else self._turns.at_once()
        with turn, self._session(self._writing_engine) as session:
            yield session
            session.commit()

    @contextmanager
    def acting(self, *, last: bool = False) -> Iterator[Transaction]:
        """Open the same as `writing` without a Session, for statements that are built once and often executed.

        Args:
            last: as of `writing`.

        Raises:
            DatabaseUnwritable, DatabaseUnavailable: as of `writing`.
        """
        turn = self._turns.last() if last else self._turns.at_once()
        with turn, self._driver() as connection:
            with pipelined(connection):
                begin(connection, writes=True)
                transaction = Transaction(connection, self.statements)
                yield transaction
                if not transaction.undone:
                    self.statements.commit(connection)
            if transaction.undone:
                connection.rollback()

    @contextmanager
    def looking(self) -> Iterator[Transaction]:
        """Open the same as `reading` without a Session. On PostgreSQL each statement is a transaction of its own.

        Raises:
            DatabaseUnavailable: as of `reading`.
        """
        with self._driver() as connection:
            if self.dialect == "sqlite":
                begin(connection, writes=False)
            yield Transaction(connection, self.statements)

    @contextmanager
    def _driver(self) -> Iterator[Any]:
        """A connection of the pool, as the driver has it; it is rolled back when it is given back."""
        with self.named_errors(), self.statements.errors():
            pooled = self.engine.raw_connection()
            try:
                with by_hand(pooled.driver_connection) as connection:
                    yield connection
            except BaseException as problem:
                if self.statements.broke(problem, pooled):
                    pooled.invalidate(problem)
                raise
            finally:
                pooled.close()

    def now(self) -> ColumnElement[Any]:
        """Return the time of the database's clock, for use in SQL.

        On PostgreSQL that is when the statement runs, not when the transaction began. SQLite has this machine's clock.
        """
        return self.after(0)

    def after(self, seconds: float) -> ColumnElement[Any]:
        """Return the time so many seconds after `now`."""
        if self.dialect == "sqlite":
            return literal(utc_now() + timedelta(seconds=seconds), UtcDateTime())
        moment = func.clock_timestamp() + literal(timedelta(seconds=seconds), Interval())
        return type_coerce(moment, UtcDateTime())

    def from_now(self, seconds: float = 0) -> datetime | timedelta:
        """Return what is bound to a `clock` so that it tells the time so many seconds from now."""
        return utc_now() + timedelta(seconds=seconds) if self.dialect == "sqlite" else timedelta(seconds=seconds)

    def wipe(self) -> None:
        """Clear SQLite's write-ahead log of deleted rows, unless a reader still needs it.

        SQLite overwrites deleted rows in its file by itself. PostgreSQL keeps them until it vacuums.

        Raises:
            DatabaseUnavailable: it cannot be reached, or nothing can be written.
        """
        if self.dialect != "sqlite":
            return
        with self.named_errors(), closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {_WIPE_PATIENCE}")
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as problem:  # the driver's own: SQLAlchemy has no part in this
                raise DatabaseError("", None, problem) from None
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
                cursor.close()

    def size(self) -> tuple[int, int]:
        """Return how many bytes the database has, and how many of them nothing uses, as far as it tells."""
        with self.reading() as session:
            if self.dialect != "sqlite":
                return int(session.execute(text("SELECT pg_database_size(current_database())")).scalar_one()), 0
            asked = ("page_count", "freelist_count", "page_size")
            pages, free, each = (int(session.execute(text(f"PRAGMA {one}")).scalar_one()) for one in asked)
            return pages * each, free * each

    def give_back(self) -> int:
        """Give back to the disk what nothing uses of a SQLite file, a part at a time; return how many bytes.

        PostgreSQL's tables keep their room for what comes next. So does a file that something else has made.

        Raises:
            DatabaseUnavailable: it cannot be reached, or nothing can be written.
        """
        if self.dialect != "sqlite":
            return 0
        before, free = self.size()
        while free:
            left = free
            with self._turns.last(), self.named_errors(), closing(self.engine.raw_connection()) as connection:
                try:
                    # `execute` would take a single step, which gives back one page.
                    connection.cursor().executescript(f"PRAGMA incremental_vacuum({_PAGES})")
                except sqlite3.Error as problem:
                    raise DatabaseError("", None, problem) from None
            _, free = self.size()
            if free >= left:
                break
        self.wipe()
        return max(before - self.size()[0], 0)

    def close(self) -> None:
        """Close idle connections."""
        self.engine.dispose()

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Replace the driver's connection errors by ours."""
        try:
            yield
        except DatabaseError as problem:
            if named := self._named(problem):
                raise named from None
            raise

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        with self.named_errors(), Session(engine, expire_on_commit=False) as session:
            session.connection()  # a writer waits for its turn here, before it reads anything
            yield session

    def _named(self, problem: DatabaseError) -> SecretStoreError | None:
        """Return our error for a database that cannot be reached; None if the statement is wrong."""
        kind = getattr(problem.orig, "sqlite_errorname", "")
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return DatabaseUnavailable(
                "the database {url} stayed locked by another writer for {seconds} seconds",
                url=self.url_shown,
                seconds=BUSY_SECONDS,
                hint="look for a process that keeps it locked, such as a backup or a shell",
            )
        if getattr(problem.orig, "sqlstate", None) == _POSTGRESQL_FORBIDDEN:
            told = getattr(problem.orig, "diag", None)  # it names the table, and no value
            return DatabaseForbids(url=self.url_shown, why=getattr(told, "message_primary", "permission denied"))
        if why := self._unwritable(kind, getattr(problem.orig, "sqlstate", None)):
            return DatabaseUnwritable(url=self.url_shown, why=why)
        if kind.startswith(_SQLITE_FILE_ERRORS):
            hint = "check its file, its folder and the free space on its disk"
            return DatabaseUnavailable(url=self.url_shown, hint=hint)
        if self.dialect == "postgresql" and isinstance(problem, OperationalError):
            state = getattr(problem.orig, "sqlstate", None)
            if state is None or state.startswith(_POSTGRESQL_SERVER_STATES):
                return DatabaseUnavailable(url=self.url_shown)
        return None

    def _unwritable(self, kind: str, state: str | None) -> str | None:
        """Why nothing can be written where much can still be read."""
        if kind in _SQLITE_FULL or state == _POSTGRESQL_FULL:
            return "its disk is full"
        file = Path(self.engine.url.database or "")
        # Without its log beside it, which cannot be made there, SQLite does not even open the file.
        closed = (
            kind == "SQLITE_CANTOPEN" and file.is_file() and not all(os.access(p, os.W_OK) for p in (file, file.parent))
        )
        if closed or kind in _SQLITE_READ_ONLY or state == _POSTGRESQL_READ_ONLY:
            return "it is read-only"
        return None


def clock(dialect: str, name: str) -> ColumnElement[Any]:
    """Return the time of the database's clock, as `Database.after` does, for a statement that is built once.

    How far from now it is, is bound to `name` each time it is executed: see `Database.from_now`.
    """
    if dialect == "sqlite":
        return bindparam(name, type_=UtcDateTime())
    return type_coerce(func.clock_timestamp() + bindparam(name, type_=Interval()), UtcDateTime())


def table_of(model: type[SQLModel]) -> Table:
    """Return the table of a model: a connection executes statements on it without the session's part in them."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel makes it
    return table


def migrate(db: Database) -> None:
    """Bring the secret store's tables to `HEAD`; several processes may do so at once.

    Raises:
        SchemaMismatch: a newer version has migrated it.
        DatabaseUnavailable: it cannot be reached.
    """
    with db.named_errors():
        upgrade(db.engine, _MIGRATIONS, _VERSION_TABLE)


def current(db: Database) -> str | None:
    """Return the revision of the secret store's tables, None if there are none."""
    with db.named_errors():
        return current_revision(db.engine, _VERSION_TABLE)


def require_current(db: Database) -> None:
    """Refuse a database that is not at `HEAD`.

    Raises:
        SchemaMismatch: it is older or newer.
        DatabaseUnavailable: it cannot be reached.
    """
    with db.named_errors():
        require_revision(db.engine, _VERSION_TABLE, HEAD)
