"""What every command that touches the database starts with, and which project and environment it is about."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from executor.cli.errors import NeedsYes
from executor.database import open_database
from executor.errors import NoProjectNamed
from executor.settings import Settings, read_here
from executor.source import ProjectFile, project_file
from secretstore import vault
from secretstore.database import Database

DEFAULT_ENVIRONMENT = "default"


@dataclass(frozen=True)
class Desk:
    """Settings, the database, and who acts."""

    settings: Settings
    db: Database
    actor: vault.Actor


def sit_down() -> Desk:
    """Read the settings and open the database.

    Raises:
        SecretStoreError: the settings or the database cannot be used.
    """
    settings = read_here()
    return Desk(settings, open_database(settings), vault.Actor(settings.store.actor, "cli"))


def project_named(settings: Settings, given: str | None) -> str:
    """The project: `-p`, else SEALRUN_PROJECT, else the project file of this folder or a parent.

    Raises:
        NoProjectNamed: none of them says.
    """
    if project := maybe_project(settings, given):
        return project
    raise NoProjectNamed


def maybe_project(settings: Settings, given: str | None) -> str | None:
    """As `project_named`, and None where nobody says."""
    return given or settings.project or _project_file().project


def environment_named(settings: Settings, given: str | None) -> str:
    """The environment: `-e`, else SEALRUN_ENV, else the project file's, else `default`."""
    return given or settings.environment or _project_file().environment or DEFAULT_ENVIRONMENT


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


def _project_file() -> ProjectFile:
    try:
        return project_file(Path.cwd())
    except FileNotFoundError:  # the folder was removed under our feet
        return ProjectFile()


def search_path() -> str:
    """The submitter's PATH, where a run's interpreter is looked for."""
    return os.environ.get("PATH", os.defpath)
