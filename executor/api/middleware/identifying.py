"""Who asks: a token of the `Authorization` header, or a browser's session. Before anything of the body is read."""

from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.api import cookies, problems
from executor.api.routes import BASE
from executor.errors import Forbidden, Unauthenticated
from executor.people import sessions
from executor.people.principal import Principal
from executor.people.tokens import authenticate_token
from secretstore.database import Database
from secretstore.errors import SealrunError

_SAFE = ("GET", "HEAD", "OPTIONS")


class Identifying:
    """Lets only who is known come to the API; what is open to all names itself."""

    def __init__(self, app: ASGIApp, db: Database, origin: str, open_: frozenset[str]) -> None:
        """Keep how people are told.

        Args:
            app: what comes behind.
            db: where tokens and sessions are.
            origin: of the server, as browsers send it.
            open_: paths of the API that need nobody.
        """
        self.app, self.db, self.origin, self.open = app, db, origin, open_

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its `principal`, or refuse it."""
        if scope["type"] != "http" or not scope["path"].startswith(BASE) or scope["path"] in self.open:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            principal = await run_in_threadpool(self._known, headers)
            if principal.way == "session" and scope["method"] not in _SAFE:
                require_same_origin(headers, self.origin)
        except SealrunError as refused:
            await problems.of_error(refused, scope["state"]["request_id"])(scope, receive, send)
            return
        scope["state"]["principal"] = principal
        scope["state"]["identify"] = partial(self._known, headers)
        if principal.renew:
            send = await run_in_threadpool(self._renewed, headers, send)
        await self.app(scope, receive, send)

    def _renewed(self, headers: Headers, send: Send) -> Send:
        """Change the session's id, after a change of its rights; the answer brings the new one."""
        new = sessions.renew(self.db, cookies.read(headers, cookies.SESSION))
        if new is None:
            return send
        giving = Response()
        cookies.give(giving, cookies.SESSION, new)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", giving.headers["set-cookie"])
            await send(message)

        return answer

    def _known(self, headers: Headers) -> Principal:
        given = headers.get("authorization", "")
        kind, _, text = given.partition(" ")
        if kind.lower() == "bearer":
            return authenticate_token(self.db, text.strip())
        if given:
            raise Unauthenticated("the Authorization header holds no bearer token")
        return sessions.authenticate_session(self.db, cookies.read(headers, cookies.SESSION))


def require_same_origin(headers: Headers, origin: str) -> None:
    """Refuse what a page of another origin sends with this browser's cookie.

    Raises:
        Forbidden: it comes from elsewhere.
    """
    site, sent = headers.get("sec-fetch-site"), headers.get("origin")
    same = site in ("same-origin", "none") if site is not None else sent in (None, origin)
    if not same:
        raise Forbidden("this was sent by a page of another origin", hint="do it from the console itself")
