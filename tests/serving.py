"""Servers on loopback: of ours in a thread of this process or as `sealrun serve`, and one of a stranger's."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2 as httpx
import uvicorn

from executor.api.application import Origin, create_application
from executor.api.routes import BASE
from executor.operations.deployment import Deployment
from executor.people import accounts, memberships, tokens
from executor.people.principal import INSTALLATION, Place, operator
from executor.settings import read_settings
from secretstore.audit import Actor
from tests.processes import eventually

OPERATOR = Actor("ada", "cli")


def token_of(at: Deployment, name: str, role: str = "admin", place: Place = INSTALLATION) -> str:
    """A token of a new service account that has a role at a place."""
    by = operator("ada")
    accounts.create(at.db, name, service=True, actor=OPERATOR)
    memberships.give(at.db, name, role, place, actor=OPERATOR, by=by)
    return tokens.create(at.db, name, "t", role, place, actor=OPERATOR, by=by).token


class Served:
    """A deployment's API on a port of its own, which can be stopped and started again there."""

    def __init__(self, at: Deployment) -> None:
        self._at = at
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        app = create_application(self._at, Origin(self.url, frozenset({f"127.0.0.1:{self.port}"})))
        config = uvicorn.Config(app, "127.0.0.1", self.port, log_level="warning", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started, 30, "the server listens")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server ends"


@contextlib.contextmanager
def served(at: Deployment) -> Iterator[Served]:
    """A server of a deployment, in a thread."""
    server = Served(at)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def serving(environ: Mapping[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    """`sealrun serve` with these settings: its URL, and the token of an admin. What it says is in `serve.log`."""
    at = Deployment.open(read_settings(environ))
    try:
        token = token_of(at, "robot")
    finally:
        at.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "executor.cli", "serve", "--listen", url.removeprefix("http://")]
    with open(folder / "serve.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        eventually(lambda: _answers(url) or process.poll() is not None, 60, "the server answers")
        assert process.poll() is None, (folder / "serve.log").read_text()
        yield url, token
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + BASE + "/health", trust_env=False, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


Answer = tuple[int, Mapping[str, str], bytes]


@dataclass
class Stranger:
    """A web server that is none of ours: what it was sent, and what it answers."""

    port: int
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Method, path, headers and body."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def stranger(answer: Callable[[str, str, bytes], Any]) -> Iterator[Stranger]:
    """A server that answers what a function says of method, path and body: JSON, or status, headers and bytes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            told = answer(self.command, self.path, body)
            status, headers, content = told if isinstance(told, tuple) else (200, {}, json.dumps(told).encode())
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Stranger(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
