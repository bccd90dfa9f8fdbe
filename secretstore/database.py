"""The database: where transactions begin and end, and whose clock decides."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Interval, func, literal, type_coerce
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import Session

from secretstore.engine import BUSY_SECONDS, WRITING, open_engine, shown
from secretstore.errors import DatabaseUnavailable, SecretStoreError
from secretstore.schema import current_revision, require_revision, upgrade
from secretstore.timestamps import UtcDateTime, utc_now

__all__ = ["HEAD", "Database", "UtcDateTime", "current", "migrate", "require_current", "upgrade", "utc_now"]

HEAD = "0001"
"""The revision this version of the package needs."""

_MIGRATIONS = Path(__file__).with_name("migrations")
_VERSION_TABLE = "secretstore_revision"

_WIPE_PATIENCE = 1000  # milliseconds

_SQLITE_FILE_ERRORS = (
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)
# Connection, authorization, no such database, no room, stopped:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_SERVER_STATES = ("08", "28", "3D", "53", "57P")


class Database:
    """SQLite or PostgreSQL. It connects at its first use, and threads may share it."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_engine(url)
        self.dialect: str = self.engine.dialect.name
        self.url_shown = shown(self.engine.url)
        self._writing_engine = self.engine.execution_options(**WRITING)

    def __repr__(self) -> str:
        return f"Database({self.url_shown!r})"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction whose changes, if it made any, are undone at its end.

        Raises:
            DatabaseUnavailable: there is no connection to be had, or when it breaks.
        """
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at the end, and undone by any exception.

        Raises:
            DatabaseUnavailable: there is no connection to be had, when it breaks, or when another writer keeps
                SQLite locked for longer than the busy timeout.
        """
        with self._session(self._writing_engine) as session:
            yield session
            session.commit()

    def now(self) -> ColumnElement[Any]:
        """The moment by the database's clock, for use in SQL.

        On PostgreSQL it is the clock when the statement runs and not when the transaction began; a SQLite
        database is on this machine, and so is its clock.
        """
        return self.after(0)

    def after(self, seconds: float) -> ColumnElement[Any]:
        """The moment so many seconds after `now`."""
        if self.dialect == "sqlite":
            return literal(utc_now() + timedelta(seconds=seconds), UtcDateTime())
        clock = func.clock_timestamp() + literal(timedelta(seconds=seconds), Interval())
        return type_coerce(clock, UtcDateTime())

    def wipe(self) -> None:
        """Clear SQLite's write-ahead log of what was destroyed, unless a reader still needs it.

        The database's own file is overwritten where something is deleted. PostgreSQL keeps what is deleted until it
        vacuums, which is its own affair.
        """
        if self.dialect != "sqlite":
            return
        with self.named_errors(), closing(self.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {_WIPE_PATIENCE}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
            cursor.close()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn the driver's connection errors, whose text is not ours, into ours."""
        try:
            yield
        except DatabaseError as problem:
            if named := self._named(problem):
                raise named from None
            raise

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        with self.named_errors(), Session(engine, expire_on_commit=False) as session:
            session.connection()  # a writer takes its turn here, before it reads anything
            yield session

    def _named(self, problem: DatabaseError) -> SecretStoreError | None:
        """Return our error for a database that cannot be had; None for what is wrong with a statement."""
        kind = getattr(problem.orig, "sqlite_errorname", "")
        if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return DatabaseUnavailable(
                "the database {url} stayed locked by another writer for {seconds} seconds",
                url=self.url_shown,
                seconds=BUSY_SECONDS,
                hint="look for a process that holds it open, such as a copy or a shell",
            )
        if kind.startswith(_SQLITE_FILE_ERRORS):
            hint = "check its file, its folder and the room on its disk"
            return DatabaseUnavailable(url=self.url_shown, hint=hint)
        if self.dialect == "postgresql" and isinstance(problem, OperationalError):
            state = getattr(problem.orig, "sqlstate", None)
            if state is None or state.startswith(_POSTGRESQL_SERVER_STATES):
                return DatabaseUnavailable(url=self.url_shown)
        return None


def migrate(db: Database) -> None:
    """Bring the secret store's tables to `HEAD`; several processes may do it at once.

    Raises:
        SchemaMismatch: a newer version has migrated it.
        DatabaseUnavailable: it cannot be reached.
    """
    with db.named_errors():
        upgrade(db.engine, _MIGRATIONS, _VERSION_TABLE)


def current(db: Database) -> str | None:
    """Return the revision the secret store's tables are at, None when there are none."""
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
