"""How large a request may be, and how slow: what has no bound fills a server's memory or holds its connections."""

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.api import problems

LARGEST = 8 << 20
"""Bytes of a body where the route says nothing."""
SECONDS = 30.0
"""Between two parts of a body that is read."""
SLOWEST = 8 << 10
"""Bytes a second that a body comes with on the whole: one that drips would hold its connection for days."""
READING = 60.0
"""Seconds in which a caller has to take a part of the answer."""


class Refused(Exception):
    """A body that is too large, or does not come."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail


class Bodies:
    """Refuses a body that is larger than its route takes, before it is read where it says its length, or too slow."""

    def __init__(self, app: ASGIApp, most: Callable[[Scope], int | None]) -> None:
        """Keep the bounds.

        Args:
            app: what comes behind.
            most: bytes by a request, of routes that take more than `LARGEST`; asked again once it is known who asks.
        """
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is watched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.most(scope) or LARGEST
        read, begun, finished, refused = 0, False, False, None
        since = time.monotonic()

        async def watched() -> Message:
            nonlocal read, finished, refused, most
            if finished:  # a follower waits for the end of its connection as long as it lasts
                return await receive()
            try:
                left = since + SECONDS + read / SLOWEST - time.monotonic()
                message = await asyncio.wait_for(receive(), max(min(left, SECONDS), 0))
            except TimeoutError:
                refused = Refused(408, "body_too_slow", "the body of the request did not come in time")
                raise refused from None
            if message["type"] == "http.request":
                most = most if read else self.most(scope) or LARGEST
                read += len(message.get("body", b""))
                finished = not message.get("more_body", False)
                if read > most:
                    refused = _too_large(most)
                    raise refused
            return message

        async def answer(message: Message) -> None:
            nonlocal begun
            if refused is not None and not begun:
                return  # whoever read the body makes a problem of its own of it
            begun = begun or message["type"] == "http.response.start"
            await asyncio.wait_for(send(message), READING)  # who does not read holds nothing for long

        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if "content-length" in headers and "transfer-encoding" in headers:
            # Whoever stands between may end the body elsewhere: RFC 9112, section 6.1.
            refused = Refused(400, "body_unclear", "the request says in two ways how long its body is")
        elif length.isdecimal() and int(length) > most:
            refused = _too_large(most)
        else:
            try:
                await self.app(scope, watched, answer)
            except Refused:
                if begun:
                    raise
        if refused is not None and not begun:
            id_ = scope.get("state", {}).get("request_id")
            told = problems.answer(refused.status, refused.code, refused.detail, request_id=id_)
            told.headers["connection"] = "close"
            await told(scope, receive, send)


def _too_large(most: int) -> Refused:
    return Refused(413, "body_too_large", f"a body may have {most:,} bytes here")
