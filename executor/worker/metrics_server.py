"""Where a worker's numbers are asked for: whoever reaches it, a run too, has a few connections for a few seconds."""

import contextlib
import io
import logging
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

AT_ONCE = 8
"""Connections at a time; what comes beyond them is closed at once."""
PATIENCE = 3.0
"""Seconds for a whole request, and as many for a part of the answer."""

_LARGEST = 8192  # bytes of a request
_PAUSE = 0.1  # seconds

logger = logging.getLogger("sealrun")


class Brief(BaseHTTPRequestHandler):
    """Takes one small request that comes in time, and answers it in time."""

    timeout = PATIENCE

    def setup(self) -> None:
        """Have the whole request before any of it is looked at: a limit for each read alone would begin anew."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(_request(self.connection))
        self.connection.settimeout(PATIENCE)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """Serves as long as it is open, a few connections at a time."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self._room = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(address, handler)
        threading.Thread(target=self.serve_forever, name="sealrun-metrics", daemon=True).start()

    def get_request(self) -> Any:
        """Take a connection; where there is no descriptor for it, it would be seen again without a pause."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where there is room for another."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be had, so none gives the room back
            self._room.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked may have gone; anything else is a fault."""
        if not isinstance(sys.exception(), OSError):
            logger.exception("a worker's numbers: unforeseen")


def _request(connection: socket.socket) -> bytes:
    """The whole of a request without a body; nothing where it is too large, or takes too long."""
    data, until = b"", time.monotonic() + PATIENCE
    with contextlib.suppress(TimeoutError):
        while len(data) <= _LARGEST and (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            more = connection.recv(_LARGEST)
            data += more
            if b"\r\n\r\n" in data or b"\n\n" in data:
                return data
            if not more:
                break
    return b""
