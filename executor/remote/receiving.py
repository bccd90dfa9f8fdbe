"""What a run has left, from a server: its output so far, and files, written here."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from executor.api.routes import route_of
from executor.errors import OperatorsOnly, RequestUnclear, ServerUnusable
from executor.remote import routed
from executor.schemas.audit import ExportedEvents
from executor.schemas.output import Place, StoredPiece
from executor.schemas.run_operations import Download, Downloaded, FileOf, OutputOf, ThatAttempt
from executor.schemas.runs import RunView
from executor.source import results
from secretstore.views import EventView

if TYPE_CHECKING:
    from executor.remote.server import Server


def logs(server: "Server", asked: OutputOf) -> Iterator[StoredPiece]:
    """As `runs.logs`."""
    first = _page(server, asked)

    def pieces() -> Iterator[StoredPiece]:
        page = first
        while True:
            yield from (piece_of(server.origin, one) for one in page["items"])
            if page.get("next") is None:
                return
            page = _page(server, asked.model_copy(update={"after": Place.parse(page["next"])}))

    return pieces()


def audit(server: "Server", asked: ExportedEvents) -> Iterator[list[EventView]]:
    """As `audit.export`, of a project.

    Raises:
        OperatorsOnly: what is of no project is asked for.
    """
    if asked.project is None:
        raise OperatorsOnly(what="the chain of the installation", server=server.origin)
    path, rest = routed.placed(route_of("audit.export"), asked)
    query = {name: value for name, value in rest.items() if value is not None}

    def events() -> Iterator[list[EventView]]:
        with server.opened("GET", path, query=query) as response:
            for line in response.iter_lines():
                yield [routed.parsed(server.origin, EventView, line.encode())]

    return events()


def download(server: "Server", asked: Download) -> Downloaded:
    """As `runs.download`. Where a path leads is judged here, whatever the server says."""
    that = ThatAttempt(run=asked.run, project=asked.project, attempt=asked.attempt)
    view: RunView = routed.ask(server, "runs.kept", that)
    written = []
    for file in view.outputs:
        if file.withheld is not None:
            continue
        # As it is told: what of it is no path is left out below, before anything is asked for.
        of_it = FileOf.model_construct(run=view.id, path=file.path, attempt=view.attempt)
        path = results.write(asked.folder, file.path, _parts(server, of_it), file.executable)
        if path is not None:
            written.append(path)
    withheld = tuple(file for file in view.outputs if file.withheld is not None)
    masked = tuple(file for file in view.outputs if file.masked)
    return Downloaded(view.id, asked.folder, tuple(written), withheld, masked)


def piece_of(where: str, told: Any) -> StoredPiece:
    """A piece of output, as a server tells it.

    Raises:
        ServerUnusable: it is none.
    """
    try:
        place = Place.parse(told["place"])
        at, data = datetime.fromisoformat(told["at"]), base64.b64decode(told["data"], validate=True)
        return StoredPiece(place.sequence, str(told["stream"]), at, data, place.attempt)
    except (KeyError, TypeError, ValueError, RequestUnclear):
        raise ServerUnusable(server=where, why="it tells of output in another form") from None


def _page(server: "Server", asked: OutputOf) -> dict[str, Any]:
    path, _ = routed.placed(route_of("runs.logs"), asked)
    query: dict[str, Any] = {"after": str(asked.after)}
    if asked.streams is not None:
        query["streams"] = list(asked.streams)
    if asked.attempt is not None:
        query["attempt"] = asked.attempt
    page = json.loads(server.request("GET", path, query=query, again=True))
    if not isinstance(page, dict) or not isinstance(page.get("items"), list):
        raise ServerUnusable(server=server.origin, why="it tells of output in another form")
    return page


def _parts(server: "Server", asked: FileOf) -> Iterator[bytes]:
    path, _ = routed.placed(route_of("runs.open_file"), asked)
    query = {} if asked.attempt is None else {"attempt": asked.attempt}
    with server.opened("GET", path, query=query) as response:
        yield from response.iter_bytes()
