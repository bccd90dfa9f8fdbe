"""The database: private files, honest errors, one clock, and threads that share it."""

import fcntl
import os
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Session, select, update

from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database, UtcDateTime, current, migrate, require_current
from secretstore.errors import DatabaseUnavailable, DatabaseUnwritable, SchemaMismatch
from secretstore.models import Project
from secretstore.pins import Pins
from tests.processes import eventually


def project(name: str, **fields: object) -> Project:
    values = {"network": "full", "sandbox_min": "process", "max_running": None, "created_by": "ada"}
    return Project(name=name, **(values | fields))


def names(db: Database) -> list[str]:
    with db.reading() as session:
        return list(session.exec(select(Project.name).order_by(Project.name)))


def test_writing_keeps_all_or_nothing(db: Database) -> None:
    """A writing transaction is kept at its end, and undone whole by an exception, which passes through."""
    with db.writing() as session:
        session.add(project("one"))
    with pytest.raises(ZeroDivisionError), db.writing() as session:
        session.add(project("two"))
        session.flush()
        _ = 1 / 0
    assert names(db) == ["one"]


def test_reading_keeps_nothing(db: Database) -> None:
    """What is changed in a reading transaction is undone."""
    with db.reading() as session:
        session.add(project("one"))
        session.flush()
    assert names(db) == []


def test_foreign_keys_and_unique_names_hold(shop: Database) -> None:
    """The database itself refuses a second project of a name and an environment without a project."""
    with pytest.raises(IntegrityError), shop.writing() as session:
        session.add(project("shop"))
    with pytest.raises(IntegrityError), shop.writing() as session:
        session.execute(text("UPDATE secretstore_environment SET project_id = 'nobody'"))


def test_i10_an_error_of_the_driver_hides_what_was_stored(db: Database) -> None:
    """I10: the text of a refused statement does not quote its parameters."""
    with pytest.raises(IntegrityError) as refusal, db.writing() as session:
        session.add(project("one", network="canary-1"))
        session.add(project("one", network="canary-2"))
    assert "canary" not in str(refusal.value)


def test_moments_are_utc_and_compare_as_time_does(db: Database) -> None:
    """A moment in another zone comes back in UTC, to the microsecond, and SQL sorts it by time."""
    east = timezone(timedelta(hours=9))
    moments = {
        "b": datetime(2026, 1, 1, 8, 59, 59, 999_999, east),
        "a": datetime(2025, 12, 31, 23, 59, 59, 0, UTC),
        "c": datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
    }
    with db.writing() as session:
        session.add_all(project(name, created_at=moment) for name, moment in moments.items())
    with db.reading() as session:
        found = session.exec(select(Project.name, Project.created_at).order_by(Project.created_at)).all()
    assert [name for name, _ in found] == ["a", "b", "c"]
    for name, moment in found:
        assert moment == moments[name]
        assert moment.utcoffset() == timedelta(0)


def test_a_moment_without_a_zone_is_refused(db: Database) -> None:
    """A naive datetime would mean another moment on another machine."""
    with pytest.raises(StatementError, match="without a time zone"), db.writing() as session:
        session.add(project("one", created_at=datetime(2026, 1, 1)))


def test_the_databases_clock_sets_and_compares(db: Database) -> None:
    """`now` and `after` work in SET and in WHERE, and move on within one transaction."""
    with db.writing() as session:
        session.add(project("one"))
        session.flush()
        session.execute(update(Project).values(created_at=db.after(60)))
        first = session.exec(select(Project.created_at).execution_options(populate_existing=True)).one()
        session.execute(update(Project).values(created_at=db.after(60)))
        second = session.exec(select(Project.created_at)).one()
    assert first < second < datetime.now(UTC) + timedelta(seconds=90)
    assert second > datetime.now(UTC) + timedelta(seconds=30)
    with db.reading() as session:
        for moment, later in ((db.now(), True), (db.after(30), True), (db.after(3600), False)):
            query = select(Project.name).where(Project.created_at > moment)
            assert bool(session.exec(query).first()) is later


def test_the_clock_is_not_the_transactions_start(db: Database) -> None:
    """Two readings of the clock in one transaction differ: a lease is counted from when it is written."""
    with db.writing() as session:
        moments = {session.exec(select(db.now())).one() for _ in range(5)}
    assert len(moments) == 5
    assert all(moment.tzinfo for moment in moments)


def test_sixty_four_threads_share_a_database(shop: Database, actor: Actor, pins: Pins) -> None:
    """Threads that write and read at once meet no error and lose nothing."""

    def work(number: int) -> None:
        vault.put(shop, "shop", "default", f"TOKEN_{number}", b"some value", actor=actor, pins=pins)
        vault.put(shop, "shop", "default", "SHARED", b"some value", actor=actor, pins=pins)
        vault.list_secrets(shop, "shop")

    with ThreadPoolExecutor(64) as threads:
        list(threads.map(work, range(64)))
    assert len(vault.list_secrets(shop, "shop")) == 65
    assert [view.version for view in vault.history(shop, "shop", "default", "SHARED")] == list(range(64, 54, -1))


def test_sqlite_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """The database, its write-ahead log and its lock are 0600, in a folder of 0700."""
    before = os.umask(0)
    try:
        db = Database(f"sqlite:///{tmp_path}/new/sealrun.db")
        migrate(db)
        with db.writing() as session:
            session.add(project("one"))
            session.flush()
            modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    finally:
        os.umask(before)
    assert {"sealrun.db", "sealrun.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_sqlite_is_set_up_for_durable_concurrent_writing(tmp_path: Path) -> None:
    """Every connection has the write-ahead log, full synchronisation, foreign keys and a busy timeout."""
    db = Database(f"sqlite:///{tmp_path}/sealrun.db")
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    with db.reading() as first, db.reading() as second:
        for session in (first, second):
            found = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in expected}
            assert found == expected


def test_the_first_connections_take_turns(tmp_path: Path) -> None:
    """Only one process at a time makes a new SQLite file ready; once it is, nobody waits."""
    db, ready = Database(f"sqlite:///{tmp_path}/sealrun.db"), Event()

    def connect() -> None:
        with db.reading():
            ready.set()

    with open(tmp_path / "sealrun.db.lock", "w") as lock, ThreadPoolExecutor(1) as thread:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = thread.submit(connect)
        assert not ready.wait(0.2)
        fcntl.flock(lock, fcntl.LOCK_UN)
        first.result(30)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Database(f"sqlite:///{tmp_path}/sealrun.db").reading() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_locked_sqlite_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that cannot get its turn says so, with a hint; a reader is not held up."""
    monkeypatch.setattr("secretstore.engine.BUSY_SECONDS", 0.05)
    db = Database(f"sqlite:///{tmp_path}/sealrun.db")
    migrate(db)
    other = sqlite3.connect(tmp_path / "sealrun.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable) as refusal, db.writing():
        pytest.fail("two writers at once")
    assert refusal.value.hint
    assert names(db) == []
    other.close()


def test_an_unreachable_server_is_said_without_the_password() -> None:
    """A closed port gives an error that names the database, masks the password, and quotes no driver."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"postgresql+psycopg://ada:hunter2-canary@127.0.0.1:{port}/shop?password=hunter3-canary"
    db = Database(url)
    for attempt in (db.reading, db.writing):
        with pytest.raises(DatabaseUnavailable) as refusal, attempt():
            pytest.fail("there is no server")
        assert str(refusal.value) == f"the database {db.url_shown} cannot be reached"
    for verb in (migrate, current, require_current):
        with pytest.raises(DatabaseUnavailable):
            verb(db)
    assert db.url_shown == f"postgresql+psycopg://ada:***@127.0.0.1:{port}/shop"
    assert "canary" not in repr(db) + str(refusal.value) + str(refusal.value.hint)
    assert refusal.value.__suppress_context__


def test_a_connection_that_the_server_has_ended_is_replaced(db: Database) -> None:
    """Right after its last use, too, when it is not asked whether it is alive."""
    if db.dialect != "postgresql":
        pytest.skip("SQLite has no server")
    mine = text("SELECT pg_backend_pid()")
    with db.reading() as session:
        ended = session.execute(mine).scalar_one()
    other = Database(str(db.engine.url.render_as_string(hide_password=False)))
    gone = text("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = :pid)")
    with other.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": ended})
        eventually(lambda: connection.execute(gone, {"pid": ended}).scalar_one(), 10, "the connection's server ends")
    other.close()
    with db.reading() as session:
        assert session.execute(mine).scalar_one() != ended


def test_an_unknown_database_of_a_server_is_said(postgres_url: str) -> None:
    """A server that answers and refuses is unreachable too, and not a traceback."""
    db = Database(postgres_url.replace("postgresql://", "postgresql+psycopg://") + "_not")
    with pytest.raises(DatabaseUnavailable), db.reading():
        pytest.fail("there is no such database")


@pytest.mark.parametrize("place", ["file/sealrun.db", "folder"])
def test_a_sqlite_file_that_cannot_be_is_said(tmp_path: Path, place: str) -> None:
    """A folder that is a file, or a file that is a folder, is an error that names the database."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    db = Database(f"sqlite:///{tmp_path}/{place}")
    with pytest.raises(DatabaseUnavailable, match=place), db.reading():
        pytest.fail("this is no place for a database")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    """Something else in the place of the SQLite file is named, and left as it is."""
    (tmp_path / "sealrun.db").write_bytes(b"something else entirely, of some length" * 100)
    with pytest.raises(DatabaseUnavailable), Database(f"sqlite:///{tmp_path}/sealrun.db").reading():
        pytest.fail("this is no database")


def test_an_unreadable_url_is_not_quoted() -> None:
    """A URL that cannot be parsed may still hold a password."""
    with pytest.raises(DatabaseUnavailable) as refusal:
        Database("hunter2-canary")
    assert "canary" not in str(refusal.value)


def test_a_broken_statement_is_not_called_unreachable(db: Database) -> None:
    """A mistake in our own SQL stays what it is."""
    with pytest.raises(Exception, match="secretstore_nowhere") as refusal, db.reading() as session:
        session.execute(text("SELECT * FROM secretstore_nowhere"))
    assert not isinstance(refusal.value, DatabaseUnavailable)


def test_an_old_or_a_newer_database_is_refused(empty_db: Database) -> None:
    """Before the migration the command is named; at a newer revision, an upgrade of the product is."""
    assert current(empty_db) is None
    with pytest.raises(SchemaMismatch) as refusal:
        require_current(empty_db)
    assert refusal.value.hint == "sealrun migrate"
    migrate(empty_db)
    require_current(empty_db)
    with empty_db.writing() as session:
        session.execute(text("UPDATE secretstore_revision SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer than this version's"):
        require_current(empty_db)


def test_the_session_is_sqlmodels(db: Database) -> None:
    """What others are given is a session with `exec`, whose objects outlive the commit."""
    with db.writing() as session:
        assert isinstance(session, Session)
        made = project("one")
        session.add(made)
    assert made.name == "one"


@pytest.mark.parametrize("microsecond", [0, 1, 999_999])
def test_a_moment_on_sqlite_has_a_fixed_width(microsecond: int) -> None:
    """Text of another width would not sort and compare as time does."""
    moment = datetime(2026, 1, 1, 0, 0, 0, microsecond, UTC)
    stored = UtcDateTime().process_bind_param(moment, sqlite_dialect.dialect())
    assert stored == f"2026-01-01T00:00:00.{microsecond:06d}+00:00"


def test_the_type_can_be_used_elsewhere() -> None:
    """`UtcDateTime` is cacheable, as SQLAlchemy wants of a type that is part of statements."""
    assert UtcDateTime.cache_ok is True


def test_a_database_that_takes_nothing_is_told_as_that(db: Database, tmp_path: Path) -> None:
    """Read-only on both, full on SQLite: what is to be done is not what is for one that cannot be reached."""
    with db.writing() as session:
        session.add(project("before"))
    sqlite = db.dialect == "sqlite"
    only_read = "PRAGMA query_only = 1" if sqlite else "SET TRANSACTION READ ONLY"
    asked = [only_read]

    @event.listens_for(db.engine, "begin")
    def _prepare(connection: Connection) -> None:
        connection.exec_driver_sql(asked[-1])

    with pytest.raises(DatabaseUnwritable, match="cannot be written: it is read-only"), db.writing() as session:
        session.add(project("after"))
    with db.reading():
        assert names(db) == ["before"]
    if sqlite:
        db.close()
        asked.append("PRAGMA max_page_count = 1")
        with pytest.raises(DatabaseUnwritable, match="its disk is full"), db.writing() as session:
            session.add_all(project(f"after-{number}") for number in range(5000))
