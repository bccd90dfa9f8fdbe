"""The application: its routes, what every request passes before them, and its own description."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from executor.api import describing, endpoints, entry, health, problems, streams
from executor.api.middleware.bodies import Bodies
from executor.api.middleware.hosts import Hosts
from executor.api.middleware.identifying import Identifying
from executor.api.middleware.requests import Requests
from executor.api.oidc import Provider
from executor.api.pages import routes as pages
from executor.api.pages.showing import FOLDER
from executor.api.routes import BASE
from executor.operations.deployment import Deployment
from executor.source.packing import archive_limit
from secretstore.errors import SealrunError

VERSION = "1"
_OPEN = frozenset(BASE + path for path in (*health.OPEN, *entry.OPEN, "/openapi.json"))
"""What is answered to everybody: it says nothing of the deployment."""


_BUNDLE = re.compile(r"/bundles/[0-9a-f]{64}$")
RUNS_AT_ONCE = 48 << 20
"""Bytes of the JSON of many runs: above what they may have of targets and variables."""


@dataclass(frozen=True)
class Origin:
    """Where people reach the server: what its cookies, links and checks go by."""

    url: str
    """As `https://sealrun.example.com`, without a path."""
    hosts: frozenset[str]
    """What a request's `Host` may be."""
    provider: Provider | None = None
    """By which people log in, if not by passwords alone."""


def create_application(at: Deployment, origin: Origin, leaving: Callable[[], bool] = lambda: False) -> FastAPI:
    """The API of a deployment. It holds no state: two processes behind one proxy are one server.

    `leaving` tells whether the process is about to end: who follows a run is let go then, and comes back to the next.
    """
    app = FastAPI(
        title="sealrun",
        version=VERSION,
        description="Projects, their sealed secrets, and runs that are given them. No route shows a secret's value.",
        openapi_url=f"{BASE}/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    for kind, told in (
        (SealrunError, problems.on_error),
        (RequestValidationError, problems.on_invalid),
        (HTTPException, problems.on_http),
    ):
        app.add_exception_handler(kind, told)
    for made in (endpoints.router(at), streams.router(at, leaving), entry.router(at.db, origin.url), health.router(at)):
        app.include_router(made, prefix=BASE)
    app.include_router(pages.router(at.db, origin.url, origin.provider))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    describing.describe(app, _OPEN)
    # The last one added is the outermost.
    app.add_middleware(Identifying, db=at.db, origin=origin.url, open_=_OPEN)
    app.add_middleware(Bodies, most=functools.partial(_most, at))
    app.add_middleware(Hosts, hosts=origin.hosts)
    app.add_middleware(Requests)
    return app


def _most(at: Deployment, scope: Scope) -> int | None:
    """Bytes of a body, where a route takes more than others: a source, and many runs at once, of who may have any."""
    who = scope.get("state", {}).get("principal")
    if who is not None and not any("use" in grant.verbs for grant in who.grants):
        return None
    if _BUNDLE.search(scope["path"]):
        return archive_limit(at.settings.source_bytes)
    return RUNS_AT_ONCE if scope["path"] == f"{BASE}/runs/batch" else None
