"""What other pages, names and proxies try with a person's browser."""

import socket
from typing import Any

import pytest

from executor.api import cookies
from executor.errors import Unauthenticated
from executor.people import accounts, logging_in, memberships, passwords
from executor.people.principal import operator
from tests.executor.api.conftest import OPERATOR
from tests.executor.api.pair import PASSWORD, Pair

pytestmark = pytest.mark.long

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


def test_a_session_is_not_fixed(pair: Pair) -> None:
    """The id that a browser had does not count after a log-in, at either server; a change of rights changes it."""
    first = pair.person("fiona")

    def known(cookie: str, to: int) -> int:
        return pair.ask("GET", "/me", to=to, headers={"cookie": cookie}).status_code

    fixed = f"{cookies.SESSION}=" + "A" * 43
    for before in (fixed, first):
        answer = pair.send(
            "POST", "/log-in", headers=pair.own | {"cookie": before}, data={"name": "fiona", "password": PASSWORD}
        )
        assert pair.cookie(answer) != before and known(pair.cookie(answer), 1) == 200
        assert known(before, 0) == known(before, 1) == 401
    now = pair.cookie(answer)
    memberships.give(pair.at.db, "fiona", "viewer", pair.place("shop"), actor=OPERATOR, by=operator("ada"))
    renewed = pair.cookie(pair.ask("GET", "/me", to=1, headers={"cookie": now}))
    assert renewed != now and known(renewed, 0) == 200


def test_other_pages_send_nothing_with_a_cookie(pair: Pair) -> None:
    """By each method, from each of what calls itself an origin, to either server, and to the pages' forms."""
    cookie = pair.person("carol", admin=True)
    origins = [EVIL, {"origin": "null"}, {"origin": f"{pair.origin}.evil.example"}, {"origin": pair.origin + "1"}]
    origins += [{"origin": "http://["}, {"origin": "https://" + pair.host}, {"sec-fetch-site": "same-site"}]
    origins += [{"origin": pair.origin, "sec-fetch-site": "cross-site"}]
    for headers in origins:
        for method, path in (("POST", "/projects"), ("PATCH", "/projects/shop"), ("DELETE", "/projects/shop")):
            sent = pair.ask(method, path, to=1, headers=headers | {"cookie": cookie})
            assert sent.status_code == 403, (headers, sent.text)
        for page in ("/log-in", "/log-out", "/device", "/device/agree", "/device/refuse", "/log-in/command-line"):
            sent = pair.send("POST", page, headers=headers | {"cookie": cookie}, data={"code": "x", "name": "carol"})
            assert sent.status_code == 403, (headers, page)
    assert pair.ask("GET", "/me", headers={"cookie": cookie}).status_code == 200, "nobody logged her out"
    text = {"content-type": "text/plain", "cookie": cookie} | pair.own
    assert pair.ask("POST", "/projects", headers=text, content=b'{"name": "plain"}').status_code == 422


def test_no_page_of_elsewhere_reads_an_answer(pair: Pair) -> None:
    """No answer allows another origin, whatever asks for it."""
    token = pair.token("viewer")
    for method, path in (("GET", "/me"), ("OPTIONS", "/me"), ("GET", "/health"), ("OPTIONS", "/projects")):
        asked = EVIL | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        answer = pair.ask(method, path, token, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


ELSEWHERE = (
    "https://evil.example", "//evil.example", "/\\evil.example", "\\/evil.example", "/%09/evil.example\t",
    "/\t/evil.example", "///evil.example", "http:evil.example", "javascript:alert('evil.example')",
    "/x\r\nlocation: https://evil.example", "@evil.example", " //evil.example", "evil.example",
)  # fmt: skip


def test_a_log_in_leads_to_a_page_of_this_server(pair: Pair) -> None:
    """In the form that the page shows, and behind a log-in by either way, whatever the link to it says."""
    for wanted in ELSEWHERE:
        assert "evil.example" not in pair.send("GET", "/log-in", params={"return_to": wanted}).text, wanted
    pair.person("rita")
    for wanted in ELSEWHERE[:3]:
        assert pair.log_in("rita", return_to=wanted).headers["location"] == "/"
    assert pair.log_in("rita", return_to="/device?x=1").headers["location"] == "/device?x=1"


def test_only_its_own_names_are_answered(pair: Pair) -> None:
    """A name elsewhere that points to loopback is no name of the server's: pages, style and API alike."""
    token = pair.token("viewer")
    own, other = pair.ports
    for host in (
        "evil.example",
        f"evil.example:{own}",
        f"127.0.0.1:{other}",
        "",
        f"{pair.host}.evil",
        f"a@{pair.host}",
    ):
        for path in ("/", "/log-in", "/static/style.css", "/api/v1/me", "/api/v1/health"):
            answer = pair.send("GET", path, headers={"host": host, "authorization": f"Bearer {token}"})
            assert answer.status_code == 421, (host, path)
    with socket.create_connection(("127.0.0.1", pair.ports[0]), timeout=30) as connection:
        line = "GET http://evil.example/api/v1/me HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        connection.sendall(line.encode())
        assert connection.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 421"
    assert pair.send("GET", "/api/v1/health", headers={"x-forwarded-host": "evil.example"}).status_code == 200
    begun = pair.ask("POST", "/device", json={"host": "x"}, headers={"x-forwarded-host": "evil.example"}).json()
    assert begun["url"] == f"{pair.origin}/device", "no address is made of what a request says"


def test_an_address_is_believed_of_no_stranger(pair: Pair) -> None:
    """Without a trusted proxy X-Forwarded-For names nobody: what is counted by address cannot be spread over many."""
    pair.person("vera")
    pair.log_in("vera", "wrong horse battery")
    with_header = [
        pair.send(
            "POST",
            "/log-in",
            n % 2,
            headers=pair.own | {"x-forwarded-for": f"203.0.113.{n}", "forwarded": f"for=203.0.113.{n}"},
            data={"name": "vera", "password": PASSWORD},
        )
        for n in range(2)
    ]
    assert [one.status_code for one in with_header] == [303, 303]
    cookie = pair.cookie(with_header[0])
    begun = pair.ask("POST", "/device", json={"host": "laptop"}, headers={"x-forwarded-for": "203.0.113.7"}).json()
    shown = pair.send("POST", "/device", headers=pair.own | {"cookie": cookie}, data={"code": begun["code"]})
    assert "127.0.0.1" in shown.text and "203.0.113" not in shown.text
    assert pair.send("GET", "/first-admin", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 403


class Counting:
    """A hasher that counts what is compared."""

    def __init__(self, hasher: Any) -> None:
        self._hasher, self.compared = hasher, 0

    def verify(self, kept: str, password: str) -> bool:
        self.compared += 1
        return bool(self._hasher.verify(kept, password))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hasher, name)


def test_a_log_in_does_the_same_work_for_everybody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password, a disabled person, one without a password and a name that nobody has: one hash is compared."""
    for name in ("wanda", "gone"):
        accounts.create(pair.at.db, name, password=PASSWORD, actor=OPERATOR)
    accounts.disable(pair.at.db, "gone", actor=OPERATOR)
    accounts.create(pair.at.db, "robot-w", service=True, actor=OPERATOR)
    hasher = Counting(passwords._HASHER)
    monkeypatch.setattr(passwords, "_HASHER", hasher)
    for number, name in enumerate(("wanda", "gone", "robot-w", "nobody-has-this"), 1):
        with pytest.raises(Unauthenticated, match="name or password is wrong"):
            logging_in.log_in(pair.at.db, name, "wrong horse battery", "203.0.113.99")
        assert hasher.compared == number, name
