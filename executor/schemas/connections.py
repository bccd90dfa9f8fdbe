"""Data sources and catalogs: secrets stand in their settings by name."""

from typing import Any

from executor.schemas.places import InEnvironments, InProject, Named, Output
from executor.schemas.run_operations import Submitted
from secretstore.connections import Role
from secretstore.views import ConnectionView


class NewConnection(InEnvironments):
    """A data source or catalog to make in environments; with `replace`, one of this name gets these settings."""

    role: Role
    name: str
    kind: str
    settings: Any
    replace: bool = False


class Connections(InProject):
    """The data sources or the catalogs of a project, or both."""

    role: Role | None = None


class ConnectionNamed(Named):
    """A data source or catalog."""

    role: Role


class ProbeRun(ConnectionNamed):
    """The run that tested a data source or catalog, and is over."""

    run: str


class ConnectionDeletion(ConnectionNamed):
    """A data source or catalog to delete; with `force` even where something names it."""

    force: bool = False


class Tested(Output):
    """How a test of a data source or catalog went: whether it works, the seconds of the call, and a masked sentence.

    `run` is the run that made the call; None where none was made. `kept` says whether this was stored: the test of
    settings that were replaced meanwhile is not.
    """

    role: Role
    name: str
    ok: bool
    seconds: float | None
    said: str
    run: str | None
    kept: bool


class Begun(Output):
    """A test that has begun: the run that makes the call, or where something is missing what came of it at once."""

    connection: ConnectionView
    run: Submitted | None = None
    tested: Tested | None = None
