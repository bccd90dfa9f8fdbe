"""Whether the server lives, and whether it is ready: without a credential, and without a word about the deployment."""

from fastapi import APIRouter
from sqlalchemy import select
from starlette.responses import JSONResponse

from executor.operations.deployment import Deployment
from secretstore.errors import DatabaseUnavailable

ALIVE, READY = "/health", "/health/ready"
OPEN = (ALIVE, READY)
"""Paths that need nobody."""


def router(at: Deployment) -> APIRouter:
    """Both routes."""
    made = APIRouter(tags=["health"])

    @made.get(ALIVE, operation_id="health.alive", summary="The process answers.")
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @made.get(READY, operation_id="health.ready", summary="The process reaches its database.", responses={503: {}})
    def ready() -> JSONResponse:
        try:
            with at.db.reading() as session:
                session.execute(select(1))
        except DatabaseUnavailable:
            return JSONResponse({"status": "database_unavailable"}, 503)
        return JSONResponse({"status": "ok"})

    return made
