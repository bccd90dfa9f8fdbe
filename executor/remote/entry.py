"""Coming to a token of one's own: beside a browser, by a code that is typed into one, or by one that is given.

Nothing here is sent with a token but the question whose it is.
"""

import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from pydantic import BaseModel

from executor.errors import LogInFailed, ServerUnusable
from executor.masking.token_shape import is_token
from executor.remote.origin import origin_of
from executor.remote.routed import parsed
from executor.remote.server import Server
from secretstore.errors import SealrunError

WITHIN = 300.0
"""Seconds for which a browser is waited for."""

_PAGE = b"<!doctype html><meta charset=utf-8><title>sealrun</title><p>%s</p>"
_DONE = b"You can close this page and go back to the command line."
_NOTHING = b"This is not what the command line waits for."


@dataclass(frozen=True)
class Granted:
    """A token, and whose it is."""

    name: str
    token: str = field(repr=False)


class Grant(BaseModel):
    """Verbs at a place, and everywhere in it; without a project in the installation."""

    project_id: str | None = None
    environment_id: str | None = None
    verbs: list[str]


class Me(BaseModel):
    """Who asks, as the server says, and what they may do where."""

    kind: str
    name: str
    way: str
    grants: list[Grant]


class _Made(BaseModel):
    owner: str


class _Given(BaseModel):
    token: str
    made: _Made


class _Answer(BaseModel):
    state: str
    given: _Given | None = None


class _Begun(BaseModel):
    code: str
    url: str
    secret: str
    seconds: float
    poll_seconds: float


def me(server: Server) -> Me:
    """Who the server takes us for.

    Raises:
        SealrunError: as of `Server.request`.
    """
    found: Me = parsed(server.origin, Me, server.request("GET", "/me", again=True))
    return found


def log_out(server: Server) -> None:
    """End the token that asks.

    Raises:
        SealrunError: as of `Server.request`.
    """
    server.request("DELETE", "/me/token", again=True)


def with_token(server: Server, token: str) -> Granted:
    """A token that somebody gave.

    Raises:
        LogInFailed: it is no whole token.
        NotLoggedIn: the server does not take it.
    """
    if not is_token(token.encode(errors="replace")):
        raise LogInFailed(
            server=server.origin,
            why="what was given is not a whole token",
            hint="a token is srn_ and 37 letters and digits; make one: sealrun token create",
        )
    return Granted(me(Server(server.settings, server.origin, token)).name, token)


def by_code(server: Server, host: str, tell: Callable[[str, str], None]) -> Granted:
    """By a code that a person types into a browser that is logged in.

    Args:
        server: where to.
        host: what this machine is called: whoever types the code sees it.
        tell: is told the code, and where to type it.

    Raises:
        LogInFailed: nobody let this command line in.
    """
    begun: _Begun = _asked(server, _Begun, "/device", {"host": host})
    if origin_of_page(begun.url) != server.origin:
        raise ServerUnusable(server=server.origin, why="it sends you elsewhere to type the code")
    tell(begun.code, begun.url)
    until = time.monotonic() + min(begun.seconds, 3600)
    while time.monotonic() < until:
        time.sleep(min(max(begun.poll_seconds, 0.05), 60))
        answer: _Answer = _asked(server, _Answer, "/device/token", {"secret": begun.secret})
        if answer.given is not None:
            return Granted(answer.given.made.owner, answer.given.token)
        if answer.state != "waiting":
            break
    raise LogInFailed(server=server.origin, why="nobody let this command line in in time, or it was turned away")


def by_browser(server: Server, host: str, show: Callable[[str], None]) -> Granted:
    """Beside a browser on this machine, which comes back on loopback with a code.

    Args:
        server: where to.
        host: what this machine is called: whoever agrees sees it.
        show: is given the address to open.

    Raises:
        LogInFailed: no browser came back.
    """
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with _Awaiting(state) as awaiting:
        asked = {"host": host, "port": awaiting.port, "state": state, "challenge": challenge}
        show(f"{server.origin}/log-in/command-line?{urlencode(asked)}")
        code = awaiting.code()
    if code is None:
        raise LogInFailed(server=server.origin, why="no browser came back in time")
    answer: _Answer = _asked(server, _Answer, "/log-in/code", {"code": code, "verifier": verifier})
    if answer.given is None:
        raise LogInFailed(server=server.origin, why="the code was not taken")
    return Granted(answer.given.made.owner, answer.given.token)


def origin_of_page(url: str) -> str | None:
    """The origin of a page of a server's; None where it is none."""
    parts = urlsplit(url)
    try:
        return origin_of(f"{parts.scheme}://{parts.netloc}")
    except SealrunError:
        return None


def _asked(server: Server, kind: type[BaseModel], path: str, sent: dict[str, Any]) -> Any:
    return parsed(server.origin, kind, server.request("POST", path, sent=sent, known=False))


class _Awaiting:
    """A web server on loopback, at a port that nobody knows beforehand, which takes one code."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._code: str | None = None

    def __enter__(self) -> "_Awaiting":
        awaiting = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                found = awaiting._taken(self.path, self.headers.get("host", ""))
                self.send_response(200 if found else 404)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("referrer-policy", "no-referrer")
                self.end_headers()
                self.wfile.write(_PAGE % (_DONE if found else _NOTHING))

            def log_message(self, *_: Any) -> None:
                """Nothing: what is asked for has the code in it."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.timeout = 1.0
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def code(self) -> str | None:
        """The code, once a browser has brought it; None where none came."""
        until = time.monotonic() + WITHIN
        while self._code is None and time.monotonic() < until:
            self._server.handle_request()
        return self._code

    def _taken(self, path: str, host: str) -> bool:
        parts = urlsplit(path)
        given = parse_qs(parts.query)
        state, code = given.get("state", [""])[0], given.get("code", [""])[0]
        if parts.path != "/" or host != f"127.0.0.1:{self.port}" or not code:
            return False
        if self._code is not None or not secrets.compare_digest(state.encode(), self._state.encode()):
            return False
        self._code = code
        return True
