"""`sealrun serve`: the HTTP API, until stopped."""

import importlib.util
import os
from typing import Annotated

import typer

from executor.cli.here import operators_only
from executor.cli.shown import screen
from executor.server_settings import LISTEN, PUBLIC_URL, read_server_settings
from secretstore.errors import LibraryMissing

app = typer.Typer(help="Serve the HTTP API, until stopped.", add_completion=False)


@app.command()
def serve(
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where (else SEALRUN_LISTEN).")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where people reach it (else SEALRUN_PUBLIC_URL).")
    ] = None,
) -> None:
    """Serve the HTTP API. It stores sealed secrets and submits runs, and can open nothing."""
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("fastapi") is None:
        raise LibraryMissing(what="sealrun serve", library="FastAPI with uvicorn", extra="server")
    settings = operators_only("serve")
    given = {LISTEN.name: listen, PUBLIC_URL.name: url}
    server = read_server_settings({**os.environ, **{name: text for name, text in given.items() if text is not None}})
    from executor.api.serving import serve as answer

    screen.say(f"sealrun serve: {server.public_url}/api/v1")
    answer(settings, server)
