"""Only the names that the server is configured for are answered: a page elsewhere cannot point its own name here."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from executor.api import problems


class Hosts:
    """Answers 421 to a `Host` that is none of the server's, on loopback, too."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and Headers(scope=scope).get("host", "").lower() not in self.hosts:
            told = problems.answer(
                421,
                "host_unknown",
                "this server does not answer to that host name",
                "its operator names it in SEALRUN_PUBLIC_URL",
                scope.get("state", {}).get("request_id"),
            )
            await told(scope, receive, send)
            return
        await self.app(scope, receive, send)
