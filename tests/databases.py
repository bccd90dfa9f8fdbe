"""Databases with all tables and no rows: migrated once in each test process, then nearly free for every test.

SQLite's file is copied; a PostgreSQL database is emptied after a test and lent to the next, since to make one and drop
it flushes the disk. The migrations are those of the code under test. Tests of migrations themselves start from an
empty database, which tests/conftest.py makes.
"""

import contextlib
import functools
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData

from secretstore.database import Database

Migrate = Callable[[Database], None]


@contextlib.contextmanager
def migrated(kind: str, folder: Path, server: Callable[[], str], migrate: Migrate) -> Iterator[str]:
    """The URL of a database for one test; `server` tells where PostgreSQL is, or skips."""
    if kind == "sqlite":
        yield f"sqlite:///{sqlite_file(folder / 'store' / 'sealrun.db', migrate)}"
        return
    kept = _kept.setdefault(migrate, [])
    lent = kept.pop() if kept else _Lent(server(), migrate)
    try:
        yield lent.url
    finally:
        if lent.is_emptied():
            kept.append(lent)
        else:
            lent.drop()


def sqlite_file(file: Path, migrate: Migrate) -> Path:
    """Put a migrated SQLite database in this place, for its owner alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(0o600)
    file.write_bytes(_migrated_file(migrate))
    return file


def drop_all() -> None:
    """At the end of a test process."""
    for kept in _kept.values():
        while kept:
            kept.pop().drop()


def driver(url: str) -> str:
    """A PostgreSQL server's URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextlib.contextmanager
def empty_postgres(server: str) -> Iterator[str]:
    """A database without tables, dropped at the end with whatever is still connected."""
    name = _create(server)
    try:
        yield f"{server.rsplit('/', 1)[0]}/{name}"
    finally:
        _drop(server, name)


@functools.cache
def _migrated_file(migrate: Migrate) -> bytes:
    with tempfile.TemporaryDirectory(prefix="sealrun-test-") as folder:
        db = Database(f"sqlite:///{folder}/sealrun.db")
        migrate(db)
        db.close()
        assert not Path(folder, "sealrun.db-wal").exists(), "the write-ahead log is not in the file"
        return Path(folder, "sealrun.db").read_bytes()


class _Lent:
    """A migrated PostgreSQL database that one test after another is lent."""

    def __init__(self, server: str, migrate: Migrate) -> None:
        psycopg = pytest.importorskip("psycopg")
        self._server, self._name = server, _create(server)
        place = f"{server.rsplit('/', 1)[0]}/{self._name}"
        self.url = driver(place)
        db = Database(self.url)
        try:
            migrate(db)
            tables = MetaData()
            tables.reflect(db.engine)
        finally:
            db.close()
        self._connection: Any = psycopg.connect(place, autocommit=True)
        # Rows before those that they refer to.
        names = [table.name for table in reversed(tables.sorted_tables)]
        self._revisions = [f'SELECT * FROM "{name}"' for name in names if name.endswith("_revision")]
        emptied = [name for name in names if not name.endswith("_revision")]
        self._delete = ";".join(f'DELETE FROM "{name}"' for name in emptied)
        for name in emptied:
            found = self._connection.execute(f'SELECT 1 FROM "{name}"').fetchone()
            assert found is None, f"a migration writes rows into {name}: empty is not what a test is to begin with"
        self._shape = self._look()

    def is_emptied(self) -> bool:
        """Delete all rows; False where a test has changed more than rows, or ended our connection too."""
        try:
            self._connection.execute(_END_OTHERS)
            while self._connection.execute(_OTHERS).fetchone() != (0,):
                pass  # ends within milliseconds
            self._connection.execute(self._delete)
            self._connection.execute("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
            return bool(self._look() == self._shape)
        except pytest.importorskip("psycopg").Error:
            return False

    def drop(self) -> None:
        self._connection.close()
        _drop(self._server, self._name)

    def _look(self) -> list[Any]:
        return [self._connection.execute(query).fetchall() for query in (*_SHAPE, *self._revisions)]


_kept: dict[Migrate, list[_Lent]] = {}

_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_END_OTHERS = _OTHERS.replace("count(*)", "pg_terminate_backend(pid)")
_OURS = "(SELECT oid FROM pg_namespace WHERE nspname = 'public')"
_SHAPE = (
    f"SELECT oid, relname, relkind FROM pg_class WHERE relnamespace = {_OURS} ORDER BY oid",
    "SELECT attrelid, attnum, attname, atttypid, atttypmod, attnotnull, atthasdef, attisdropped FROM pg_attribute"
    f" WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = {_OURS}) ORDER BY attrelid, attnum",
    f"SELECT oid, conname FROM pg_constraint WHERE connamespace = {_OURS} ORDER BY oid",
    "SELECT oid, tgname, tgenabled FROM pg_trigger ORDER BY oid",
    f"SELECT oid, proname FROM pg_proc WHERE pronamespace = {_OURS} ORDER BY oid",
    "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY nspname",
)
"""What a test may not have changed in a database that the next one is lent; a thing made anew has another number."""


def _create(server: str) -> str:
    psycopg = pytest.importorskip("psycopg")
    name = f"sealrun_test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return name


def _drop(server: str, name: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
