"""What is not one JSON answer: a run's output, as pages or as it comes, its files, and the audit as lines."""

import asyncio
import base64
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, BinaryIO, Literal, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from executor.api import asking
from executor.api.problems import PROBLEMS
from executor.api.routes import route_of
from executor.errors import SourceRefused
from executor.operations import audit, runs
from executor.operations.deployment import Deployment
from executor.schemas.asking import asked as asked_for
from executor.schemas.audit import ExportedEvents
from executor.schemas.order import Upload, Uploaded
from executor.schemas.output import BEGINNING, Place, StoredPiece
from executor.schemas.run_operations import FileOf, Look, OutputOf
from secretstore.errors import DatabaseUnavailable, SealrunError
from secretstore.reservation import Moment

_PAGE = 64
_AT_A_TIME = 4  # pieces that a follower is sent at once: a hundred that read slowly hold no more than that
_PULSE = 15.0  # seconds after which a silent stream says that it lives

_ASKED_AGAIN = 20.0  # seconds after which it is looked up whether who follows still may
EXPORT = "application/jsonl"

PLACE = r"^[0-9]{1,9}:[0-9]{1,9}$"
After = Annotated[str | None, Query(pattern=PLACE, description="The place behind which to begin: `ATTEMPT:SEQUENCE`.")]
Streams = Annotated[
    list[Literal["stdout", "stderr", "setup"]] | None,
    Query(description="Of these streams, else of all."),
]


class Followed(Protocol):
    """A run that is looked at again and again."""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""

    def look(self) -> Look:
        """Look once."""


class LogPiece(BaseModel):
    """A piece of a run's masked output; `place` is where to go on from."""

    place: str
    stream: str
    at: datetime
    data: str = Field(description="The bytes, in base64.", json_schema_extra={"contentEncoding": "base64"})

    @classmethod
    def of(cls, piece: StoredPiece) -> "LogPiece":
        """As it is sent."""
        data = base64.b64encode(piece.data).decode()
        return cls(place=str(piece.place), stream=piece.stream, at=piece.at, data=data)


class LogPage(BaseModel):
    """Some of a run's output, and the place behind it; None where there is no more so far."""

    items: list[LogPiece]
    next: str | None = None


def router(at: Deployment, leaving: Callable[[], bool]) -> APIRouter:
    """The routes of a run's output; streams end when the process is `leaving`."""
    made = APIRouter(tags=["runs"])
    _logs(made, at)
    _events(made, at, leaving)
    _file(made, at)
    _upload(made, at)
    _export(made, at)
    return made


def _logs(made: APIRouter, at: Deployment) -> None:
    route = route_of("runs.logs")

    @made.get(route.path, name=route.name, operation_id=route.name, responses=dict(PROBLEMS))
    def logs(
        request: Request,
        run: Annotated[str, Path()],
        after: After = None,
        streams: Streams = None,
        attempt: Annotated[int | None, Query(ge=1, lt=1 << 31)] = None,
        limit: Annotated[int, Query(ge=1, le=_PAGE)] = _PAGE,
    ) -> LogPage:
        """A part of a run's masked output."""
        asked = asked_for(OutputOf, run=run, after=_place(after), streams=streams, attempt=attempt)
        who, asked = asking.admit(at, request, route, asked)
        pieces = [LogPiece.of(piece) for piece in runs.logs_page(at, who, asked, limit=limit)]
        return LogPage(items=pieces, next=pieces[-1].place if len(pieces) == limit else None)


def _events(made: APIRouter, at: Deployment, leaving: Callable[[], bool]) -> None:
    route = route_of("runs.follow")

    @made.get(
        route.path,
        name=route.name,
        operation_id=route.name,
        response_class=StreamingResponse,
        responses={**PROBLEMS, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        request: Request,
        run: Annotated[str, Path()],
        after: After = None,
        streams: Streams = None,
        last_event_id: Annotated[str | None, Header(pattern=PLACE)] = None,
    ) -> StreamingResponse:
        """A run's output as it comes, as server-sent events.

        `output` has a piece and its place as the event's id: who comes back with that as Last-Event-ID loses and
        repeats nothing. `state` says how the run is, whenever that changes; `end` that nothing more will come.
        """
        asked = asked_for(OutputOf, run=run, after=_place(last_event_id or after), streams=streams)

        def begin() -> tuple[Followed, Callable[[], None]]:
            who, whole = asking.admit(at, request, route, asked)
            following = runs.following(at, who, whole, at_a_time=_AT_A_TIME)
            return following, partial(asking.require_still, at, request, route, whole)

        told = _told(*await run_in_threadpool(begin), leaving)
        return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _told(
    following: Followed, require_still: Callable[[], None], leaving: Callable[[], bool]
) -> AsyncIterator[bytes]:
    standing: dict[str, Any] | None = None
    spoken = asked = time.monotonic()
    while not leaving():
        if time.monotonic() - asked > _ASKED_AGAIN:
            try:
                await run_in_threadpool(require_still)
            except DatabaseUnavailable:
                pass  # what is read below is not there either
            except SealrunError:
                return  # without `end`: whoever comes back hears why
            asked = time.monotonic()
        look: Look = await run_in_threadpool(following.look)
        now = {
            "state": look.state,
            "away": look.away,
            "retried": look.retried,
            "held_up": look.held_up,
            "lost_to": look.lost_to,
        }
        said = b""
        if now != standing:
            standing, said = now, format_sse_event(event="state", data_str=json.dumps(now))
        for piece in look.pieces:
            shown = LogPiece.of(piece)
            said += format_sse_event(event="output", id=shown.place, data_str=shown.model_dump_json())
        if following.over:
            yield said + format_sse_event(event="end", data_str=json.dumps({"state": look.state}))
            return
        if not said and time.monotonic() - spoken > _PULSE:
            said = format_sse_event(comment="still here")
        if said:
            spoken = time.monotonic()
            yield said
        await asyncio.sleep(following.pause)


def _upload(made: APIRouter, at: Deployment) -> None:
    route = route_of("runs.upload")

    @made.put(
        route.path,
        name=route.name,
        operation_id=route.name,
        responses=dict(PROBLEMS),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def upload(
        request: Request,
        project: Annotated[str, Path()],
        environment: Annotated[str, Path()],
        digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
        size: Annotated[int, Query(gt=0, description="Bytes of the archive.")],
    ) -> Uploaded:
        """Send a source for runs of an environment: a tar of ours, named by the SHA-256 of its bytes."""
        asked = asked_for(Upload, project=project, environment=environment, digest=digest, size=size)
        who, asked = await run_in_threadpool(asking.admit, at, request, route, asked)
        with tempfile.TemporaryFile() as content:  # no thread waits for a slow sender
            await _receive(request, content, asked.size)
            return await run_in_threadpool(runs.upload, at, who, asked, content)


async def _receive(request: Request, content: BinaryIO, most: int) -> None:
    async for part in request.stream():
        most -= len(part)
        if most < 0:
            raise SourceRefused("the source is longer than was said")
        content.write(part)
    content.flush()


def _file(made: APIRouter, at: Deployment) -> None:
    route = route_of("runs.open_file")

    @made.get(
        route.path,
        name=route.name,
        operation_id=route.name,
        response_class=StreamingResponse,
        responses={**PROBLEMS, 200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
    )
    def file(
        request: Request,
        run: Annotated[str, Path()],
        path: Annotated[str, Path()],
        attempt: Annotated[int | None, Query(ge=1, lt=1 << 31)] = None,
    ) -> StreamingResponse:
        """A file that a run left, as an attachment: never something that a browser shows."""
        asked = asked_for(FileOf, run=run, path=path, attempt=attempt)
        who, asked = asking.admit(at, request, route, asked)
        found = runs.open_file(at, who, asked)
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}",
            "content-length": str(found.size),
        }
        return StreamingResponse(found.parts, media_type="application/octet-stream", headers=headers)


def _export(made: APIRouter, at: Deployment) -> None:
    route = route_of("audit.export")

    @made.get(
        route.path,
        name=route.name,
        operation_id=route.name,
        tags=["audit"],
        response_class=StreamingResponse,
        responses={**PROBLEMS, 200: {"content": {EXPORT: {"schema": {"type": "string"}}}}},
    )
    def export(
        request: Request,
        project: Annotated[str, Path()],
        since: Annotated[Moment | None, Query(description="Those since then.")] = None,
    ) -> StreamingResponse:
        """All of a project's audit events as JSON Lines, in the order of their chain and as they are hashed."""
        who, asked = asking.admit(at, request, route, asked_for(ExportedEvents, project=project, since=since))
        some = audit.export(at, who, asked)
        lines = ("".join(json.dumps(event.fields()) + "\n" for event in events) for events in some)
        return StreamingResponse(lines, media_type=EXPORT)


def _place(text: str | None) -> Place:
    return BEGINNING if text is None else Place.parse(text)
