"""What every command starts with: the deployment, who asks, and which project and environment is meant."""

import sys
from dataclasses import dataclass

import typer

from executor.errors import NeedsYes
from executor.operations.deployment import Deployment
from executor.schemas import confirming
from executor.settings import read_here
from executor.submission import context
from secretstore.audit import Actor


@dataclass(frozen=True)
class Here:
    """A command's surroundings: this folder, this user, and the deployment that the settings name."""

    at: Deployment
    who: Actor

    def project(self, given: str | None) -> str:
        """The project: `-p`, else SEALRUN_PROJECT, else the project file.

        Raises:
            NoProjectNamed: none of them says.
        """
        return context.project_named(self.at.settings, given)

    def maybe_project(self, given: str | None) -> str | None:
        """As `project`, and None where nobody says."""
        return context.maybe_project(self.at.settings, given)

    def environment(self, given: str | None) -> str:
        """The environment: `-e`, else SEALRUN_ENV, else the project file's, else `default`."""
        return context.environment_named(self.at.settings, given)


def here() -> Here:
    """Read the settings and open the deployment; who asks is this machine's user.

    Raises:
        SealrunError: the settings or the database cannot be used.
    """
    settings = read_here()
    file = context.nearest_project_file()
    pins = {(file.project, name): pin for name, pin in file.pins.items() if file.project}
    return Here(Deployment.open(settings, pins), Actor(settings.store.actor, "cli"))


def confirm_name(name: str, yes: bool) -> None:
    """Ask before something is stored under a name by which installers choose packages.

    Raises:
        NeedsYes, typer.Abort: as `confirm`.
    """
    if act := confirming.question(name):
        confirm(act, yes)


def confirm(act: str, yes: bool) -> None:
    """Ask before something is done that needs a second thought.

    Raises:
        NeedsYes: nobody can be asked.
        typer.Abort: the answer was not yes.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NeedsYes(act=act)
    typer.confirm(f"{act}?", abort=True, err=True)
