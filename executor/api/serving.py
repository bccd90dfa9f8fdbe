"""The server as a process: uvicorn around the application, with its bounds."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from executor.api.application import Origin, create_application
from executor.api.confining import Bounds, confine
from executor.api.oidc import Provider
from executor.api.tidying import tidying
from executor.operations.deployment import Deployment
from executor.server_settings import ServerSettings

_CONNECTIONS = 1_000
_HEADERS = 32 << 10  # bytes
SECONDS_OF_HEAD = 10
"""In which the head of a request comes."""
_KEEP_ALIVE = 30  # seconds
_STOP = 10  # seconds that requests under way have to end
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(at: Deployment, server: ServerSettings, listening: socket.socket, begun: Callable[[Bounds], None]) -> None:
    """Answer requests until a signal ends it, in a process that can read no key.

    Args:
        at: the deployment, opened by this process.
        server: the server's own settings.
        listening: takes connections already; they wait until all is ready.
        begun: is told what bounds are in force, before the first request is answered.

    Raises:
        NotConfined: this process cannot be bound.
    """
    logging.getLogger("uvicorn.access").disabled = True  # it would write paths with their queries
    provider = None
    if server.oidc is not None:
        provider = Provider(server.oidc, f"{server.public_url}/log-in/callback")
    program: uvicorn.Server
    app = create_application(at, Origin(server.public_url, server.hosts, provider), leaving=lambda: program.should_exit)
    config = uvicorn.Config(
        app,
        http=Patient,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=list(server.trusted_proxies),
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADERS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_STOP,
    )
    program = uvicorn.Server(config)
    with _ending(program):
        begun(confine(at))
        with tidying(at):
            program.run(sockets=[listening])


@contextmanager
def _ending(program: uvicorn.Server) -> Iterator[None]:
    """Let each of the usual signals end it alike. uvicorn raises those that it caught again, once it has ended."""

    def end(*_: object) -> None:
        program.should_exit = True

    before = {number: signal.signal(number, end) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Patient(H11Protocol):
    """Ends a connection on which the head of a request does not come in time: uvicorn waits for it without end."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first one."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """See whether a head has come; behind an answer it is waited for once a byte of the next one is there."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._waiting is None and self.conn.trailing_data[0]:
            self._wait()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(SECONDS_OF_HEAD, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
