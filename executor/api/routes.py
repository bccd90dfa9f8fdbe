"""The routes of the HTTP API, one per operation: what the server, its description, its tests and its client go by.

What an operation takes comes from its annotation: the fields that the path names from the path, the others from the
query of a GET or DELETE, else from a JSON body. What it returns is the answer; of a sequence it is a page.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_type_hints

BASE = "/api/v1"

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

NOTHING: Mapping[str, str] = MappingProxyType({})


class Route(NamedTuple):
    """How an operation is reached.

    `fixed` are fields that the path itself says. `by` are the fields by which the items of a page are sorted, so that
    the next one begins behind the last; without them all items come at once.
    """

    operation: str
    method: Method
    path: str
    fixed: Mapping[str, str] = NOTHING
    by: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether a request that is sent again is answered, and not done, again, where it has an Idempotency-Key.

        What has a credential in it is not: the answer is kept, and a digest of the body.
        """
        return self.method == "POST" and self.operation not in ("people.create", "tokens.create")

    @property
    def name(self) -> str:
        """Its name in the description: the operation, and what tells two routes of it apart."""
        return ".".join((self.operation.rstrip("_"), *self.fixed.values()))


_IN = "/projects/{project}"
_AT = _IN + "/environments/{environment}"


def _connections(role: str) -> tuple[Route, ...]:
    there, fixed = f"/{role}s", MappingProxyType({"role": role})
    return (
        Route("connections.list_", "GET", _IN + there, fixed, ("environment", "name")),
        Route("connections.create", "PUT", _IN + there + "/{name}", fixed),
        Route("connections.get", "GET", _AT + there + "/{name}", fixed),
        Route("connections.require_deletable", "GET", _AT + there + "/{name}/deletable", fixed),
        Route("connections.delete", "DELETE", _AT + there + "/{name}", fixed),
        Route("probing.begin", "POST", _AT + there + "/{name}/tests", fixed),
        Route("probing.record", "POST", _AT + there + "/{name}/tests/{run}", fixed),
    )


ROUTES: tuple[Route, ...] = (
    Route("projects.list_", "GET", "/projects", by=("name",)),
    Route("projects.create", "POST", "/projects"),
    Route("projects.list_deleted", "GET", "/deleted-projects"),
    Route("projects.set_", "PATCH", "/projects/{name}"),
    Route("projects.require_deletable", "GET", "/projects/{name}/deletable"),
    Route("projects.delete", "DELETE", "/projects/{name}"),
    Route("projects.restore", "POST", "/deleted-projects/{name}/restore"),
    Route("environments.require", "GET", _IN + "/environments/required"),
    Route("environments.create", "PUT", _AT),
    Route("environments.require_deletable", "GET", _AT + "/deletable"),
    Route("environments.delete", "DELETE", _AT),
    Route("secrets.list_", "GET", _IN + "/secrets", by=("environment", "name")),
    Route("secrets.history", "GET", _AT + "/secrets/{name}/versions"),
    Route("secrets.runs_given", "GET", _AT + "/secrets/{name}/versions/{version}/runs"),
    Route("secrets.rollback", "POST", _AT + "/secrets/{name}/rollback"),
    Route("secrets.require_deletable", "GET", _AT + "/secrets/{name}/deletable"),
    Route("secrets.delete", "DELETE", _AT + "/secrets/{name}"),
    Route("secrets.due", "GET", "/due-secrets"),
    Route("variables.list_", "GET", _IN + "/variables", by=("environment", "name")),
    Route("variables.set_", "PUT", _IN + "/variables/{name}"),
    Route("variables.delete", "DELETE", _AT + "/variables/{name}"),
    *_connections("source"),
    *_connections("catalog"),
    Route("secrets.require_renamable", "GET", _AT + "/secrets/{name}/renamable"),
    Route("secrets.submit_rename", "POST", _AT + "/secrets/{name}/rename"),
    Route("secrets.reserve", "POST", _IN + "/secret-reservations"),
    Route("secrets.store_sealed", "POST", _IN + "/secrets"),
    Route("importing.store_sealed", "POST", _IN + "/imports"),
    Route("keys.list_", "GET", _IN + "/keys"),
    Route("keys.succession", "GET", _AT + "/keys"),
    Route("keys.submit_rotation", "POST", _AT + "/keys/rotate"),
    Route("keys.submit_rewrap", "POST", _IN + "/keys/rewrap"),
    Route("jobs.list_", "GET", _IN + "/jobs"),
    Route("jobs.serving", "GET", _AT + "/jobs/serving"),
    Route("jobs.show", "GET", _IN + "/jobs/{job}"),
    Route("runs.upload", "PUT", _AT + "/bundles/{digest}"),
    Route("runs.look_up", "POST", _AT + "/runs/look-up"),
    Route("runs.submit", "POST", _AT + "/runs"),
    Route("runs.submit_many", "POST", "/runs/batch"),
    Route("runs.retry", "POST", "/runs/{run}/retry"),
    Route("explanation.foresee", "POST", "/foreseen-runs"),
    Route("importing.there", "GET", _AT + "/import"),
    Route("runs.list_", "GET", "/runs"),
    Route("runs.show", "GET", "/runs/{run}"),
    Route("runs.state", "GET", "/runs/{run}/state"),
    Route("runs.kept", "GET", "/runs/{run}/left"),
    Route("runs.logs", "GET", "/runs/{run}/logs"),
    Route("runs.follow", "GET", "/runs/{run}/events"),
    Route("runs.open_file", "GET", "/runs/{run}/outputs/{path:path}"),
    Route("runs.cancel", "POST", "/runs/{run}/cancel"),
    Route("workers.attend", "POST", "/runs/{run}/attend"),
    Route("pruning.look", "GET", "/prunable-runs"),
    Route("audit.list_", "GET", _IN + "/audit"),
    Route("audit.export", "GET", _IN + "/audit/export"),
    Route("audit.verify", "GET", _IN + "/audit/verified"),
    Route("members.list_", "GET", "/members"),
    Route("members.add", "POST", "/members"),
    Route("members.remove", "DELETE", "/members"),
    Route("members.roles", "GET", "/roles"),
    Route("people.list_", "GET", "/people", by=("name",)),
    Route("people.create", "POST", "/people"),
    Route("people.disable", "POST", "/people/{name}/disable"),
    Route("people.enable", "POST", "/people/{name}/enable"),
    Route("people.delete", "DELETE", "/people/{name}"),
    Route("people.set_password", "PUT", "/people/{name}/password"),
    Route("tokens.list_", "GET", "/tokens"),
    Route("tokens.create", "POST", "/tokens"),
    Route("tokens.revoke", "DELETE", "/tokens/{token}"),
    Route("workers.list_", "GET", "/workers"),
    Route("workers.serving", "GET", "/serving-workers"),
)


BY_HAND = frozenset({"audit.export", "runs.logs", "runs.follow", "runs.open_file", "runs.upload"})
"""What is not one JSON document: see `streams`."""


def route_of(operation: str) -> Route:
    """The route of an operation that has one alone."""
    (found,) = (route for route in ROUTES if route.operation == operation)
    return found


@cache
def operation_of(name: str) -> Any:
    """The operation of a name, as in `secrets.list_`."""
    module, _, function = name.partition(".")
    return getattr(import_module(f"executor.operations.{module}"), function)


@cache
def taken_and_returned(name: str) -> tuple[type[Any] | None, Any]:
    """The input of an operation, None where it takes none, and what it returns."""
    hints = get_type_hints(operation_of(name))
    return hints.get("asked"), hints["return"]
