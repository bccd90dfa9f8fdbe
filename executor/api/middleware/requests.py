"""A request's id, the headers that every answer has, and what becomes of a fault of ours."""

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.api import problems
from secretstore.errors import SealrunError

HEADER = "x-request-id"
_KNOWN = re.compile(r"[A-Za-z0-9._-]{8,64}")

SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer that does not say otherwise itself."""


class Requests:
    """Gives a request its id, which its answer and its audit entries have; the caller's, where it is a plain word."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; whatever it raises becomes a problem that says nothing but the id."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        id_ = given if _KNOWN.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = id_
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers[HEADER] = id_
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - a fault of ours: no text of it is told, or logged
            if begun:  # the server closes the connection of an answer that does not end
                problems.log(error, id_)
                return
            told = problems.of_error(error, id_) if isinstance(error, SealrunError) else problems.unforeseen(error, id_)
            await told(scope, receive, answer)
