"""What every command starts with: the deployment, who asks, and which project and environment is meant."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import typer

from executor.cli.shown import screen
from executor.errors import FolderNotAllowed, NeedsYes, OperatorsOnly
from executor.operations.deployment import Deployment
from executor.remote.choosing import chosen
from executor.schemas import confirming
from executor.settings import Settings, read_here
from executor.submission import allowing, context
from secretstore.audit import Actor

if TYPE_CHECKING:
    from executor.remote.server import Server

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Here:
    """A command's surroundings: this folder, this user, and the deployment that the settings name."""

    at: "Deployment | Server"
    who: Actor
    asks: bool = True
    """Whether somebody may be asked, where there is a terminal."""

    def ask(self, operation: Callable[Concatenate[Deployment, Actor, P], T], *asked: P.args, **more: P.kwargs) -> T:
        """Carry out one of the operations as this user; it raises what the operation does."""
        return self.at.ask(self.who, operation, *asked, **more)

    def project(self, given: str | None) -> str:
        """The project: `-p`, else SEALRUN_PROJECT, else the project file.

        Raises:
            NoProjectNamed: none of them says.
            FolderNotAllowed: the project file says, and nobody has allowed it to.
        """
        return self._followed(lambda: context.project_named(self.at.settings, given))

    def maybe_project(self, given: str | None) -> str | None:
        """As `project`, and None where nobody says."""
        return self._followed(lambda: context.maybe_project(self.at.settings, given))

    def environment(self, given: str | None) -> str:
        """The environment: `-e`, else SEALRUN_ENV, else the project file's, else `default`."""
        return self._followed(lambda: context.environment_named(self.at.settings, given))

    def _followed(self, look: Callable[[], T]) -> T:
        """What is found, once its user has been asked whether a project file counts that was not allowed yet."""
        try:
            return look()
        except FolderNotAllowed as refused:
            if not (self.asks and has_terminal()):
                raise
            if not typer.confirm(f"{screen.printable(refused.message)}. Follow it from now on?", err=True):
                raise
            allowing.allow(self.at.settings.store.home, refused.names["file"])  # as it was when it was shown
            return look()


def here(asks: bool = True) -> Here:
    """Read the settings, and open the deployment, or speak to the server that is chosen; who asks is this user.

    Raises:
        SealrunError: the settings, the database or the server cannot be used.
    """
    settings = read_here()
    file = context.nearest_project_file()
    pins = {(file.project, name): pin for name, pin in file.pins.items() if file.project}
    who = Actor(settings.store.actor, "cli")
    if (server := chosen(settings, os.environ, file)) is not None:
        from executor.cli.first_use import compare_first
        from executor.remote.server import Server  # an HTTP client takes longer to import than a list from a database

        return Here(Server(settings, server.origin, server.token, pins, first_use=compare_first), who, asks)
    return Here(Deployment.open(settings, pins), who, asks)


def operators_only(what: str) -> Settings:
    """The settings, for what is done on a machine that has the database.

    Raises:
        OperatorsOnly: a server is chosen here.
        SettingsProblem: the settings cannot be used.
    """
    settings = read_here()
    if (server := chosen(settings, os.environ, context.nearest_project_file())) is not None:
        raise OperatorsOnly(what=f"`sealrun {what}`", server=server.origin)
    return settings


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


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
    if not has_terminal():
        raise NeedsYes(act=act)
    typer.confirm(f"{screen.printable(act)}?", abort=True, err=True)
