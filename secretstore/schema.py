"""Bring a database's tables to the revision the code needs, and check that they are there."""

from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select, text

from secretstore.engine import WRITING, masked_url
from secretstore.errors import SchemaMismatch


def upgrade(engine: Engine, script_location: Path, version_table: str) -> None:
    """Run the missing Alembic migrations in one transaction; of two at once the second finds none.

    Args:
        engine: from `secretstore.engine.open_engine`.
        script_location: a folder with Alembic's `env.py`, which finds `connection` and `version_table` in
            `context.config.attributes`, and `versions`.
        version_table: keeps the revision; each package has its own.

    Raises:
        SchemaMismatch: the database is at a revision that is not in the folder.
    """
    # Alembic is slow to import, and only `migrate` needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]  # newest first
    with engine.execution_options(**WRITING).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(version_table, 0))))
        found = _revision(connection, version_table)
        if found is not None and found not in known:
            raise _too_new(masked_url(engine.url), found, known[0])
        config.attributes.update(connection=connection, version_table=version_table)
        command.upgrade(config, "head")


def current_revision(engine: Engine, version_table: str) -> str | None:
    """Return a database's revision, None if it was never migrated."""
    with engine.connect() as connection:
        return _revision(connection, version_table)


def require_revision(engine: Engine, version_table: str, wanted: str) -> None:
    """Refuse a database at another revision than the code's; revisions are numbers, so they sort by age.

    Raises:
        SchemaMismatch: migrations are missing, or a newer version migrated it.
    """
    found = current_revision(engine, version_table)
    if found == wanted:
        return
    url = masked_url(engine.url)
    if found is None or found < wanted:
        raise SchemaMismatch(url=url, found=found or "none", wanted=wanted)
    raise _too_new(url, found, wanted)


def _too_new(url: str, found: str, wanted: str) -> SchemaMismatch:
    return SchemaMismatch(
        "the database {url} is at revision {found}, which is newer than this version's {wanted}",
        url=url,
        found=found,
        wanted=wanted,
        hint="install the version of sealrun that migrated it",
    )


def _revision(connection: Connection, version_table: str) -> str | None:
    if not inspect(connection).has_table(version_table):
        return None
    found = connection.execute(text(f'SELECT version_num FROM "{version_table}"')).scalar()
    return None if found is None else str(found)
