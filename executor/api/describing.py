"""The API's description: OpenAPI 3.1, made of the routes, as it is served and as it stands in the documentation.

What FastAPI cannot know is added: how who asks is known, what is wrong as problem details, and the headers that every
request may have, and every answer has.
"""

import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.routing import compile_path

from executor.api import cookies, once
from executor.api.middleware import requests
from executor.api.problems import MEDIA_TYPE, PROBLEMS
from executor.api.routes import BASE, ROUTES
from executor.people.idempotency import LONGEST

_REQUEST_ID = {"$ref": "#/components/headers/RequestId"}
_PROBLEM = {
    "description": "What is wrong, and how to mend it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
    "headers": {requests.HEADER.title(): _REQUEST_ID},
}
_WRONG = frozenset(map(str, PROBLEMS))
_KNOWN = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token: `srn_`, a letter, and 36 letters and digits. See `sealrun token create`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": cookies.SESSION,
        "description": "A browser's session, begun by a log-in. What changes something takes the server's own Origin.",
    },
}
_KEY = {
    "name": once.HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
    "description": "A request that is sent again with its key and its body is answered as the first time, and not done "
    "again, for a day.",
}
_ID = {
    "description": "The id of the request: the one that was sent, if it is a word of 8 to 64 letters, digits, `.`, `_` "
    "and `-`. It stands in the audit log, too.",
    "schema": {"type": "string"},
}


def describe(app: FastAPI, open_: Collection[str]) -> None:
    """Have the application tell of itself what it does not know; `open_` are the paths that need nobody."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made(), open_)
        found: dict[str, Any] = app.openapi_schema or {}
        return found

    app.state.allowed = _methods(app)
    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of adding to it


def _methods(app: FastAPI) -> Callable[[str], str | None]:
    """The methods of a path of the API, as `Allow` lists them; None for a page, which knows its own."""

    @cache
    def shapes() -> list[tuple[re.Pattern[str], str]]:
        paths = app.openapi()["paths"].items()
        return [(compile_path(path)[0], ", ".join(sorted(map(str.upper, methods)))) for path, methods in paths]

    return lambda path: next((methods for shape, methods in shapes() if shape.match(path)), None)


def _complete(description: dict[str, Any], open_: Collection[str]) -> None:
    components = description["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components |= {
        "securitySchemes": _KNOWN,
        "responses": {"Problem": _PROBLEM},
        "headers": {"RequestId": _ID},
        "parameters": {"IdempotencyKey": _KEY},
    }
    description["security"] = [{name: []} for name in _KNOWN]
    repeatable = {route.name for route in ROUTES if route.repeatable}
    for path, operation in _operations(description):
        if path in open_:
            operation["security"] = []
        if operation["operationId"] in repeatable:
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
        answers = operation["responses"]
        answers.pop("422", None)  # FastAPI's own word for it: ours is among the problems
        for status in answers:
            if status in _WRONG:
                answers[status] = {"$ref": "#/components/responses/Problem"}
            else:
                answers[status].setdefault("headers", {})[requests.HEADER.title()] = _REQUEST_ID


def _operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        assert path.startswith(BASE), "pages are no part of it"
        for operation in methods.values():
            yield path, operation
