"""Statements that the driver itself executes: all of a transaction or nothing, with SQLAlchemy's types and errors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import bindparam, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import select as select_models

from secretstore.database import Database, clock, table_of, utc_now
from secretstore.errors import DatabaseUnavailable
from secretstore.models import Project
from tests.processes import eventually

PROJECT = table_of(Project)
NAMED = select(PROJECT.c.name, PROJECT.c.created_at, PROJECT.c.max_running).where(
    PROJECT.c.name == bindparam("of_name")
)
RENAMED = update(PROJECT).where(PROJECT.c.name == bindparam("of_name")).returning(PROJECT.c.name.label("now"))
INSERTED = insert(PROJECT)
AT = datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=UTC)


def row(name: str, **fields: object) -> dict[str, Any]:
    model = Project(name=name, network="full", sandbox_min="process", max_running=None, created_by="ada", created_at=AT)
    return model.model_dump() | fields


def names(db: Database) -> list[str]:
    with db.reading() as session:
        return list(session.exec(select_models(Project.name).order_by(Project.name)))


def gone(db: Database, pid: int) -> bool:
    with db.reading() as session:
        there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
        return session.connection().execute(there, {"pid": pid}).scalar_one() == 0


def test_all_or_nothing(db: Database) -> None:
    """It is kept at its end; undone whole by an exception, which passes through, and where it is to be undone."""
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("one"))
        transaction.execute(INSERTED, [row("two"), row("three")])
    with pytest.raises(ZeroDivisionError), db.acting() as transaction:
        transaction.execute(INSERTED, row("four"))
        raise ZeroDivisionError
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("five"))
        transaction.undo()
    assert names(db) == ["one", "three", "two"]


def test_what_the_database_refuses_is_told_whenever_it_is_told(db: Database) -> None:
    """Of a statement that was only sent the refusal comes with a later answer, or at the end; nothing is kept."""
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("one"))
    with pytest.raises(IntegrityError) as refused, db.acting() as transaction:
        transaction.execute(INSERTED, row("two"))
        transaction.execute(INSERTED, row("one", created_by="a-word-of-the-row"))
        transaction.execute(NAMED, {"of_name": "two"}).first()
    assert "a-word-of-the-row" not in str(refused.value)
    with pytest.raises(IntegrityError), db.acting() as transaction:
        transaction.execute(INSERTED, row("two"))
        transaction.execute(INSERTED, row("one"))
    assert names(db) == ["one"]
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("two"))
    assert names(db) == ["one", "two"]


def test_values_are_what_they_are_to_sqlalchemy(db: Database) -> None:
    """Times, numbers and NULL come back as a Session's would, by the columns' names, from either way of reading."""
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("one", max_running=3))
        found = transaction.execute(NAMED, {"of_name": "one"}).first()
        assert (found.name, found.created_at, found.max_running) == ("one", AT, 3)
        assert transaction.execute(NAMED, {"of_name": "none"}).first() is None
    with db.looking() as transaction:
        assert [tuple(each) for each in transaction.execute(NAMED, {"of_name": "one"})] == [("one", AT, 3)]
        (now,) = transaction.execute(select(clock(db.dialect, "now").label("now")), {"now": db.from_now()}).first()
    assert abs(now - utc_now()) < timedelta(minutes=1)
    with db.reading() as session:
        assert session.exec(select_models(Project)).one().created_at == AT


def test_an_answer_need_not_be_looked_at(db: Database) -> None:
    """A statement that returns rows is committed although nobody reads them."""
    with db.acting() as transaction:
        transaction.execute(INSERTED, row("one"))
        transaction.execute(RENAMED, {"of_name": "one", "name": "two"})
    assert names(db) == ["two"]


def test_a_statement_is_compiled_once(db: Database) -> None:
    """For each set of names that is bound to it; whoever listens to the engine hears of all that are executed."""
    heard: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda _, __, statement, *___: heard.append(statement))
    for name in ("one", "two", "three"):
        with db.looking() as transaction:
            transaction.execute(NAMED, {"of_name": name}).all()
    assert db.statements.count == 1
    assert len(heard) == 3


def test_what_needs_more_than_its_text_is_refused(db: Database) -> None:
    """A list to be IN, and what is bound to nothing, would reach the driver as something else."""
    listed = select(PROJECT.c.name).where(PROJECT.c.name.in_(bindparam("names", expanding=True)))
    for statement, bound in ((listed, {"names": ["one"]}), (NAMED, {})):
        with pytest.raises(NotImplementedError), db.looking() as transaction:
            transaction.execute(statement, bound)


def test_a_connection_that_breaks_is_not_used_again(db: Database) -> None:
    """PostgreSQL: it is said that the database is away, in the middle of a transaction too; the next one is fresh."""
    if db.dialect == "sqlite":
        pytest.skip("a file has no connection to break")
    ended = text("SELECT pg_terminate_backend(:pid)")
    mine = select(text("pg_backend_pid() AS pid"))
    for opened in (db.acting, db.looking):
        with pytest.raises(DatabaseUnavailable), opened() as transaction:
            with transaction._connection.cursor() as cursor:  # whose connection it is, SQLAlchemy's types do not tell
                pid = cursor.execute(str(mine)).fetchone()[0]
            with db.writing() as session:
                session.connection().execute(ended, {"pid": pid})
            eventually(lambda: gone(db, pid), 10, "its server ends")  # noqa: B023  # called here
            transaction.execute(NAMED, {"of_name": "one"}).first()
        with db.acting() as transaction:
            transaction.execute(NAMED, {"of_name": "one"}).first()
