"""`sealrun migrate`: bring the database to this version."""

from typing import Annotated

import typer

from executor import database, grants
from executor.cli.here import operators_only
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from secretstore.database import Database
from secretstore.home import ensure_home

app = typer.Typer(help="Bring the database's tables to this version.", add_completion=False)


@app.command()
def migrate(
    rights: Annotated[
        bool, typer.Option("--grants", help="PostgreSQL: also make three roles, each with the least rights it needs.")
    ] = False,
    worker: Annotated[
        str, typer.Option("--worker-role", metavar="NAME", help="The role of workers.")
    ] = "sealrun_worker",
    server: Annotated[
        str, typer.Option("--server-role", metavar="NAME", help="The role of the API server.")
    ] = "sealrun_server",
    auditor: Annotated[
        str, typer.Option("--auditor-role", metavar="NAME", help="The role of who reads the audit log and receipts.")
    ] = "sealrun_auditor",
    sql: Annotated[bool, typer.Option("--sql", help="With --grants: change nothing, print the statements.")] = False,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Bring the database's tables to this version. Safe at any time, and by several at once.

    With --grants, rights that these roles have beside are taken away. A program connects as a user who is in the role:
    CREATE USER mill PASSWORD '…' IN ROLE sealrun_worker.
    """
    if sql and not rights:
        raise Misuse("--sql goes with --grants", command="migrate")
    settings = operators_only("migrate")
    named = {"worker": worker, "server": server, "auditor": auditor}
    if sql:
        _show_statements(grants.shown(Database(settings.store.database_url), named), json)
        return
    if settings.store.database_is_default:
        ensure_home(settings.store.home)
    db = Database(settings.store.database_url)
    before = database.current(db)
    database.migrate(db)
    after = database.current(db)
    done = grants.grant(db, named) if rights else []
    if json:
        told = {"secretstore": after[0], "executor": after[1]}
        of_roles = {"grants": done} if rights else {}
        screen.show_json({"database": db.url_shown, **told, "changed": before != after, **of_roles})
        return
    screen.say(f"{db.url_shown}: {_told(after)}" + ("" if before == after else f", was {_told(before)}"))
    if rights:
        screen.say(f"the roles {', '.join(named.values())} have the rights of their parts, and no others")


def _show_statements(statements: list[str], json: bool) -> None:
    if json:
        screen.show_json(statements)
        return
    for one in statements:
        screen.show(f"{one};")


def _told(revisions: tuple[str | None, str | None]) -> str:
    store, executor = (revision or "empty" for revision in revisions)
    return f"secretstore {store}, executor {executor}"
