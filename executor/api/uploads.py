"""A run's source, as it is sent: into a file without a name, before anything is done with it."""

import re
import tempfile
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from executor.api import asking
from executor.api.endpoints import PROBLEMS
from executor.api.routes import BASE, route_of
from executor.errors import SourceRefused
from executor.operations import orders
from executor.operations.deployment import Deployment
from executor.schemas.asking import asked as asked_for
from executor.schemas.order import Upload, Uploaded

PATH = re.compile(re.escape(BASE) + r"/projects/[^/]+/environments/[^/]+/uploads/[0-9a-f]{64}")
"""Where a body may be as large as a source."""

Name = Annotated[str, Path()]


def router(at: Deployment) -> APIRouter:
    """The route of an upload."""
    made = APIRouter(tags=["orders"])
    route = route_of("orders.upload")

    @made.put(
        route.path,
        name=route.name,
        operation_id=route.name,
        responses=dict(PROBLEMS),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def upload(request: Request, project: Name, environment: Name, digest: Name) -> Uploaded:
        """Send a source for runs of a project: an archive as `sealrun run` makes it; its SHA-256 is its name."""
        said = asked_for(Upload, project=project, environment=environment, digest=digest, size=_length(request))
        who, admitted = await run_in_threadpool(asking.admit, at, request, route, said)
        with tempfile.TemporaryFile() as content:
            await _receive(request, content, admitted.size)
            return await run_in_threadpool(orders.upload, at, who, admitted, content)

    return made


def _length(request: Request) -> int:
    """How many bytes the request says that it has."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else 0


async def _receive(request: Request, content: BinaryIO, most: int) -> None:
    left = most
    async for part in request.stream():
        left -= len(part)
        if left < 0:
            raise SourceRefused("the source is longer than was said")
        content.write(part)
    content.flush()
