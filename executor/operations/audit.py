"""The record of who did what, listed and verified. What runs left waiting is linked first: it belongs to the answer."""

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError

from executor.operations.deployment import Deployment
from executor.schemas.audit import Chain, Events, ExportedEvents, ListedEvents, VerifiedChain
from secretstore import audit, audit_reading
from secretstore.audit import INSTALLATION, Actor
from secretstore.audit_reading import Filter
from secretstore.errors import SealrunError
from secretstore.views import EventView


def list_(at: Deployment, who: Actor, asked: Events) -> ListedEvents:
    """Events in the order of their chain, the newest of them where there is a limit: a project's, or those of none.

    Raises:
        UnknownProject: no project ever had this name.
    """
    waiting = _link(at)
    only = Filter(asked.since, asked.actor, asked.action, asked.subject)
    events = audit_reading.list_events(at.db, asked.project or INSTALLATION, limit=asked.limit, only=only)
    return ListedEvents(events=tuple(events), waiting=waiting)


def export(at: Deployment, who: Actor, asked: ExportedEvents) -> Iterator[list[EventView]]:
    """All events in the order of their chain, with every field that is hashed, some at a time, however many there are.

    Raises:
        UnknownProject: no project ever had this name.
    """
    _link(at)
    return audit_reading.export_events(at.db, asked.project or INSTALLATION, since=asked.since)


def verify(at: Deployment, who: Actor, asked: Chain) -> VerifiedChain:
    """Walk a project's chain of events, or that of the installation, and name the first that is not as it was written.

    Raises:
        UnknownProject: no project ever had this name.
    """
    waiting = _link(at)
    found = audit_reading.verify(at.db, asked.project or INSTALLATION, expect=asked.expect)
    return VerifiedChain(found=found, waiting=waiting)


def _link(at: Deployment) -> int:
    """Link what waits; how many events still do. Who may only read gets the answer without them, and their number."""
    stuck: list[object] = []
    try:
        audit.link_waiting(at.db, skipped=lambda *which: stuck.append(which))
    except (SealrunError, DBAPIError) as problem:
        stuck.append(problem)
    return audit.waiting_events(at.db) if stuck else 0
