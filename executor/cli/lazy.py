"""The list of commands, and how each is found: its module is imported when it is called, not when it is listed.

SQLModel and Celery take some tenths of a second to import, which `sealrun --help` need not pay.
"""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from executor.cli.typed.signposts import Placing, Signposted, check_place

COMMANDS = {
    "demo": "Go from a sealed secret to a finished run, on examples that ship with sealrun.",
    "init": "Write .sealrun.toml in this folder, so that commands here need no -p.",
    "allow": "Let the project file of a folder choose the project of commands there.",
    "login": "Log in to a server, so that commands here speak to it.",
    "logout": "Log out of a server: its token is ended there and forgotten here.",
    "whoami": "Say which door commands go through here, and as whom.",
    "project": "Create, change, list, delete and restore projects.",
    "secret": "Store secrets, list their names, delete them. Nothing shows a value.",
    "key": "List, rotate, rewrap and trust key pairs; make a local key file.",
    "job": "List and show jobs: rotating, rewrapping and renaming that a worker does.",
    "variable": "Set, list and delete variables: plain configuration, never masked.",
    "source": "Create, list, test and delete data sources: buckets and databases, with secrets by name.",
    "catalog": "Create, list, test and delete catalogs: Unity Catalog, Iceberg, Glue.",
    "run": "Run a file, module, function, notebook or command with its project's secrets.",
    "runs": "List, show, follow and cancel runs, download what they left, and delete that.",
    "worker": "Execute runs on this machine until stopped.",
    "workers": "List workers: what each offers, what it runs, when it was last seen.",
    "up": "Start an embedded broker, a worker and the server, until Ctrl-C.",
    "serve": "Serve the HTTP API, until stopped.",
    "doctor": "Say what is in force here, what is missing and how to mend it.",
    "migrate": "Bring the database's tables to this version.",
    "user": "Create, list, disable and delete people and service accounts.",
    "member": "Give people, service accounts and groups a role, take it away.",
    "role": "List the roles, and what each lets one do.",
    "token": "Create, list and revoke API tokens.",
    "audit": "List, export and verify the record of who changed what.",
}


class Sealrun(Placing):
    """The root command."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands needs: a name and a sentence."""
        sentence = COMMANDS.get(cmd_name)
        return sentence and TyperCommand(cmd_name, help=sentence, rich_markup_mode=self.rich_markup_mode)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself."""
        check_place(args, COMMANDS)
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # for "did you mean"
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load(name, self.rich_markup_mode), rest


def load(name: str, markup: Any = None) -> Any:
    """A command, from the module of its name."""
    with uncollected():
        app: typer.Typer = importlib.import_module(f"executor.cli.{name}").app
    app.rich_markup_mode = markup
    if not isinstance(app.info.cls, type):
        app.info.cls = Signposted
    command = typer.main.get_command(app)
    command.name = name
    return command


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import without looking for garbage, of which there is none: that takes a sixth of the time otherwise.

    What was imported stays for good, and is not looked through later either.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
