"""Find the project and environment: as given, else from the settings, else from the project file."""

from pathlib import Path

from executor.errors import NoProjectNamed
from executor.settings import Settings
from executor.source.root import ProjectFile, project_file
from secretstore.errors import FolderUnusable

DEFAULT_ENVIRONMENT = "default"


def project_named(settings: Settings, given: str | None, folder: Path | None = None) -> str:
    """Return the project: `-p`, else SEALRUN_PROJECT, else the nearest project file's.

    Raises:
        NoProjectNamed: none of them names one.
    """
    if project := maybe_project(settings, given, folder):
        return project
    raise NoProjectNamed


def maybe_project(settings: Settings, given: str | None, folder: Path | None = None) -> str | None:
    """Return the same as `project_named`, or None."""
    return given or settings.project or nearest_project_file(folder).project


def environment_named(settings: Settings, given: str | None, folder: Path | None = None) -> str:
    """Return the environment: `-e`, else SEALRUN_ENV, else the nearest project file's, else `default`."""
    return given or settings.environment or nearest_project_file(folder).environment or DEFAULT_ENVIRONMENT


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
