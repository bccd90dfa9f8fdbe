"""The record of who did what."""

from pydantic import Field

from executor.schemas.places import Input, Output
from secretstore.reservation import Moment
from secretstore.views import EventView, Head, VerifyResult


class Events(Input):
    """Which events of a project, or without one of the installation.

    Of the actor, action and subject, `*` at the end means all that begin so.
    """

    project: str | None = None
    limit: int | None = Field(default=None, ge=1)
    since: Moment | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None


class ExportedEvents(Input):
    """All events of a project, or without one of the installation; those since a moment."""

    project: str | None = None
    since: Moment | None = None


class ListedEvents(Output):
    """Events in the order of their chain, and how many wait outside it and could not be linked from here."""

    events: tuple[EventView, ...]
    waiting: int = 0


class Chain(Input):
    """A project's chain of events, or without one the installation's, and a head that was kept elsewhere."""

    project: str | None = None
    expect: Head | None = None


class VerifiedChain(Output):
    """What a walk along a chain found, and how many events wait outside it and could not be linked from here."""

    found: VerifyResult
    waiting: int = 0
