"""What every command that touches the database starts with, and which project and environment it is about."""

import sys
from dataclasses import dataclass

import typer

from executor.database import open_database
from executor.errors import NeedsYes
from executor.settings import Settings, read_here
from executor.submission.context import (
    DEFAULT_ENVIRONMENT,
    environment_named,
    maybe_project,
    nearest_project_file,
    project_named,
)
from secretstore import vault
from secretstore.database import Database
from secretstore.pins import Pins

__all__ = [
    "DEFAULT_ENVIRONMENT", "Desk", "confirm", "environment_named", "maybe_project", "project_named", "sit_down",
]  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """Settings, the database, and who acts."""

    settings: Settings
    db: Database
    actor: vault.Actor

    @property
    def pins(self) -> Pins:
        """The key pairs that this user knows, and those that the project file pins."""
        file = nearest_project_file()
        committed = {(file.project, name): pin for name, pin in file.pins.items() if file.project}
        return Pins(self.settings.store.home / "known_keys", self.db.url_shown, committed)


def sit_down() -> Desk:
    """Read the settings and open the database.

    Raises:
        SecretStoreError: the settings or the database cannot be used.
    """
    settings = read_here()
    db = open_database(settings)
    return Desk(settings, db, vault.Actor(settings.store.actor, "cli"))


def confirm(act: str, yes: bool) -> None:
    """Ask before something is destroyed.

    Raises:
        NeedsYes: nobody can be asked.
        typer.Abort: the answer was not yes.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NeedsYes(act=act)
    typer.confirm(f"{act}?", abort=True, err=True)
