"""What went wrong, as problem details (RFC 9457), from the error's own code, sentence and hint. It quotes no value."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from executor.errors import TooManyAttempts
from executor.sandbox.fork import place_of
from secretstore.errors import DatabaseUnavailable, SealrunError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class ProblemDetails(BaseModel):
    """Problem details: `code` is for programs, `detail` and `hint` are for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    request_id: str | None = None


PROBLEMS: Mapping[int | str, Any] = {
    status: {"model": ProblemDetails, "description": "What is wrong, and how to mend it.", "content": {MEDIA_TYPE: {}}}
    for status in ("4XX", 502, 503, 504, 507)
}
"""What any route may answer beside what it is for."""


def answer(
    status: int,
    code: str,
    detail: str,
    hint: str | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as an answer."""
    problem = ProblemDetails(
        type=f"urn:sealrun:error:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        request_id=request_id,
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(error: SealrunError, request_id: str | None = None) -> JSONResponse:
    """The problem that an error of ours is."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else {}
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(error.names["seconds"])
    if isinstance(error, DatabaseUnavailable):  # where that is, its operator alone has to know
        return answer(error.status, error.code, "the server's database cannot be used now", None, request_id, headers)
    return answer(error.status, error.code, error.message, error.hint, request_id, headers)


def request_id(request: Request) -> str | None:
    """The id of the request, which its audit entries have, too."""
    found = request.scope.get("state", {}).get("request_id")
    return str(found) if found else None


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """An error of ours."""
    assert isinstance(error, SealrunError), "it is registered for these alone"
    return of_error(error, request_id(request))


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """What does not fit the description: the fields and what each should be, never what was sent."""
    assert isinstance(error, RequestValidationError), "it is registered for these alone"
    said = [f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {_said(one)}" for one in error.errors()]
    return answer(422, "request_unclear", "; ".join(said[:5]), request_id=request_id(request))


def _said(one: Mapping[str, Any]) -> str:
    """What pydantic says, unless that quotes what was sent: of a tag it does."""
    if one["type"] == "union_tag_invalid":
        return f"Input should be one of {one['ctx']['expected_tags']}"
    return str(one["msg"]).removeprefix("Value error, ")


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """What the router itself refuses: no such route, no such method."""
    assert isinstance(error, HTTPException), "it is registered for these alone"
    path = request.scope["path"]
    detail = f"there is no {request.method} {path}" if error.status_code in (404, 405) else error.detail
    code = {404: "no_such_route", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := request.app.state.allowed(path)):
        headers["Allow"] = methods  # the router knows of the first route alone that has the path
    return answer(error.status_code, code, detail, request_id=request_id(request), headers=headers)


def unforeseen(error: Exception, id_: str | None) -> JSONResponse:
    """A fault of ours."""
    log(error, id_)
    return answer(500, "internal_error", "the server failed; its log has the request's id", request_id=id_)


def log(error: Exception, id_: str | None) -> None:
    """Write down a failure, and the text of no exception that saw a request."""
    _log.error("request %s failed: %s", id_, kind_and_place(error))


def kind_and_place(error: Exception) -> str:
    """What may be said of an exception that nobody foresaw: its text may quote what it saw."""
    return f"{type(error).__name__}{place_of(error)}"
