"""SQLAlchemy engines, set up so that many threads and processes can write without errors."""

import fcntl
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import Error as SqliteError
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InvalidatePoolError
from sqlalchemy.pool import QueuePool

from secretstore.errors import DatabaseUnavailable, LibraryMissing, installing
from secretstore.home import private_folder

BUSY_SECONDS = 30
"""How long a writer waits for SQLite's one write lock before it gives up."""

WRITING = {"sealrun_writing": True}
"""Execution options of an engine whose transactions write."""

# Transactions last milliseconds: 64 threads can share these, and more would exhaust a server's connections.
_KEPT, _AT_MOST = 8, 32

_SINCE = "sealrun_since"
_FRESH = 1.0  # seconds after its last use for which a server's connection is not asked whether it is alive


class Turns:
    """Who of one process writes next: what is large and can wait stands behind all else, one at a time.

    SQLite has one writer at a time, and no queue: whoever writes without a pause would keep the others out.
    """

    _LONGEST = 2.0  # seconds for which others may pass: what waits must come to its turn in the end

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._others = 0
        self._one = threading.Lock()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Write as soon as the database lets one."""
        with self._changed:
            self._others += 1
        try:
            yield
        finally:
            with self._changed:
                self._others -= 1
                if not self._others:
                    self._changed.notify_all()

    @contextmanager
    def last(self) -> Iterator[None]:
        """Write when nobody else of this process wants to."""
        with self._one:
            with self._changed:
                self._changed.wait_for(lambda: not self._others, self._LONGEST)
            yield


def open_engine(url: str) -> Engine:
    """Return an engine, which connects at its first use.

    Raises:
        DatabaseUnavailable: the URL cannot be read.
        LibraryMissing: the URL's driver is not installed.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # The original message may quote the URL, and with it a password.
        raise DatabaseUnavailable(url="of SEALRUN_DATABASE_URL", hint="it is not a database URL") from None
    try:
        return _sqlite(address) if address.get_backend_name() == "sqlite" else _postgresql(address)
    except ModuleNotFoundError:
        raise LibraryMissing(
            "the driver for {dialect} is not installed",
            dialect=address.get_backend_name(),
            hint=installing("postgres"),
        ) from None


def masked_url(url: URL) -> str:
    """Return a URL for the screen: the password masked, without the query, which may hold another."""
    return url.set(query={}).render_as_string(hide_password=True)


def _sqlite(address: URL) -> Engine:
    engine = create_engine(
        address,
        poolclass=QueuePool,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        **_pool(),
    )
    file = Path(address.database or "")

    @event.listens_for(engine, "do_connect")
    def _make_file(*_: Any) -> None:
        # Created here, since SQLite would let the umask decide; its -wal and -shm files copy the mode.
        try:
            private_folder(file.parent)
            # Only if there is none: closing a descriptor of a database that this process has open would drop
            # SQLite's locks on it (POSIX has them per process), and another process's last close would then delete
            # the write-ahead log under us. https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks
            with suppress(FileExistsError):
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as problem:
            why = (problem.strerror or "the file cannot be created").lower()
            raise DatabaseUnavailable(url=masked_url(address), hint=f"its file cannot be opened: {why}") from None

    @event.listens_for(engine, "connect")
    def _prepare(connection: SqliteConnection, _: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA synchronous = FULL")
            # Overwrite deleted rows, such as keys and versions, with zeros.
            cursor.execute("PRAGMA secure_delete = ON")
            if not _is_wal(cursor):
                # Changing the journal mode ignores the busy timeout, so processes take turns.
                with _locked(file):
                    # Before the first page is written, or not at all: pages that nothing uses can be given back then.
                    cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    cursor.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("sealrun_writing")
        begin(connection.connection.driver_connection, writes=bool(writes))

    return engine


def begin(connection: Any, *, writes: bool) -> None:
    """Begin a transaction of which the driver knows nothing.

    SQLite: a deferred transaction that reads and then writes fails at once with "database is locked", whatever the
    timeout; one that announces at its start that it writes waits for its turn. PostgreSQL: in a pipeline it is not
    waited for.
    """
    if not isinstance(connection, SqliteConnection):
        connection.execute("BEGIN", prepare=False)
        return
    try:
        connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    except SqliteError as problem:  # the driver's own: SQLAlchemy has no part in this
        raise DatabaseError("", None, problem) from None


@contextmanager
def by_hand(connection: Any) -> Iterator[Any]:
    """Have the driver begin no transaction by itself: psycopg would wait for it, in a pipeline too.

    SQLite's never does here. What is left of a transaction at the end is rolled back.
    """
    if isinstance(connection, SqliteConnection):
        yield connection
        return
    connection.autocommit = True  # nothing is sent
    try:
        yield connection
    finally:
        if not connection.closed:
            connection.rollback()
            connection.autocommit = False


def _postgresql(address: URL) -> Engine:
    wanted = {"connect_timeout": 10, "application_name": "sealrun", "keepalives_idle": 30}
    arguments = {name: value for name, value in wanted.items() if name not in address.query}
    engine = create_engine(address, connect_args=arguments, **_pool())
    dialect = engine.dialect

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # All statements are short. One on a table that has grown a moment ago may be thought to be long, and compiling
        # it takes a hundred times as long as executing it.
        connection.autocommit = True
        connection.execute("SET jit = off")
        connection.autocommit = False

    @event.listens_for(engine, "checkin")
    def _put_back(_: Any, record: Any) -> None:
        record.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _try(connection: Any, record: Any, _: Any) -> None:
        since = record.info.get(_SINCE)
        # To ask whether it is alive is another way to the server and back in every transaction. One that was used a
        # moment ago, and on which nothing has come since, as the end of its server's side would, is taken for alive.
        if since is None or (time.monotonic() - since < _FRESH and not _is_readable(connection)):
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            raise InvalidatePoolError from None  # the pool makes another

    return engine


def _is_readable(connection: Any) -> bool:
    look = select.poll()
    look.register(connection, select.POLLIN)
    return bool(look.poll(0))


def _pool() -> dict[str, Any]:
    return {
        "pool_size": _KEPT,
        "max_overflow": _AT_MOST - _KEPT,
        "pool_timeout": BUSY_SECONDS,
        # The one that was used last: its statements are prepared, and the others may be idle.
        "pool_use_lifo": True,
        # The driver's errors would otherwise quote the values.
        "hide_parameters": True,
    }


def _is_wal(cursor: Any) -> bool:
    return bool(cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",))


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
