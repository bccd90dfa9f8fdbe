"""The executor's tables: made by its own migrations in the database both packages share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from executor import database, models
from executor.people import tables
from executor.settings import Settings, read_settings
from secretstore.database import Database
from secretstore.errors import DatabaseUnavailable, SchemaMismatch
from tests.executor.conftest import ROOT


def settings(home: Path, **more: str) -> Settings:
    return read_settings({"SEALRUN_HOME": str(home), **more})


def test_head_is_the_newest_migration() -> None:
    """The constant that start-up compares with is the folder's one head."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "executor" / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


def test_the_migrated_schema_is_the_models(db: Database) -> None:
    """Alembic finds nothing to change between the migrated tables and the models."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or (str(name).startswith("executor_") and name != "executor_revision")

    with db.engine.connect() as connection:
        opts = {"include_name": ours, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=opts)
        assert tables.Account.metadata is models.metadata
        assert compare_metadata(context, models.metadata) == []
        keys = {
            table: inspect(connection).get_pk_constraint(table)["constrained_columns"]
            for table in models.metadata.tables
        }
    assert keys == {name: [column.name for column in t.primary_key] for name, t in models.metadata.tables.items()}


def test_migrating_again_changes_nothing(db: Database) -> None:
    """A second run finds both histories at their heads."""
    before = database.current(db)
    database.migrate(db)
    assert database.current(db) == before == (database.store.HEAD, database.HEAD)
    database.require_current(db)


def test_the_embedded_database_is_made_without_being_asked(tmp_path: Path) -> None:
    """In a home that does not exist yet, for its owner alone."""
    home = tmp_path / "a" / "home"
    db = database.open_database(settings(home))
    try:
        assert database.current(db) == (database.store.HEAD, database.HEAD)
        assert home.stat().st_mode & 0o077 == 0
        assert (home / "sealrun.db").stat().st_mode & 0o077 == 0
    finally:
        db.close()
    database.open_database(settings(home)).close()


def test_a_configured_database_waits_for_migrate(database_url: str, tmp_path: Path) -> None:
    """It may be shared, so nothing is changed in it unasked; once migrated it opens."""
    configured = settings(tmp_path / "home", SEALRUN_DATABASE_URL=database_url)
    with pytest.raises(SchemaMismatch, match="this version needs"):
        database.open_database(configured)
    db = Database(database_url)
    database.migrate(db)
    database.open_database(configured).close()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE executor_revision SET version_num = '9999'")
    for act in (lambda: database.open_database(configured), lambda: database.migrate(db)):
        with pytest.raises(SchemaMismatch, match="newer than this version's"):
            act()
    with db.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE executor_revision")
    with pytest.raises(SchemaMismatch, match="this version needs"):
        database.open_database(configured)
    db.close()


def test_a_newer_embedded_database_is_refused(tmp_path: Path) -> None:
    """It is brought up to date unasked, but never from a revision this version does not know."""
    made = settings(tmp_path)
    db = database.open_database(made)
    with db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE executor_revision SET version_num = '9999'")
    db.close()
    with pytest.raises(SchemaMismatch, match="9999, which is newer"):
        database.open_database(made)


def test_a_database_that_is_away_is_a_sentence_without_its_password(tmp_path: Path) -> None:
    """I10: what cannot be reached is named, its password is not."""
    url = "postgresql://ada:hunter2-prod-key@127.0.0.1:1/shop"
    with pytest.raises(DatabaseUnavailable) as caught:
        database.open_database(settings(tmp_path, SEALRUN_DATABASE_URL=url))
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_many_processes_may_make_the_embedded_database_at_once(tmp_path: Path) -> None:
    """The first command of a user may be two in two terminals."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from executor import database, settings\n"
        "db = database.open_database(settings.read_here()); print(database.current(db))"
    )
    making = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(ROOT)],
            env={**os.environ, "SEALRUN_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in making:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.strip() == str((database.store.HEAD, database.HEAD))
