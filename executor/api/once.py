"""Requests that are sent again: with an Idempotency-Key they are answered as the first time, and not done again."""

import json
from collections.abc import Callable

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python
from starlette.responses import Response

from executor.api.routes import Route
from executor.people import idempotency
from executor.people.idempotency import Stored
from secretstore.database import Database

HEADER = "Idempotency-Key"


def answered(
    db: Database, principal_id: str, route: Route, key: str, asked: BaseModel | None, act: Callable[[], bytes]
) -> Response:
    """The answer that the first request with this key had; the first one is done.

    Only what was done is kept: one that was refused may be sent again once what refused it is mended.

    Raises:
        RequestUnclear: the key cannot be one.
        AnswerPending: the first one is under way.
        KeyOfAnother: the first one had another body.
    """
    body = b"" if asked is None else _body(asked)
    project = getattr(asked, "project", None)
    request = idempotency.Request(principal_id, project, route.name, key, body)
    stored = idempotency.begin(db, request)
    if stored is None:
        try:
            stored = Stored(200, {"content-type": "application/json"}, act())
        except BaseException:
            idempotency.give_up(db, request)
            raise
        idempotency.finish(db, request, stored)
    return Response(stored.body, stored.status, dict(stored.headers))


def _body(asked: BaseModel) -> bytes:
    """What is asked, as bytes of which a digest is kept; a word of a command line may be no text."""
    try:
        return asked.model_dump_json().encode()
    except PydanticSerializationError:
        return json.dumps(asked.model_dump(), default=to_jsonable_python).encode()
