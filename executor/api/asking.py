"""Who asks for what: from a request to an operation that its caller may have carried out."""

from typing import TypeVar

from starlette.requests import Request

from executor.api.routes import Route
from executor.errors import Unauthenticated
from executor.operations import admission
from executor.operations.deployment import Deployment
from executor.people.principal import KnownActor, Principal
from executor.schemas.places import Input

ORIGIN = "api"

Asked = TypeVar("Asked", bound=Input | None)


def principal_of(request: Request) -> Principal:
    """Who asks.

    Raises:
        Unauthenticated: nobody that is known.
    """
    found = request.scope.get("state", {}).get("principal")
    if not isinstance(found, Principal):
        raise Unauthenticated
    return found


def require_still(at: Deployment, request: Request, route: Route, asked: Input) -> None:
    """Refuse whoever may not do this any more, of an answer that takes hours.

    Raises:
        SealrunError: as of `admit`.
    """
    request.scope["state"]["principal"] = request.scope["state"]["identify"]()
    admit(at, request, route, asked)


def admit(at: Deployment, request: Request, route: Route, asked: Asked) -> tuple[KnownActor, Asked]:
    """Who asks, and what, once they may.

    Raises:
        Unauthenticated: nobody that is known asks.
        SealrunError: as of `admission.admit`.
    """
    who = principal_of(request).as_actor(ORIGIN, request=request.scope["state"]["request_id"])
    return who, admission.admit(at, who, route.operation, asked)
