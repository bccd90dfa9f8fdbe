"""The probe of a Unity Catalog, before servers that mean harm; with others it is tested in tests/system."""

import importlib.util
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from executor.operations.probing import PROBES

TOKEN = "canary-unity-token-4711"


class Servers:
    """Servers on this machine, and the tokens that they were sent, by the name they answer under."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []
        self._servers: list[ThreadingHTTPServer] = []

    def start(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> int:
        """One that gives this answer; returns its port."""
        tokens = self.tokens

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tokens.append(self.headers["Authorization"])
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return int(server.server_address[1])

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


def probed(port: int) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("unity", PROBES / "unity.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.probe(SimpleNamespace(endpoint=f"http://127.0.0.1:{port}", token=TOKEN))
    return found


def catalogs(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"catalogs": []}')


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_where_an_answer_points(servers: Servers, status: int) -> None:
    """It is for the host that was named when the catalog was made."""
    other = servers.start(catalogs)

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"http://localhost:{other}/api/2.1/unity-catalog/catalogs")
        handler.end_headers()

    found = probed(servers.start(elsewhere))
    assert servers.tokens == [f"Bearer {TOKEN}"]
    assert not found["ok"] and found["said"].endswith(f"(HTTP {status})")


@pytest.mark.parametrize("answer", [b"canary of no HTTP\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_what_is_no_answer_of_http(servers: Servers, answer: bytes) -> None:
    """A sentence, and none that quotes it."""
    found = probed(servers.start(lambda handler: handler.wfile.write(answer) and None))
    assert not found["ok"] and "does not answer as a Unity Catalog does" in found["said"]
    assert "canary" not in found["said"]
