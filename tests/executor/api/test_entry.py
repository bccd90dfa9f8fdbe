"""Log-in, the first admin, and how a command line comes to a token: the pages and what stands behind them."""

import re
import secrets
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from sqlmodel import select

from executor.api import cookies
from executor.people import accounts, links, loopback
from executor.people.tables import BrowserSession
from tests.executor.api.conftest import HOST, OPERATOR, House

PASSWORD = "correct horse battery"
HERE = {"origin": f"https://{HOST}", "sec-fetch-site": "same-origin"}
ELSEWHERE = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


@pytest.fixture
def ada(house: House) -> Iterator[House]:
    """The person ada, with a password."""
    accounts.create(house.at.db, "ada", password=PASSWORD, admin=True, actor=OPERATOR)
    yield house
    house.client.cookies.clear()


def post(house: House, path: str, headers: dict[str, str] = HERE, **fields: str) -> httpx.Response:
    return house.client.post(path, data=fields, headers=headers, follow_redirects=False)


def log_in(house: House, password: str = PASSWORD, **more: str) -> httpx.Response:
    return post(house, "/log-in", name="ada", password=password, **more)


def test_a_log_in_begins_a_session_that_the_api_takes(ada: House) -> None:
    """The cookie is for this host alone and no script's; what the browser had before does not count any more."""
    ada.client.cookies.set(cookies.SESSION, "fixed-by-somebody-else", domain=HOST)
    answer = log_in(ada)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    given = answer.headers["set-cookie"]
    assert re.match(rf"{cookies.SESSION}=[^;]{{40,}};", given) and "fixed" not in given
    assert {"httponly", "secure", "path=/", "samesite=lax"} <= {part.strip().lower() for part in given.split(";")}
    assert "domain" not in given.lower()
    assert ada.ask("GET", "/me").json()["name"] == "ada"
    first = ada.client.cookies[cookies.SESSION]
    log_in(ada)
    assert ada.client.cookies[cookies.SESSION] != first
    ada.client.cookies.set(cookies.SESSION, first, domain=HOST)
    assert ada.ask("GET", "/me").status_code == 401


def test_names_and_passwords_that_are_wrong_are_answered_alike(ada: House) -> None:
    """Nobody learns who has an account here."""
    wrong = log_in(ada, password="wrong horse battery")
    unknown = post(ada, "/log-in", name="grace", password="wrong horse battery")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("ada", "grace") == unknown.text
    assert "wrong horse" not in wrong.text and "set-cookie" not in wrong.headers


def test_what_another_page_sends_is_refused(ada: House) -> None:
    """Log-in, log-out and each act of the API: a browser sends the cookie, but it does not say that it was meant."""
    assert post(ada, "/log-in", ELSEWHERE, name="ada", password=PASSWORD).status_code == 403
    log_in(ada)
    assert post(ada, "/log-out", ELSEWHERE).status_code == 403
    asked = {"json": {"name": "third"}}
    assert ada.ask("POST", "/projects", headers=ELSEWHERE, **asked).status_code == 403
    assert ada.ask("POST", "/projects", headers={"origin": "null"}, **asked).status_code == 403
    assert ada.ask("POST", "/projects", headers=HERE, **asked).status_code == 200
    assert ada.ask("GET", "/me").status_code == 200, "nobody was logged out"


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/\r\nset-cookie: a=b", "javascript:alert(1)"],
)
def test_a_log_in_leads_nowhere_else(ada: House, wanted: str) -> None:
    """Whatever the link to it says."""
    assert log_in(ada, return_to=wanted).headers["location"] == "/"


def test_log_out_ends_the_session_itself(ada: House) -> None:
    """Not only the cookie."""
    log_in(ada)
    kept = ada.client.cookies[cookies.SESSION]
    assert post(ada, "/log-out").status_code == 303
    ada.client.cookies.set(cookies.SESSION, kept, domain=HOST)
    assert ada.ask("GET", "/me").status_code == 401
    with ada.at.db.reading() as session:
        assert session.exec(select(BrowserSession)).all() == []


class TestTheFirstAdmin:
    def test_is_made_once_by_whoever_has_the_link(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the machine itself; a wrong link, and the same one again, make nobody."""
        monkeypatch.setattr("executor.api.pages.routes.address", lambda request: "127.0.0.1")
        secret = links.make_first_admin_link(house.at.db) or ""
        page = house.client.get("/first-admin")
        assert page.status_code == 200 and secret not in page.text
        wrong = post(house, "/first-admin", secret=secret[:-1], name="ada", password=PASSWORD)
        assert wrong.status_code == 410
        short = post(house, "/first-admin", secret=secret, name="ada", password="short")
        assert short.status_code == 422 and "12 characters" in short.text
        assert post(house, "/first-admin", secret=secret, name="ada", password=PASSWORD).status_code == 303
        assert house.ask("GET", "/me").json()["grants"][0]["project_id"] is None
        assert post(house, "/first-admin", secret=secret, name="eve", password=PASSWORD).status_code == 410
        assert links.make_first_admin_link(house.at.db) is None

    def test_is_not_made_from_elsewhere(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor through a proxy on the machine itself."""
        assert house.client.get("/first-admin").status_code == 403
        monkeypatch.setattr("executor.api.pages.routes.address", lambda request: "127.0.0.1")
        proxied = house.client.get("/first-admin", headers={"x-forwarded-for": "203.0.113.7"})
        assert proxied.status_code == 403


def test_a_device_code_lets_a_command_line_in(ada: House) -> None:
    """Once a person who is logged in has typed it and agreed; the token is told once."""
    begun = ada.ask("POST", "/device", json={"host": "laptop"}).json()
    poll = {"json": {"secret": begun["secret"]}}
    assert ada.ask("POST", "/device/token", **poll).json() == {"state": "waiting", "given": None}
    assert post(ada, "/device", code=begun["code"]).headers["location"].startswith("/log-in")
    log_in(ada)
    shown = post(ada, "/device", code=begun["code"].lower().replace("-", " "))
    assert "laptop" in shown.text and "testclient" in shown.text
    assert post(ada, "/device/agree", code=begun["code"]).status_code == 200
    given = ada.ask("POST", "/device/token", **poll).json()
    assert given["state"] == "agreed"
    ada.client.cookies.clear()
    token = given["given"]["token"]
    assert ada.ask("GET", "/me", token).json()["name"] == "ada"
    assert ada.ask("POST", "/device/token", **poll).json()["state"] == "over"
    assert ada.ask("DELETE", "/me/token", token).status_code == 204
    assert ada.ask("GET", "/me", token).status_code == 401


def test_codes_are_not_guessed(ada: House) -> None:
    """Five tries, whether right or wrong."""
    begun = ada.ask("POST", "/device", json={"host": "laptop"}).json()
    log_in(ada)
    assert [post(ada, "/device", code="BCDF-GHJK").status_code for _ in range(5)] == [404] * 5
    assert post(ada, "/device", code=begun["code"]).status_code == 429


class TestTheCommandLineBesideABrowser:
    def asked(self, verifier: str, **more: str) -> dict[str, str]:
        challenge = loopback.challenge_of(verifier)
        return {"host": "laptop", "port": "50123", "state": "s" * 22, "challenge": challenge} | more

    def test_gets_its_token_by_a_code_on_loopback(self, ada: House) -> None:
        """It alone can spend the code, and once."""
        log_in(ada)
        verifier = secrets.token_urlsafe(32)
        page = ada.client.get("/log-in/command-line", params=self.asked(verifier))
        assert "laptop" in page.text and "http://127.0.0.1:50123" in page.headers["content-security-policy"]
        sent = urlsplit(post(ada, "/log-in/command-line", **self.asked(verifier)).headers["location"])
        assert sent.netloc == "127.0.0.1:50123"
        back = parse_qs(sent.query)
        assert back["state"] == ["s" * 22]
        spent = {"json": {"code": back["code"][0], "verifier": verifier}}
        given = ada.ask("POST", "/log-in/code", **spent).json()["given"]
        assert given["made"]["owner"] == "ada"
        assert ada.ask("POST", "/log-in/code", **spent).status_code == 404

    def test_whoever_saw_the_code_cannot_spend_it(self, ada: House) -> None:
        """And has spent it for everybody: it was seen."""
        log_in(ada)
        verifier = secrets.token_urlsafe(32)
        sent = post(ada, "/log-in/command-line", **self.asked(verifier)).headers["location"]
        code = parse_qs(urlsplit(sent).query)["code"][0]
        assert ada.ask("POST", "/log-in/code", json={"code": code, "verifier": "x" * 43}).status_code == 404
        assert ada.ask("POST", "/log-in/code", json={"code": code, "verifier": verifier}).status_code == 404

    @pytest.mark.parametrize("wrong", [{"port": "80"}, {"port": "evil.example"}, {"state": ""}, {"challenge": "x"}])
    def test_what_no_command_line_asks_is_refused(self, ada: House, wrong: dict[str, str]) -> None:
        """The browser is sent to loopback, above the ports of servers, or nowhere."""
        log_in(ada)
        asked = self.asked(secrets.token_urlsafe(32), **wrong)
        assert ada.client.get("/log-in/command-line", params=asked).status_code == 422
        assert post(ada, "/log-in/command-line", **asked).status_code == 422


def test_every_page_has_the_policy(ada: House) -> None:
    """No script but the server's own, no frame, and nothing kept by a cache."""
    for path in ("/log-in", "/device", "/"):
        answer = ada.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "<style" not in answer.text and " style=" not in answer.text
