"""Find the project and environment: as given, else from the settings, else from the project file.

What a project file chooses counts where its user has allowed it: nothing else reads its `project` and `environment`.
"""

from pathlib import Path
from typing import Protocol

from executor.errors import NoProjectNamed
from executor.settings import Settings
from executor.source.root import ProjectFile, project_file, strangers
from executor.submission.allowing import require_allowed
from secretstore.errors import FolderUnusable

DEFAULT_ENVIRONMENT = "default"


class Known(Protocol):
    """What is known of the files of a folder."""

    @property
    def project_file(self) -> ProjectFile: ...


def project_named(settings: Settings, given: str | None, folder: Path | None = None, known: Known | None = None) -> str:
    """Return the project: `-p`, else SEALRUN_PROJECT, else the nearest project file's.

    Raises:
        NoProjectNamed: none of them names one.
        FolderNotAllowed: the project file does, and nobody has allowed it to.
    """
    if project := maybe_project(settings, given, folder, known):
        return project
    unnamed = NoProjectNamed()
    if (passed := strangers(folder or current_folder())) is not None:
        unnamed.advise(f"{passed} belongs to another user and is passed over; give -p PROJECT, or set SEALRUN_PROJECT")
    raise unnamed


def maybe_project(
    settings: Settings, given: str | None, folder: Path | None = None, known: Known | None = None
) -> str | None:
    """Return the same as `project_named`, or None.

    Raises:
        FolderNotAllowed: the project file names one, and nobody has allowed it to.
    """
    if chosen := given or settings.project:
        return chosen
    file = nearest_project_file(folder) if known is None else known.project_file
    if file.project:
        require_allowed(settings.store.home, file)
    return file.project


def environment_named(
    settings: Settings, given: str | None, folder: Path | None = None, known: Known | None = None
) -> str:
    """Return the environment: `-e`, else SEALRUN_ENV, else the nearest project file's, else `default`.

    Raises:
        FolderNotAllowed: the project file names one, and nobody has allowed it to.
    """
    if chosen := given or settings.environment:
        return chosen
    file = nearest_project_file(folder) if known is None else known.project_file
    if file.environment:
        require_allowed(settings.store.home, file)
    return file.environment or DEFAULT_ENVIRONMENT


def nearest_project_file(folder: Path | None = None) -> ProjectFile:
    """Read the project file of the folder (default: the current one) or of its nearest parent with one."""
    try:
        return project_file(folder or current_folder())
    except FolderUnusable:
        return ProjectFile()


def current_folder() -> Path:
    """Return the current folder.

    Raises:
        FolderUnusable: it has been deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise FolderUnusable("the current folder has been deleted", hint="go to one that exists: cd") from None
