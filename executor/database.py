"""Open the database that both packages share; the executor's tables have their own migration history."""

from pathlib import Path

from executor.settings import Settings
from secretstore import database as store
from secretstore.database import Database
from secretstore.home import check_home, ensure_home
from secretstore.schema import current_revision, require_revision, upgrade

HEAD = "0001"

_MIGRATIONS = Path(__file__).with_name("migrations")
_VERSION_TABLE = "executor_revision"


def open_database(settings: Settings) -> Database:
    """Open the database of these settings, at this version.

    The embedded one is created and migrated automatically; a configured one waits for `sealrun migrate`.

    Raises:
        SchemaMismatch: a configured database is at another revision.
        DatabaseUnavailable: it cannot be reached.
        FolderUnusable: SEALRUN_HOME is not this user's own.
    """
    check_home(settings.store.home)
    if not settings.store.database_is_default:
        db = Database(settings.store.database_url)
        try:
            require_current(db)
        except BaseException:
            db.close()
            raise
        return db
    ensure_home(settings.store.home)
    db = Database(settings.store.database_url)
    if current(db) != (store.HEAD, HEAD):
        migrate(db)
    return db


def migrate(db: Database) -> None:
    """Bring all tables to this version; safe at any time and by several processes at once.

    Raises:
        SchemaMismatch: a newer version has migrated it.
        DatabaseUnavailable: it cannot be reached.
    """
    store.migrate(db)
    with db.named_errors():
        upgrade(db.engine, _MIGRATIONS, _VERSION_TABLE)


def current(db: Database) -> tuple[str | None, str | None]:
    """Return the revisions of the store's and the executor's tables."""
    with db.named_errors():
        return store.current(db), current_revision(db.engine, _VERSION_TABLE)


def require_current(db: Database) -> None:
    """Refuse a database whose tables are not at this version.

    Raises:
        SchemaMismatch: they are at another one.
        DatabaseUnavailable: it cannot be reached.
    """
    store.require_current(db)
    with db.named_errors():
        require_revision(db.engine, _VERSION_TABLE, HEAD)
