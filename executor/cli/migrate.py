"""`sealrun migrate`: bring the database to this version."""

import typer

from executor import database
from executor.cli.here import operators_only
from executor.cli.shown import screen
from executor.cli.typed import options
from secretstore.database import Database
from secretstore.home import ensure_home

app = typer.Typer(help="Bring the database's tables to this version.", add_completion=False)


@app.command()
def migrate(json: options.Json = False, yes: options.NeverAsks = False) -> None:
    """Bring the database's tables to this version. Safe at any time, and by several at once."""
    settings = operators_only("migrate")
    if settings.store.database_is_default:
        ensure_home(settings.store.home)
    db = Database(settings.store.database_url)
    before = database.current(db)
    database.migrate(db)
    after = database.current(db)
    if json:
        told = {"secretstore": after[0], "executor": after[1]}
        screen.show_json({"database": db.url_shown, **told, "changed": before != after})
        return
    screen.say(f"{db.url_shown}: {_told(after)}" + ("" if before == after else f", was {_told(before)}"))


def _told(revisions: tuple[str | None, str | None]) -> str:
    store, executor = (revision or "empty" for revision in revisions)
    return f"secretstore {store}, executor {executor}"
