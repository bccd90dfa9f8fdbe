"""Migrations: what they make is what the models say, and running them twice or at once does no harm."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlmodel import SQLModel

from secretstore import models
from secretstore.database import HEAD, Database, current, migrate, require_current, upgrade
from secretstore.errors import SchemaMismatch
from secretstore.schema import current_revision

ROOT = Path(models.__file__).parents[1]
FOLDER = ROOT / "secretstore" / "migrations"

OTHER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "7", None


def upgrade() -> None:
    op.create_table("other_thing", sa.Column("id", sa.Integer, primary_key=True))
"""


def test_head_is_the_newest_migration() -> None:
    """The constant that start-up compares with is the folder's one head."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_migrated_schema_is_the_models(db: Database) -> None:
    """Alembic finds nothing to change between the migrated tables and the models."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or (str(name).startswith("secretstore_") and name != "secretstore_revision")

    with db.engine.connect() as connection:
        opts = {"include_name": ours, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=opts)
        differences = compare_metadata(context, SQLModel.metadata)
        foreign = [change for change in differences if "secretstore_" not in str(change)]
    assert [change for change in differences if change not in foreign] == []


def test_migrating_again_changes_nothing(db: Database) -> None:
    """A second run finds the database at its head."""
    migrate(db)
    assert current(db) == HEAD
    require_current(db)


@pytest.mark.long
def test_several_processes_may_migrate_at_once(empty_db: Database, database_url: str) -> None:
    """Four processes that start on an empty database all succeed, and it is migrated once."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from secretstore.database import Database, migrate, require_current\n"
        "sys.stdin.read()\n"
        "db = Database(sys.argv[1]); migrate(db); require_current(db)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert outputs == [""] * 4
    require_current(empty_db)


def test_a_newer_revision_is_refused_and_left_alone(db: Database) -> None:
    """A database that a newer version migrated gets a sentence, and nothing of it is changed."""
    with db.writing() as session:
        session.connection().execute(text("UPDATE secretstore_revision SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=f"at revision 9999, which is newer than this version's {HEAD}"):
        migrate(db)
    assert current(db) == "9999"


def test_another_history_lives_beside_this_one(db: Database, tmp_path: Path) -> None:
    """`upgrade` runs a folder of another package under a version table of its own."""
    folder = tmp_path / "50% other"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text((FOLDER / "env.py").read_text())
    (folder / "versions" / "a.py").write_text(OTHER)
    upgrade(db.engine, folder, "other_revision")
    upgrade(db.engine, folder, "other_revision")
    assert current_revision(db.engine, "other_revision") == "7"
    require_current(db)


def test_a_migration_that_fails_leaves_nothing(db: Database, tmp_path: Path) -> None:
    """All of a migration's steps are one transaction, on SQLite too."""
    folder = tmp_path / "other"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text((FOLDER / "env.py").read_text())
    (folder / "versions" / "a.py").write_text(OTHER + "    raise ZeroDivisionError\n")
    with pytest.raises(ZeroDivisionError):
        upgrade(db.engine, folder, "other_revision")
    with db.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
    assert "other_thing" not in tables
    assert "other_revision" not in tables
