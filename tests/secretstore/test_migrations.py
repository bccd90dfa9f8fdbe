"""Migrations: what they make is what the models say, and running them twice or at once does no harm."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlmodel import SQLModel

from secretstore import audit, models, vault
from secretstore.database import HEAD, Database, current, migrate, require_current, upgrade
from secretstore.engine import WRITING
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.schema import current_revision
from secretstore.sealing import Binding, PrivateKey, seal
from secretstore.vault import Actor

ROOT = Path(models.__file__).parents[1]
FOLDER = ROOT / "secretstore" / "migrations"
VECTORS = ROOT / "tests" / "vectors"

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
        context = MigrationContext.configure(connection, opts={"include_name": ours, "compare_type": True})
        differences = compare_metadata(context, SQLModel.metadata)
        foreign = [change for change in differences if "secretstore_" not in str(change)]
    assert [change for change in differences if change not in foreign] == []


def test_migrating_again_changes_nothing(db: Database) -> None:
    """A second run finds the database at its head."""
    migrate(db)
    assert current(db) == HEAD
    require_current(db)


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


def test_what_was_sealed_at_the_first_revision_opens_at_the_head(empty_db: Database, tmp_path: Path) -> None:
    """A database as the first version left it: its key pair, secret and audit chain are what they were."""
    vector = json.loads((VECTORS / "local-wrap-1.json").read_text())
    place = {name.removeprefix("sealrun:"): text for name, text in vector["context"].items()}
    private = PrivateKey.from_bytes(b64decode(vector["private"]))
    public = private.public_key()
    binding = Binding(place["project"], place["environment"], "c" * 32, "TOKEN", 1)
    rows = {
        "project": {"id": place["project"], "name": "shop", "network": "full", "sandbox_min": "process"},
        "environment": {"id": place["environment"], "project_id": place["project"], "name": "default", "generation": 1},
        "key_pair": {
            "environment_id": place["environment"],
            "generation": 1,
            "public_key": public.to_bytes(),
            "fingerprint": private.fingerprint,
            "key_service": vector["id"],
            "wrapped_private_key": b64decode(vector["wrapped"]),
        },
        "secret": {
            "id": binding.secret_id,
            "project_id": place["project"],
            "environment_id": place["environment"],
            "name": binding.name,
            "current_version": 1,
            "last_version": 1,
            "maskable": True,
        },
        "secret_version": {
            "secret_id": binding.secret_id,
            "version": 1,
            "generation": 1,
            "sealed": seal(public, 1, b"sealed long ago", binding),
            "maskable": True,
        },
    }
    _upgrade_to(empty_db, "0001")
    assert current(empty_db) == "0001"
    with empty_db.engine.execution_options(**WRITING).begin() as connection:
        for table, row in rows.items():
            _insert(connection, f"secretstore_{table}", row)
        for event in _first_events(place["project"]):
            _insert(connection, "secretstore_audit_event", event)

    migrate(empty_db)
    require_current(empty_db)
    assert audit.verify(empty_db, "shop").checked == 2
    assert audit.verify(empty_db, "shop").ok
    key_file = tmp_path / "local.key"
    key_file.touch(0o600)
    key_file.write_text(vector["file"])
    found = vault.get_environment(empty_db, "shop", "default")
    with empty_db.reading() as session:
        bundle = vault.sealed_bundle(session, found.id, None)
    assert [(item.name, value) for item, value in reveal(LocalKeys(key_file), bundle)] == [
        ("TOKEN", b"sealed long ago")
    ]
    pins = Pins(tmp_path / "known_keys", empty_db.url_shown)
    later = vault.put(empty_db, "shop", "default", "TOKEN", b"sealed later", actor=Actor("ada", "test"), pins=pins)
    assert (later.version, later.created_by) == (2, "ada@example")
    assert audit.verify(empty_db, "shop").checked == 3


def _upgrade_to(db: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with db.engine.execution_options(**WRITING).begin() as connection:
        config.attributes.update(connection=connection, version_table="secretstore_revision")
        command.upgrade(config, revision)


def _insert(connection: Connection, table: str, row: dict[str, object]) -> None:
    """As the first version wrote it, whatever the models say today."""
    columns = {column["name"] for column in inspect(connection).get_columns(table)}
    at = "2026-01-02T03:04:05.000006+00:00"
    everywhere = {"created_at": at, "created_by": "ada@example", "updated_at": at, "updated_by": "ada@example"}
    row = {**{name: text for name, text in everywhere.items() if name in columns}, **row}
    values = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row)


def _first_events(project_id: str) -> Iterator[dict[str, object]]:
    """Two events, linked as the first version linked them: the canonical form is a promise."""
    previous = "0" * 64
    for sequence, (action, subject) in enumerate((("project.create", "shop"), ("secret.set", "default/TOKEN")), 1):
        event: dict[str, object] = {
            "project_id": project_id,
            "sequence": sequence,
            "project": "shop",
            "at": "2026-01-02T03:04:05.000006+00:00",
            "actor": "ada@example",
            "origin": "cli",
            "action": action,
            "subject": subject,
            "detail": "{}",
            "outcome": "done",
            "previous_hash": previous,
        }
        previous = sha256(json.dumps(event, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        yield {**event, "hash": previous}


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
