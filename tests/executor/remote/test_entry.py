"""Logging in: beside a browser, by a code, and what a server can and cannot do with it."""

import base64
import json
import threading
import urllib.error
import urllib.request
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from executor.errors import LogInFailed, NotLoggedIn, ServerUnusable
from executor.operations.deployment import Deployment
from executor.people import accounts, device, loopback, memberships
from executor.people.principal import INSTALLATION, Grant, Principal, operator
from executor.people.tokens import new_token
from executor.remote import entry
from executor.remote.server import Server
from executor.settings import Settings
from tests.serving import OPERATOR, Served, stranger

GIVEN = {"state": "agreed", "given": {"token": new_token("c"), "made": {"owner": "ada", "id": "t1"}}}


def fetched(url: str, host: str | None = None) -> int:
    request = urllib.request.Request(url, headers={} if host is None else {"host": host})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


class TestBesideABrowser:
    def test_a_code_for_our_own_state_is_spent_with_our_own_verifier(self, here: Settings) -> None:
        """The browser is sent a challenge, and the server the verifier; what else comes to loopback is nothing."""
        asked: dict[str, str] = {}
        codes: list[int] = []

        def browser(url: str) -> None:
            asked.update({name: values[0] for name, values in parse_qs(urlsplit(url).query).items()})
            assert urlsplit(url).path == "/log-in/command-line"
            back = f"http://127.0.0.1:{asked['port']}/?code=C1&state={asked['state']}"

            def come_back() -> None:
                codes.append(fetched(back.replace(asked["state"], "x" * 43)))
                codes.append(fetched(back.replace("/?", "/other?")))
                codes.append(fetched(back.replace("code=C1", "code=")))
                codes.append(fetched(back, host=f"evil.example.com:{asked['port']}"))
                codes.append(fetched(back))

            threading.Thread(target=come_back, daemon=True).start()

        with stranger(lambda *_: GIVEN) as server:
            granted = entry.by_browser(Server(here, server.url, None), "mill", browser)
            (sent,) = server.asked
        assert (granted.name, granted.token) == ("ada", GIVEN["given"]["token"])  # type: ignore[index]
        assert codes == [404, 404, 404, 404, 200]
        told = json.loads(sent[3])
        assert sent[1] == "/api/v1/log-in/code" and told["code"] == "C1" and "authorization" not in sent[2]
        digest = base64.urlsafe_b64encode(sha256(told["verifier"].encode()).digest()).rstrip(b"=").decode()
        assert digest == asked["challenge"] and asked["host"] == "mill" and granted.token not in repr(granted)

    def test_no_browser_comes_back(self, here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is waited for so long, and the port is free again."""
        monkeypatch.setattr(entry, "WITHIN", 0.0)
        with stranger(lambda *_: GIVEN) as server:
            with pytest.raises(LogInFailed, match="no browser came back"):
                entry.by_browser(Server(here, server.url, None), "mill", lambda url: None)
            assert server.asked == []


class TestByACode:
    def begun(self, server: str, **other: Any) -> dict[str, Any]:
        plain = {
            "code": "BCDF-GHJK",
            "url": f"{server}/device",
            "secret": "s3cret",
            "seconds": 600,
            "poll_seconds": 0.05,
        }
        return plain | other

    def test_it_is_asked_for_until_somebody_agrees(self, here: Settings) -> None:
        """The secret of it is asked with, the code is for a person."""
        states: list[Any] = [{"state": "waiting"}, {"state": "waiting"}, GIVEN]
        told: list[tuple[str, str]] = []
        with stranger(
            lambda m, path, b: self.begun(server.url) if path.endswith("/device") else states.pop(0)
        ) as server:
            granted = entry.by_code(Server(here, server.url, None), "mill", lambda *words: told.append(words))
            assert told == [("BCDF-GHJK", f"{server.url}/device")] and granted.name == "ada"
            assert [json.loads(body) for *_, body in server.asked] == [{"host": "mill"}, *[{"secret": "s3cret"}] * 3]

    @pytest.mark.parametrize("state", ["over", "refused"])
    def test_it_is_turned_away(self, here: Settings, state: str) -> None:
        """Or nobody agrees in time."""
        with (
            stranger(
                lambda m, path, b: self.begun(server.url) if path.endswith("/device") else {"state": state}
            ) as server,
            pytest.raises(LogInFailed, match="nobody let this command line in"),
        ):
            entry.by_code(Server(here, server.url, None), "mill", lambda *_: None)

    def test_it_is_typed_nowhere_else(self, here: Settings) -> None:
        """A server that sends its people elsewhere is not followed."""
        begun = self.begun("https://evil.example.com")
        with stranger(lambda *_: begun) as server, pytest.raises(ServerUnusable, match="sends you elsewhere"):
            entry.by_code(Server(here, server.url, None), "mill", lambda *_: None)


class TestWithAServerOfOurs:
    """Somebody who is logged in with a browser agrees, as its pages have it."""

    @pytest.fixture
    def ada(self, at: Deployment) -> Principal:
        """A person, in a browser that has just logged in."""
        name = f"ada-{token_urlsafe(4).lower().replace('_', 'x').replace('-', 'x')}"
        made = accounts.create(at.db, name, password="correct horse battery", actor=OPERATOR)
        memberships.give(at.db, name, "viewer", INSTALLATION, actor=OPERATOR, by=operator("ada"))
        return Principal("person", made.id, name, (Grant.of("viewer"),), way="session")

    def test_a_code_that_is_typed(self, at: Deployment, house: Served, here: Settings, ada: Principal) -> None:
        """The token is that person's, until they log out."""

        def agree(code: str, url: str) -> None:
            assert url == f"{house.url}/device"
            device.agree(at.db, ada, code, "127.0.0.1", actor=ada.as_actor("console"))

        granted = entry.by_code(Server(here, house.url, None), "mill", agree)
        assert granted.name == ada.name
        server = Server(here, house.url, granted.token)
        me = entry.me(server)
        assert (me.name, me.kind, [grant.verbs for grant in me.grants]) == (ada.name, "person", [["see"]])
        entry.log_out(server)
        with pytest.raises(NotLoggedIn):
            entry.me(server)

    def test_beside_a_browser(self, at: Deployment, house: Served, here: Settings, ada: Principal) -> None:
        """The page is one that the server has, and its code is spent with the verifier alone."""

        def browser(url: str) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
            code = loopback.agree(at.db, ada, asked["challenge"], asked["host"], actor=ada.as_actor("console"))
            back = f"http://127.0.0.1:{asked['port']}/?code={code}&state={asked['state']}"
            threading.Thread(target=fetched, args=(back,), daemon=True).start()
            assert fetched(url) == 200  # of who is not logged in: the page that asks for it

        granted = entry.by_browser(Server(here, house.url, None), "mill", browser)
        assert entry.me(Server(here, house.url, granted.token)).name == ada.name

    def test_a_token_that_is_given(self, house: Served, here: Settings, token: str) -> None:
        """A service account's, as in CI."""
        assert entry.with_token(Server(here, house.url, None), token).name == "robot"
