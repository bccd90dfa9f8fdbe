"""What is sent twice, at once, or to the other server: a row decides, and both servers read the same rows."""

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest

from executor.api.paging import cursor
from executor.people import accounts, loopback, memberships, tokens
from executor.people.principal import operator
from executor.people.throttle import LOG_IN_OF_ACCOUNT
from tests.executor.api.conftest import OPERATOR
from tests.executor.api.pair import Pair

pytestmark = pytest.mark.long

KEY = "idempotency-key"
RUN = {"target": {"kind": "command", "argv": ["true"]}, "source_root": "/srv", "host": "elsewhere"}
SHOP = "/projects/shop/environments/default/runs"


def test_a_request_with_a_key_is_done_once(pair: Pair) -> None:
    """Sent again to either server it has the first answer; with another body it is refused."""
    token, key = pair.token("admin", "shop"), {KEY: "once-1"}
    first = pair.ask("POST", SHOP, token, headers=key, json=RUN)
    assert first.status_code == 200, first.text
    again = pair.ask("POST", SHOP, token, to=1, headers=key, json=RUN)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == "application/json"
    other = pair.ask("POST", SHOP, token, to=1, headers=key, json=RUN | {"timeout": 5.0})
    assert (other.status_code, other.json()["code"]) == (422, "key_of_another")


def test_a_key_belongs_to_who_asks_and_where(pair: Pair) -> None:
    """Another's request with the same key is one of its own, and so is one in another project, or by another route."""
    key = {KEY: "mine-1"}
    first = pair.ask("POST", SHOP, pair.token("admin", "shop"), headers=key, json=RUN).json()["run_id"]
    theirs = pair.ask("POST", SHOP, pair.token("maintainer", "shop"), to=1, headers=key, json=RUN).json()["run_id"]
    both = pair.token("admin")
    here = pair.ask("POST", SHOP, both, headers=key, json=RUN).json()["run_id"]
    there = pair.ask("POST", SHOP.replace("shop", "bank"), both, headers=key, json=RUN).json()["run_id"]
    look = pair.ask("POST", f"{SHOP}/look-up", both, headers=key, json={})
    assert len({first, theirs, here, there}) == 4 and look.json() == {"refusals": []}


def test_a_key_answers_nobody_who_may_no_more(pair: Pair) -> None:
    """What is kept is given to whom it would be done for now."""
    by, name = operator("ada"), "leaver"
    accounts.create(pair.at.db, name, service=True, actor=OPERATOR)
    memberships.give(pair.at.db, name, "admin", pair.place("shop"), actor=OPERATOR, by=by)
    token = tokens.create(pair.at.db, name, "t", "admin", pair.place("shop"), actor=OPERATOR, by=by).token
    key = {KEY: "leaver-1"}
    assert pair.ask("POST", SHOP, token, headers=key, json=RUN).status_code == 200
    memberships.give(pair.at.db, name, "viewer", pair.place("shop"), actor=OPERATOR, by=by)
    memberships.take(pair.at.db, name, "admin", pair.place("shop"), actor=OPERATOR, by=by)
    assert pair.ask("POST", SHOP, token, to=1, headers=key, json=RUN).status_code in (401, 403)


def test_of_two_at_once_one_is_done(pair: Pair) -> None:
    """In two processes: the others are told to ask again, or what the first one did."""
    token = pair.token("admin", "shop")

    def send(number: int) -> httpx.Response:
        return pair.ask("POST", SHOP, token, to=number % 2, headers={KEY: "at-once"}, json=RUN | {"timeout": 77.0})

    with ThreadPoolExecutor(6) as at_once:
        answers = list(at_once.map(send, range(6)))
    done = {answer.json()["run_id"] for answer in answers if answer.status_code == 200}
    assert len(done) == 1 and {answer.status_code for answer in answers} <= {200, 409}


def test_a_key_that_is_none_is_refused(pair: Pair) -> None:
    """An empty one, one without end, and one on a request whose answer is a token."""
    token = pair.token("admin")
    assert pair.ask("POST", SHOP, token, headers={KEY: ""}, json=RUN).status_code == 422
    assert pair.ask("POST", SHOP, token, headers={KEY: "k" * 256}, json=RUN).status_code == 422
    asked = {"name": "ci", "role": "viewer"}
    made = [pair.ask("POST", "/tokens", token, headers={KEY: "t"}, json=asked).json()["token"] for _ in range(2)]
    assert made[0] != made[1], "a token is shown once, and kept nowhere"


def test_a_code_of_a_browser_is_spent_once(pair: Pair) -> None:
    """Whichever server is asked, and by many at once."""
    cookie, verifier = pair.person("ida"), secrets.token_urlsafe(32)
    asked = {"host": "laptop", "port": "50123", "state": "s" * 22, "challenge": loopback.challenge_of(verifier)}
    agreed = pair.send("POST", "/log-in/command-line", headers=pair.own | {"cookie": cookie}, data=asked)
    code = parse_qs(urlsplit(agreed.headers["location"]).query)["code"][0]

    def spend(number: int) -> int:
        return pair.ask("POST", "/log-in/code", to=number % 2, json={"code": code, "verifier": verifier}).status_code

    with ThreadPoolExecutor(6) as at_once:
        assert sorted(at_once.map(spend, range(6))) == [200, 404, 404, 404, 404, 404]


def test_a_device_code_gives_one_token(pair: Pair) -> None:
    """It is begun at one server, agreed to at the other, and asked for at both."""
    cookie = pair.person("dora")
    begun = pair.ask("POST", "/device", json={"host": "laptop"}).json()
    with_cookie = {"headers": pair.own | {"cookie": cookie}, "data": {"code": begun["code"]}}
    assert pair.send("POST", "/device/agree", 1, **with_cookie).status_code == 200

    def poll(number: int) -> str:
        return str(pair.ask("POST", "/device/token", to=number % 2, json={"secret": begun["secret"]}).json()["state"])

    with ThreadPoolExecutor(6) as at_once:
        assert sorted(at_once.map(poll, range(6))) == ["agreed"] + ["over"] * 5
    assert pair.send("POST", "/device/agree", **with_cookie).status_code == 404


def test_attempts_are_counted_by_both(pair: Pair) -> None:
    """Ten in a quarter of an hour, whichever server is tried; then the right password is refused, too."""
    pair.person("tina")
    tried = [
        pair.log_in("tina", "wrong horse battery", to=n % 2).status_code for n in range(LOG_IN_OF_ACCOUNT.attempts)
    ]
    assert tried == [401] * LOG_IN_OF_ACCOUNT.attempts
    assert pair.log_in("tina", to=0).status_code == pair.log_in("tina", to=1).status_code == 429


def test_what_ends_at_one_server_ends_at_the_other(pair: Pair) -> None:
    """At its next use: a token that is revoked, a person who is disabled, a session that logged out."""
    admin = pair.token("admin")
    cookie = pair.person("otto")

    def session(to: int) -> int:
        return pair.ask("GET", "/me", to=to, headers={"cookie": cookie}).status_code

    assert session(0) == session(1) == 200
    assert pair.send("POST", "/log-out", 0, headers=pair.own | {"cookie": cookie}).status_code == 303
    assert session(1) == 401
    cookie = pair.cookie(pair.log_in("otto"))
    assert session(1) == 200
    assert pair.ask("POST", "/people/otto/disable", admin, to=0).status_code == 200
    assert session(1) == 401
    assert pair.log_in("otto", to=1).status_code == 401
    made = pair.ask("POST", "/tokens", admin, json={"name": "short", "role": "viewer"}).json()
    assert pair.ask("GET", "/me", made["token"], to=1).status_code == 200
    assert pair.ask("DELETE", f"/tokens/{made['made']['id']}", admin, to=0).status_code == 200
    assert pair.ask("GET", "/me", made["token"], to=1).status_code == 401


def test_a_cursor_leads_nowhere_but_on(pair: Pair) -> None:
    """What is none, or has other fields, is refused; behind the last item there is nothing."""
    token, path = pair.token("viewer", "shop"), "/projects/shop/variables"

    def status(cursor: str) -> int:
        return pair.ask("GET", path, token, to=1, params={"cursor": cursor}).status_code

    wrong: list[Any] = [[], ["a"], ["a", 1], ["a", None], ["a", "b", "c"]]
    assert {status(text) for text in ("x", "é", "AAAA", "W1s", *map(cursor, wrong))} == {422}
    assert status(cursor(["zzz", "zzz"])) == status(cursor(["' OR 1=1 --", ""])) == 200
    assert status(base64.urlsafe_b64encode(b"[" * 700).decode()) == 422
    other = pair.token("viewer", "bank")
    assert pair.ask("GET", path, other, params={"cursor": cursor(["default", ""])}).status_code == 404
