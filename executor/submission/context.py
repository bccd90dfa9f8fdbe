"""Which project and environment is meant: as given, else by the settings, else by the project file."""

from pathlib import Path

from executor.errors import NoProjectNamed
from executor.settings import Settings
from executor.source.root import ProjectFile, project_file

DEFAULT_ENVIRONMENT = "default"


def project_named(settings: Settings, given: str | None, folder: Path | None = None) -> str:
    """The project: `-p`, else SEALRUN_PROJECT, else the project file of the folder (else this one) or a parent.

    Raises:
        NoProjectNamed: none of them says.
    """
    if project := maybe_project(settings, given, folder):
        return project
    raise NoProjectNamed


def maybe_project(settings: Settings, given: str | None, folder: Path | None = None) -> str | None:
    """As `project_named`, and None where nobody says."""
    return given or settings.project or nearest_project_file(folder).project


def environment_named(settings: Settings, given: str | None, folder: Path | None = None) -> str:
    """The environment: `-e`, else SEALRUN_ENV, else the project file's, else `default`."""
    return given or settings.environment or nearest_project_file(folder).environment or DEFAULT_ENVIRONMENT


def nearest_project_file(folder: Path | None = None) -> ProjectFile:
    """What the project file of the folder (else this one) or a parent says; nothing where there is none."""
    try:
        return project_file(folder or Path.cwd())
    except FileNotFoundError:  # the folder was removed under our feet
        return ProjectFile()
