"""A server, asked for operations over HTTP: the other implementation of what a `Deployment` does with a database."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import httpx2 as httpx

from executor.api.routes import BASE
from executor.errors import NotLoggedIn, ServerAway, ServerUnusable, error_of
from executor.remote import errands, routed
from executor.settings import Settings
from secretstore import __version__
from secretstore.audit import Actor
from secretstore.errors import SealrunError
from secretstore.pin import Pin
from secretstore.pins import FirstUse, Pins, refuse_first_use

if TYPE_CHECKING:
    from executor.operations.deployment import Deployment
    from executor.submission.remembered import Remembered

P = ParamSpec("P")
T = TypeVar("T")

Sent = Mapping[str, Any] | list[Any] | bytes | Iterable[bytes] | None

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=25.0)
_LARGEST = 256 << 20  # bytes of an answer that is read as a whole
_TRIES = 3
_PAUSE = 0.2  # seconds before the second try; twice as long before the third


class Server:
    """A server, as somebody speaks to it who has a token. Threads may share it."""

    def __init__(
        self,
        settings: Settings,
        origin: str,
        token: str | None,
        committed: Mapping[tuple[str, str], Pin] | None = None,
        remembered: "Remembered | None" = None,
        first_use: FirstUse = refuse_first_use,
    ) -> None:
        """Nothing is asked yet.

        Args:
            settings: of this machine.
            origin: where the server is; see `origin_of`.
            token: who asks; None for nobody, who may log in and no more.
            committed: key pairs that the caller insists on.
            remembered: what is known of the files of earlier submissions.
            first_use: what is to be done where nothing is known of a key pair.
        """
        self._first_use = first_use
        self.settings, self.origin, self.committed, self.remembered = settings, origin, committed or {}, remembered
        self._token = token
        self._begin()

    def _begin(self) -> None:
        self._pid, self._client, self._lock = os.getpid(), cast("httpx.Client | None", None), threading.Lock()
        self.sent: dict[tuple[str, str], float] = {}

    def ask(
        self,
        who: Actor,
        operation: "Callable[Concatenate[Deployment, Actor, P], T]",
        *asked: P.args,
        **more: P.kwargs,
    ) -> T:
        """Have one of the operations carried out; it raises what the operation does, and what is said of the server.

        Raises:
            NotLoggedIn: there is no token for this server, or it is no longer taken.
            ServerAway: the server does not answer.
            ServerUnusable: what answers is no server of ours, or of another version.
        """
        name = name_of(operation)
        errand = errands.of(name)
        carry_out: Callable[..., Any] = errand or (
            lambda server, *given, **also: routed.ask(server, name, *given, **also)
        )
        return cast("T", carry_out(self, *asked, **more))

    @property
    def pins(self) -> Pins:
        """The key pairs that this user knows of this server, and those that are insisted on."""
        file = self.settings.store.home / "known_keys"
        given = self.settings.pins
        return Pins(file, self.origin, self.committed, given=given, first_use=self._first_use)

    @property
    def where(self) -> str:
        """What is asked."""
        return f"the server {self.origin}"

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        sent: Sent = None,
        headers: Mapping[str, str] | None = None,
        again: bool = False,
        known: bool = True,
    ) -> bytes:
        """Send a request and return what is answered.

        Args:
            method: the method.
            path: below the API's base.
            query: what goes into the query.
            sent: what goes into the body: JSON, or bytes as they are, which can be gone through again.
            headers: further ones.
            again: whether the request may be sent again where nobody knows whether it arrived.
            known: whether it is sent with the token.

        Raises:
            SealrunError: what the server says; NotLoggedIn, ServerAway, ServerUnusable as of `ask`.
        """
        for tries in range(_TRIES):
            try:
                with self.opened(method, path, query=query, sent=sent, headers=headers, known=known) as response:
                    return _read(response, self.origin)
            except ServerAway as away:
                if (away.sent and not again) or tries + 1 == _TRIES:
                    raise
            time.sleep(_PAUSE * 2**tries)
        raise AssertionError

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        sent: Sent = None,
        headers: Mapping[str, str] | None = None,
        known: bool = True,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> Iterator[httpx.Response]:
        """Send a request; the answer is read by the caller, a part at a time.

        Raises:
            SealrunError: as of `request`.
        """
        content, all_headers = _content(sent), {**(headers or {}), **({} if not known else self._credential())}
        if isinstance(sent, dict | list):
            all_headers["content-type"] = "application/json"
        try:
            with self._http().stream(
                method, self.origin + BASE + path, params=query, content=content, headers=all_headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    raise self._refused(response)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            away = ServerAway(server=self.origin, why=_why(error))
            away.sent = False
            raise away from None
        except httpx.TransportError as error:
            raise ServerAway(server=self.origin, why=_why(error)) from None
        except httpx.InvalidURL:
            raise ServerUnusable(server=self.origin, why="it has no address that can be asked") from None

    def _credential(self) -> dict[str, str]:
        if self._token is None:
            raise NotLoggedIn(server=self.origin)
        return {"authorization": f"Bearer {self._token}"}

    def _http(self) -> httpx.Client:
        if self._pid != os.getpid():
            self._begin()  # a connection of the process that this one was forked from is not its own
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(
                    timeout=_TIMEOUT,
                    limits=_LIMITS,
                    follow_redirects=False,  # a token goes nowhere but where it belongs
                    headers={"user-agent": f"sealrun/{__version__}", "accept": "application/json"},
                    trust_env=not self.origin.startswith("http://"),  # loopback is reached without a proxy
                )
            return self._client

    def _refused(self, response: httpx.Response) -> SealrunError:
        """What an answer that is no success says."""
        if response.is_redirect:
            return ServerUnusable(
                server=self.origin, why="it sends elsewhere, and a token is for one server",
                hint="log in to the address that it has itself: sealrun login URL",
            )  # fmt: skip
        try:
            problem = json.loads(_read(response, self.origin))
            code, detail, hint = problem["code"], str(problem["detail"]), problem.get("hint")
        except (ValueError, TypeError, KeyError, RecursionError):
            if response.status_code in (502, 503, 504):
                return ServerAway(server=self.origin, why=f"what stands before it answers {response.status_code}")
            why = f"it answers {response.status_code}, and not as a sealrun server does"
            return ServerUnusable(server=self.origin, why=why)
        if code == "unauthenticated":
            return NotLoggedIn("{server} does not take the token: {why}", server=self.origin, why=detail, hint=(
                f"log in again: sealrun login {self.origin}"
            ))  # fmt: skip
        if code in ("no_such_route", "method_not_allowed"):
            why = "it does not know what it is asked for: it may be of another version"
            return ServerUnusable(server=self.origin, why=why)
        return error_of(str(code), detail, hint if isinstance(hint, str) else None)


def name_of(operation: Callable[..., Any]) -> str:
    """The name of an operation, as in `secrets.list_`."""
    return f"{operation.__module__.rpartition('.')[2]}.{operation.__name__}"


def _content(sent: Sent) -> bytes | Iterable[bytes] | None:
    return json.dumps(sent).encode() if isinstance(sent, Mapping | list) else sent


def _read(response: httpx.Response, where: str) -> bytes:
    parts, left = [], _LARGEST
    for part in response.iter_bytes():
        left -= len(part)
        if left < 0:
            raise ServerUnusable(server=where, why="its answer has no end")
        parts.append(part)
    return b"".join(parts)


def _why(error: httpx.TransportError) -> str:
    """What went wrong on the way, in a few words."""
    if isinstance(error, httpx.TimeoutException):
        return "not in time"
    return str(error).strip().rstrip(".").lower() or type(error).__name__
