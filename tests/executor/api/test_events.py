"""Following a run by server-sent events: whoever is cut off goes on where they were, at either server."""

import base64
import json
import time
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from executor import runs
from executor.runs import Outcome
from tests.effort import FULL
from tests.executor.api.pair import Pair

pytestmark = pytest.mark.long

PIECES = tuple(b"line %d\n" % number for number in range(1, 13))


def events(pair: Pair, run: str, token: str, to: int = 0, after: str | None = None) -> Iterator[tuple[str, str, dict]]:
    """Event, id and data of each that comes; the connection is cut where the reader stops."""
    headers = {"host": pair.host, "authorization": f"Bearer {token}"}
    if after is not None:
        headers["last-event-id"] = after
    url = f"http://127.0.0.1:{pair.ports[to]}/api/v1/runs/{run}/events"
    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif event.get("event"):
                yield event["event"], event.get("id", ""), json.loads(event["data"])
                event = {}


def read(found: Iterator[tuple[str, str, dict]]) -> list[tuple[str, bytes]]:
    return [(id_, base64.b64decode(data["data"])) for event, id_, data in found if event == "output"]


def test_nothing_is_lost_or_repeated_wherever_it_is_cut(pair: Pair) -> None:
    """Cut behind every event, and gone on at the other server with the id of the last one that came."""
    run, _ = pair.ran("shop", "default", *PIECES)
    token = pair.token("follower", "shop")
    whole = read(events(pair, run, token))
    assert [data for _, data in whole] == list(PIECES)
    assert len({id_ for id_, _ in whole}) == len(whole)
    for cut in range(len(whole) + 1) if FULL else (0, 1, 4, 5, len(whole)):
        first = [one for one, _ in zip(events(pair, run, token, 0), range(cut + 1), strict=False)]
        ids = [id_ for event, id_, _ in first if event == "output"]
        rest = read(events(pair, run, token, 1, after=ids[-1] if ids else None))
        assert read(iter(first)) + rest == whole, f"cut behind {cut}"


def test_a_follower_hears_soon_and_of_the_end(pair: Pair) -> None:
    """What a run prints while it is followed comes without being asked for, through both servers; then the end."""
    run, lease = pair.ran("shop", "default", b"one", over=False)
    token = pair.token("follower", "shop")
    followers = [events(pair, run, token, to) for to in (0, 1)]
    for follower in followers:
        assert next(follower)[0] == "state"
        assert base64.b64decode(next(follower)[2]["data"]) == b"one"
    pair.prints(lease, 2, b"two")
    for follower in followers:
        event, id_, data = next(follower)
        assert (event, id_, base64.b64decode(data["data"])) == ("output", "1:2", b"two")
    runs.finish(pair.at.db, lease, Outcome("succeeded"))
    for follower in followers:
        left = list(follower)
        assert left[-1][0] == "end" and left[-1][2]["state"] == "succeeded"
        assert [event for event, *_ in left if event == "output"] == []


@pytest.mark.parametrize("place", ["x", "1", "1:2:3", "-1:0", "1:9999999999", "1:1;"])
def test_a_place_that_is_none_is_refused(pair: Pair, place: str) -> None:
    """In the header that a browser sends, and in the query."""
    run, token = pair.run("shop", "default"), pair.token("follower", "shop")
    assert pair.ask("GET", f"/runs/{run}/events", token, headers={"last-event-id": place}).status_code == 422
    assert pair.ask("GET", f"/runs/{run}/logs", token, params={"after": place}).status_code == 422


@pytest.mark.long
def test_rights_that_end_end_a_stream(pair: Pair) -> None:
    """Within a minute: whoever followed before may not go on for hours."""
    run, _ = pair.ran("shop", "default", b"one", over=False)
    admin = pair.token("admin")
    made = pair.ask("POST", "/tokens", admin, json={"name": "follows", "role": "follower"}).json()
    follower = events(pair, run, made["token"], 1)
    assert next(follower)[0] == "state"
    assert pair.ask("DELETE", f"/tokens/{made['made']['id']}", admin).status_code == 200
    begun = time.monotonic()
    assert "end" not in [event for event, *_ in follower], "it breaks off"
    assert time.monotonic() - begun < 60
