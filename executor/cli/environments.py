"""Which environments a command sets something in."""

from collections.abc import Sequence

from executor.cli.here import Here
from executor.operations import environments
from executor.schemas.places import InEnvironments
from secretstore.errors import UnknownEnvironment


def environments_named(place: Here, project: str, given: Sequence[str] | None, create: bool) -> tuple[str, ...]:
    """Each `-e` once, else the environment that is meant where none is named.

    They are looked up before a value is asked for, unless they may be made: a typing mistake must not make one.

    Raises:
        UnknownProject, UnknownEnvironment: one is not there, and none is to be made.
    """
    names = tuple(dict.fromkeys(given or [place.environment(None)]))
    if not create:
        try:
            place.ask(environments.require, InEnvironments(project=project, environments=names))
        except UnknownEnvironment as error:
            error.advise("; ".join(filter(None, (error.hint, "to make a new one, add --create-env"))))
            raise
    return names
