"""`sealrun serve`: the HTTP API, until stopped."""

import contextlib
import importlib.util
import os
import socket
from typing import Annotated

import typer

from executor.cli import entrance
from executor.cli.here import has_terminal, operators_only
from executor.cli.shown import screen
from executor.operations import doctor, projects
from executor.operations.deployment import Deployment
from executor.server_settings import LISTEN, PUBLIC_URL, read_server_settings
from secretstore.audit import Actor
from secretstore.errors import KeyFileMissing, LibraryMissing

app = typer.Typer(help="Serve the HTTP API, until stopped.", add_completion=False)


@app.command()
def serve(
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where (else SEALRUN_LISTEN).")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where people reach it (else SEALRUN_PUBLIC_URL).")
    ] = None,
    listen_fd: Annotated[int | None, typer.Option("--listen-fd", hidden=True)] = None,
) -> None:
    """Serve the HTTP API. It stores sealed secrets and submits runs, and can open nothing."""
    require_installed()
    settings = operators_only("serve")
    given = {LISTEN.name: listen, PUBLIC_URL.name: url}
    server = read_server_settings({**os.environ, **{name: text for name, text in given.items() if text is not None}})
    from executor.api.confining import Bounds, own_folder
    from executor.api.serving import serve as answer

    def begun(bounds: Bounds) -> None:
        screen.say(f"sealrun serve: {server.public_url}/api/v1")
        if bounds.missing is not None:
            screen.say(f"sealrun serve: note: {bounds.missing}", "yellow")

    at, who = Deployment.open(settings, own_folder=own_folder(settings)), Actor(settings.store.actor, "cli")
    with contextlib.ExitStack() as ending:
        ending.callback(at.close)
        taken = entrance.listen(server) if listen_fd is None else socket.socket(fileno=listen_fd)
        ending.enter_context(taken)
        try:
            projects.make_key_file(at, who)  # once it serves, it makes none
        except KeyFileMissing as missing:
            screen.say(f"sealrun serve: note: {missing}", "yellow")
        _say_of_plans(at, who)
        if listen_fd is None and settings.embedded:
            screen.say("sealrun serve: it starts no worker; beside it: sealrun worker; in its place: sealrun up")
        if listen_fd is None and has_terminal():
            page = ending.enter_context(entrance.first_admin(at, who, server, own_folder(settings)))
            if page is not None:
                entrance.show(page)
        answer(at, server, taken, begun)


def _say_of_plans(at: Deployment, who: Actor) -> None:
    """Say what signs, and what workers make of it; the key is read now: once it serves, the process can read no file.

    Raises:
        KeyFileMissing, KeyFileUnusable: its file cannot be used.
    """
    key, found = at.signing_key, doctor.doors(at, who)
    if key is not None or found.status != "ok" or not at.settings.embedded:
        screen.say(f"sealrun serve: {found.text}", "yellow" if found.status != "ok" else "")


def require_installed() -> None:
    """Refuse where the extra is not installed.

    Raises:
        LibraryMissing: it is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("authlib", "fastapi", "jinja2", "uvicorn")):
        raise LibraryMissing(what="sealrun serve", library="FastAPI with uvicorn", extra="server")
