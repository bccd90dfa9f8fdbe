"""Log-in by a provider whose answers are forged, mixed up, or come back to where they were not awaited."""

import base64
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.executor.api.pair import Pair
from tests.executor.api.provider import CLIENT_ID, CLIENT_SECRET

pytestmark = pytest.mark.long


class LogIn:
    """A log-in that a browser has begun at the first server."""

    def __init__(self, pair: Pair, **asked: str) -> None:
        self.pair = pair
        begun = pair.send("GET", "/log-in/provider", params=asked)
        assert begun.status_code == 303, begun.text
        self.cookie = pair.cookie(begun)
        to = urlsplit(begun.headers["location"])
        assert f"{to.scheme}://{to.netloc}" == pair.provider.issuer
        sent = {name: values[0] for name, values in parse_qs(to.query).items()}
        assert sent["code_challenge_method"] == "S256" and sent["client_id"] == CLIENT_ID
        assert sent["redirect_uri"] == f"{pair.origin}/log-in/callback" and sent["response_type"] == "code"
        self.state, self.nonce, self.challenge = sent["state"], sent["nonce"], sent["code_challenge"]

    def claims(self, **extra: Any) -> dict[str, Any]:
        return self.pair.provider.claims(**({"nonce": self.nonce} | extra))

    def back(self, token: str, to: int = 1, **changed: str) -> httpx.Response:
        """Come back with a code for a token, to the second server."""
        code = self.pair.provider.code(token, self.challenge)
        asked = {"state": self.state, "code": code} | {
            name: changed[name] for name in ("state", "code") if name in changed
        }
        return self.pair.send(
            "GET", "/log-in/callback", to, params=asked, headers={"cookie": changed.get("cookie", self.cookie)}
        )


def sessions(answer: httpx.Response) -> list[str]:
    """Sessions that an answer begins."""
    return [
        one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-sealrun=") and "=;" not in one
    ]


def test_who_the_provider_vouches_for_is_let_in(pair: Pair) -> None:
    """Begun at one server and ended at the other; a name that looks like an e-mail's is only what they are called."""
    begun = LogIn(pair, return_to="/device")
    answer = begun.back(pair.provider.signed(begun.claims(sub="s-right", preferred_username="grace")))
    assert (answer.status_code, answer.headers["location"]) == (303, "/device")
    (session,) = sessions(answer)
    me = pair.ask("GET", "/me", headers={"cookie": session.partition(";")[0]}).json()
    assert me["name"] == "grace" and me["grants"] == [], "a log-in gives no role"


def test_the_same_name_is_not_the_same_person(pair: Pair) -> None:
    """Another subject of that name, or with her e-mail address, is somebody else, without a role."""
    names = []
    for subject in ("s-a", "s-b"):
        begun = LogIn(pair)
        said = {"preferred_username": "hopper", "email": "hopper@example.com", "email_verified": True}
        (session,) = sessions(begun.back(pair.provider.signed(begun.claims(sub=subject, **said))))
        names.append(pair.ask("GET", "/me", headers={"cookie": session.partition(";")[0]}).json()["name"])
    assert names[0] != names[1]


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any], alg: str) -> str:
    return ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": alg, "kid": "k1"}, claims)) + "."


def by_public_key(pair: Pair, claims: dict[str, Any]) -> str:
    """Signed by HMAC with what everybody has: the public key. No library lends itself to it any more."""
    signed = unsigned(claims, "HS256").rstrip(".")
    public = pair.provider.key.as_pem(private=False)
    return f"{signed}.{encoded(hmac.digest(public, signed.encode(), 'sha256'))}"


def by_the_clients_secret(pair: Pair, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET))


def by_another_key(pair: Pair, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, RSAKey.generate_key(2048, {"kid": "k1"}))


def by_its_own_key(pair: Pair, claims: dict[str, Any]) -> str:
    """With the key that it is checked by in its own head."""
    key = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "jwk": key.as_dict(private=False)}, claims, key)


def cut(pair: Pair, claims: dict[str, Any]) -> str:
    return pair.provider.signed(claims).rpartition(".")[0] + "."


FORGED = {
    "no signature": lambda pair, claims: unsigned(claims, "none"),
    "None": lambda pair, claims: unsigned(claims, "None"),
    "the public key as a secret": by_public_key,
    "the client's secret": by_the_clients_secret,
    "another key": by_another_key,
    "its own key": by_its_own_key,
    "a signature that is cut off": cut,
    "no token": lambda pair, claims: "hello",
}


@pytest.mark.parametrize("how", FORGED)
def test_a_token_without_the_providers_signature_proves_nothing(pair: Pair, how: str) -> None:
    """And is told apart from no other failure, in a page without it."""
    begun = LogIn(pair)
    token = FORGED[how](pair, begun.claims(sub="s-forged"))
    answer = begun.back(token)
    assert answer.status_code == 502 and not sessions(answer) and token not in answer.text


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "for another application": {"aud": "another"},
    "for several, and not said by whom": {"aud": [CLIENT_ID, "another"]},
    "by another application": {"azp": "another"},
    "for several, by another": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "for nobody": {"aud": None},
    "of another provider": {"iss": "https://evil.example"},
    "of nobody": {"iss": None},
    "of another log-in": {"nonce": "another"},
    "of no log-in": {"nonce": None},
    "over": {"exp": NOW - 3600},
    "without end": {"exp": None},
    "of the future": {"iat": NOW + 86_400},
    "about nobody": {"sub": None},
    "about an empty name": {"sub": ""},
    "about a number": {"sub": 7},
    "about too long a name": {"sub": "s" * 256},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_token_that_is_not_for_this_log_in_proves_nothing(pair: Pair, what: str) -> None:
    """Signed by the provider, and of something else."""
    begun = LogIn(pair)
    answer = begun.back(pair.provider.signed(begun.claims(**WRONG[what])))
    assert answer.status_code == 502 and not sessions(answer), what


def test_a_log_in_comes_back_to_the_browser_that_began_it(pair: Pair) -> None:
    """Not to another's, which would be logged in as who sends the link; nor to none."""
    begun, other = LogIn(pair), LogIn(pair)
    token = pair.provider.signed(begun.claims())
    for cookie in (other.cookie, "", "__Host-sealrun-before=x"):
        assert begun.back(token, cookie=cookie).status_code == 401
    for state in (other.state, "", "x", begun.state[:-1]):
        assert begun.back(token, state=state).status_code == 401


def test_a_log_in_comes_back_once(pair: Pair) -> None:
    """At whichever server; and a code is the provider's to take once, with the verifier of who began."""
    begun = LogIn(pair)
    token = pair.provider.signed(begun.claims())
    assert sessions(begun.back(token, 0))
    assert begun.back(token, 1).status_code == begun.back(token, 0).status_code == 401
    stolen = pair.provider.code(token, begun.challenge)
    later = LogIn(pair)
    injected = pair.send(
        "GET", "/log-in/callback", params={"state": later.state, "code": stolen}, headers={"cookie": later.cookie}
    )
    assert injected.status_code == 502 and not sessions(injected), "the verifier is another's"


def test_an_answer_of_another_provider_is_not_taken_for_this_ones(pair: Pair) -> None:
    """RFC 9207: where the provider says which one it is, that is looked at."""
    begun = LogIn(pair)
    code = pair.provider.code(pair.provider.signed(begun.claims()), begun.challenge)
    asked = {"state": begun.state, "code": code, "iss": "https://evil.example"}
    answer = pair.send("GET", "/log-in/callback", params=asked, headers={"cookie": begun.cookie})
    assert answer.status_code in (401, 502) and not sessions(answer)
    assert code in pair.provider.given, "the code was sent to nobody"


def test_a_refusal_by_the_provider_is_told_in_our_words(pair: Pair) -> None:
    """Nothing of what it sends stands in the page."""
    begun = LogIn(pair)
    asked = {"state": begun.state, "error": "access_denied", "error_description": "<script>evil</script>"}
    answer = pair.send("GET", "/log-in/callback", params=asked, headers={"cookie": begun.cookie})
    assert answer.status_code == 502 and "evil" not in answer.text and not sessions(answer)
