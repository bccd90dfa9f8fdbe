"""A run as it goes, from a server: events whose id is the place in its output, so that nothing is lost or comes twice.

A server that goes away is waited for as a database is. What comes is read by a thread, so that whoever looks can do
other things between two looks, and be interrupted.
"""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from executor.api.routes import route_of
from executor.errors import ServerAway, ServerUnusable
from executor.remote import routed
from executor.remote.receiving import piece_of
from executor.schemas.output import Place, StoredPiece
from executor.schemas.run_operations import Look, OutputOf, ThatRun
from executor.schemas.runs import OVER
from secretstore.errors import DatabaseUnavailable, SealrunError

if TYPE_CHECKING:
    from executor.remote.server import Server

PATIENCE = 600.0
"""Seconds for which a server that is away is waited for."""

_LOOK = 0.1  # seconds between two looks at what has come
_SILENCE = 45.0  # seconds of a stream in which not even a pulse comes: it is dead
_AWAY_PAUSE = 0.5
_SHORTEST, _LONGEST, _SLOWING = 0.02, 0.5, 1.3  # seconds between two questions after the state alone
_ROOM = 64  # events that wait to be looked at: who does not look stops the reading
_STANDING: Mapping[str, Any] = {"state": "", "away": False, "retried": 0, "held_up": None, "lost_to": None}


def follow(server: "Server", asked: OutputOf, *, until: float | None = None) -> Iterator[Look]:
    """As `runs.follow`."""
    if asked.streams is not None and not asked.streams:
        return _states(server, asked, until)
    return _looks(server, asked, until)


def _looks(server: "Server", asked: OutputOf, until: float | None) -> Iterator[Look]:
    place, standing = asked.after, dict(_STANDING)
    away_since: float | None = None
    while True:
        heard = False
        with _Reading(server, asked.model_copy(update={"after": place})) as reading:
            for event in reading.events(until):
                heard = heard or event is not None
                match event:
                    case None:
                        yield _look(standing, (), place)
                    case StoredPiece() as piece:
                        place, away_since = piece.place, None
                        yield _look(standing, (piece,), place)
                    case dict() as told:
                        standing, away_since = {**_STANDING, **told}, None
                        yield _look(standing, (), place)
            if reading.over or (until is not None and time.monotonic() >= until):
                return
        # It broke off: the server or the way to it is away, unless something came of it.
        now = time.monotonic()
        away_since = away_since or now
        if now - away_since > PATIENCE:
            raise reading.why or ServerAway(server=server.origin, why="its stream ended early")
        if reading.why is not None or not heard:
            yield _look(standing | {"away": True}, (), place)
            time.sleep(_AWAY_PAUSE if until is None else max(min(_AWAY_PAUSE, until - now), 0))


def _look(standing: dict[str, Any], pieces: tuple[StoredPiece, ...], place: Place) -> Look:
    return Look(
        str(standing["state"]), pieces, place, bool(standing["away"]), int(standing["retried"]),
        standing["held_up"], standing["lost_to"],
    )  # fmt: skip


class _Reading:
    """A stream of events, read by a thread of its own."""

    def __init__(self, server: "Server", asked: OutputOf) -> None:
        self.over = False
        """Whether the run is, and all of it was told."""
        self.why: ServerAway | DatabaseUnavailable | None = None
        """Why nothing more comes, where the server is away."""
        self._server, self._asked = server, asked
        self._events: queue.Queue[Any] = queue.Queue(_ROOM)
        self._left = threading.Event()

    def __enter__(self) -> "_Reading":
        self._thread = threading.Thread(target=self._read, name="sealrun-follow", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        with contextlib.suppress(queue.Empty):  # it may wait for room
            while True:
                self._events.get_nowait()

    def events(self, until: float | None) -> Iterator[StoredPiece | dict[str, Any] | None]:
        """What comes; None where a moment passed in which nothing did.

        Raises:
            SealrunError: the server refuses.
        """
        while until is None or time.monotonic() < until:
            try:
                event = self._events.get(timeout=_LOOK)
            except queue.Empty:
                yield None
                continue
            if event is _END:
                return
            if isinstance(event, ServerAway | DatabaseUnavailable):
                self.why = event
                return
            if isinstance(event, SealrunError):
                raise event
            yield event
        return

    def _read(self) -> None:
        try:
            path, _ = routed.placed(route_of("runs.follow"), self._asked)
            query: dict[str, Any] = {"after": str(self._asked.after)}
            if self._asked.streams is not None:
                query["streams"] = list(self._asked.streams)
            timeout = httpx.Timeout(_SILENCE, connect=10.0)
            headers = {"accept": "text/event-stream"}
            with self._server.opened("GET", path, query=query, headers=headers, timeout=timeout) as response:
                for name, data in _events_of(response.iter_lines()):
                    self._put(self._told(name, data))
                    if self.over or self._left.is_set():
                        break
            self._put(_END)
        except SealrunError as error:
            self._put(error)
        except Exception as error:  # noqa: BLE001  # a thread has nobody else to tell
            self._put(
                ServerUnusable(server=self._server.origin, why=f"its events cannot be read: {type(error).__name__}")
            )

    def _told(self, name: str, data: str) -> StoredPiece | dict[str, Any]:
        told = json.loads(data)
        if name == "output":
            return piece_of(self._server.origin, told)
        if name == "end":
            self.over = True
        return {key: told[key] for key in _STANDING if key in told}

    def _put(self, event: Any) -> None:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._events.put(event, timeout=_LOOK)
                return


_END = object()


def _events_of(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Server-sent events: each with its name and its data."""
    name = ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _states(server: "Server", asked: OutputOf, until: float | None) -> Iterator[Look]:
    """For who waits for the end alone."""
    pause, state, away_since = _SHORTEST, "", None
    that = ThatRun(run=asked.run, project=asked.project)
    while True:
        now = time.monotonic()
        try:
            found = str(routed.ask(server, "runs.state", that))
        except DatabaseUnavailable:
            away_since = away_since or now
            if now - away_since > PATIENCE:
                raise
            yield Look(state, (), asked.after, away=True)
            pause = _AWAY_PAUSE
        else:
            pause = min(pause * _SLOWING, _LONGEST) if found == state and away_since is None else _SHORTEST
            state, away_since = found, None
            yield Look(state, (), asked.after)
            if state in OVER:
                return
        now = time.monotonic()
        if until is not None and now >= until:
            return
        time.sleep(pause if until is None else min(pause, until - now))
