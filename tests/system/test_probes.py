"""`source test` and `catalog test`: a real call by a run of its own, what is said of it, and what is kept."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from executor.operations.probing import Found, Probe
from executor.submission import submit
from executor.submission.specification import specify
from secretstore import vault
from secretstore.audit_reading import list_events
from secretstore.connections import Role
from tests.connections import servers
from tests.rig import ACTOR, CHECKOUT, Rig, rig

WRONG = "canary-of-a-wrong-secret-key-0815"
NOWHERE = "http://127.0.0.1:9"
BUILT_WITHIN = 600
"""Seconds: the first probe of a kind waits for an environment with its libraries."""

pytestmark = pytest.mark.long


class Expired(BaseHTTPRequestHandler):
    """An S3 server whose every answer is that the token has expired, and which quotes it."""

    def do_GET(self) -> None:
        token = self.headers.get("x-amz-security-token", "")
        body = f"<Error><Code>ExpiredToken</Code><Message>expired: {token}</Message></Error>".encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def expired() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Expired) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def place(expired: str, postgres_database: str) -> Iterator[Rig]:
    """A worker, and connections that work and that do not, of every kind."""
    keys = {"aws_access_key_id": servers.ACCESS_KEY, "aws_secret_access_key": servers.SECRET_KEY}
    secrets: dict[str, Any] = {
        "KEYS": keys,
        "WRONG": keys | {"aws_secret_access_key": WRONG},
        "OLD": keys | {"aws_session_token": "canary-of-an-old-session-token"},
        "CLIENT": f"{servers.ACCESS_KEY}:{servers.SECRET_KEY}",
        "BAD_CLIENT": f"{servers.ACCESS_KEY}:{WRONG}",
        "UNITY": servers.UNITY_TOKEN,
        "DSN": postgres_database,
        "BAD_DSN": postgres_database.rpartition("/")[0].replace("://", f"://nobody-here:{WRONG}@", 1) + "/nothing"
        if "@" not in postgres_database
        else postgres_database.replace("://", "://nobody-", 1),
    }
    with servers.moto() as moto, servers.seaweed() as weed, servers.unity(weed) as unity, rig() as made:
        values = {name: one if isinstance(one, str) else json.dumps(one) for name, one in secrets.items()}
        made.project("shop", {name: value.encode() for name, value in values.items()}, servers.network())
        at = {"region": servers.REGION, "bucket": "lake"}
        rest = {"endpoint": weed.iceberg, "warehouse": "s3://warehouse"}
        sources: dict[str, tuple[str, dict[str, Any]]] = {
            "lake": ("s3", {**at, "endpoint": weed.s3, "credentials": named("KEYS")}),
            "no-bucket": ("s3", {**at, "endpoint": weed.s3, "bucket": "nobody", "credentials": named("KEYS")}),
            "wrong-key": ("s3", {**at, "endpoint": weed.s3, "credentials": named("WRONG")}),
            "nowhere": ("s3", {**at, "endpoint": NOWHERE, "credentials": named("KEYS")}),
            "expired": ("s3", {**at, "endpoint": expired, "credentials": named("OLD")}),
            "no-secret": ("s3", {**at, "endpoint": weed.s3, "credentials": named("MISSING")}),
            "no-json": ("s3", {**at, "endpoint": weed.s3, "credentials": named("UNITY")}),
            "ledger": ("postgres", {"url": named("DSN")}),
            "no-ledger": ("postgres", {"url": named("BAD_DSN")}),
        }
        catalogs: dict[str, tuple[str, dict[str, Any]]] = {
            "main": ("iceberg-rest", {**rest, "credential": named("CLIENT")}),
            "wrong-client": ("iceberg-rest", {**rest, "credential": named("BAD_CLIENT")}),
            "nowhere": ("iceberg-rest", {"endpoint": NOWHERE}),
            "glue": ("glue", {"region": servers.REGION, "endpoint": moto, "credentials": named("KEYS")}),
            "glue-nowhere": ("glue", {"region": servers.REGION, "endpoint": NOWHERE, "credentials": named("KEYS")}),
            "glue-no-keys": ("glue", {"region": servers.REGION, "endpoint": moto}),
            "unity": ("unity-catalog", {"endpoint": unity.url, "token": named("UNITY")}),
            "unity-refused": ("unity-catalog", {"endpoint": unity.url, "token": named("BAD_CLIENT")}),
            "unity-nowhere": ("unity-catalog", {"endpoint": NOWHERE, "token": named("UNITY")}),
        }
        roles: tuple[tuple[Role, dict[str, tuple[str, dict[str, Any]]]], ...] = (
            ("source", sources),
            ("catalog", catalogs),
        )
        for role, connections in roles:
            for name, (kind, settings) in connections.items():
                vault.create_connection(made.db, "shop", "default", role, name, kind, settings, actor=ACTOR)
        made.start_worker()
        yield made


def named(secret: str) -> dict[str, str]:
    return {"$secret": secret}


@pytest.fixture(scope="module")
def found(place: Rig) -> dict[str, Found]:
    """What the probe of each connection says; handed in together."""
    asked: dict[str, str] = {}
    for view in vault.list_connections(place.db, "shop", "default"):
        spec = specify(place.db, place.settings, Probe("shop", view).request).spec
        asked[view.label] = submit.submit(place.db, place.app, spec, ACTOR.name).run_id
    return {label: Found.by(place.ended(run_id, within=BUILT_WITHIN).view) for label, run_id in asked.items()}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("source lake", "listed s3://lake"),
        ("source ledger", "connected"),
        ("catalog main", "it has 0 namespaces"),
        ("catalog glue", "asked for its databases"),
        ("catalog unity", "listed its catalogs"),
    ],
)
def test_what_works(found: dict[str, Found], label: str, said: str) -> None:
    """One call with the library that runs use, against a server that answers; its time is of the call alone."""
    assert (found[label].ok, found[label].said) == (True, said)
    seconds = found[label].seconds
    assert seconds is not None and 0 <= seconds < 60


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("source no-bucket", "there is no bucket nobody (NoSuchBucket)"),
        ("source wrong-key", "the credentials are refused (SignatureDoesNotMatch)"),
        ("source nowhere", f"{NOWHERE} cannot be reached (EndpointConnectionError)"),
        ("source expired", "the session token has expired (ExpiredToken)"),
        (
            "source no-secret",
            "no call was made: source no-secret: its access_key_id is the secret MISSING, which shop (default)",
        ),
        (
            "source no-json",
            "no call was made: source no-json: access_key_id is aws_access_key_id of secret UNITY, which",
        ),
        ("source no-ledger", "nobody-"),
        ("catalog wrong-client", "the credentials are refused, or have expired (OAuthError)"),
        ("catalog nowhere", f"{NOWHERE} cannot be reached (ConnectionError)"),
        ("catalog glue-nowhere", f"{NOWHERE} cannot be reached (EndpointConnectionError)"),
        ("catalog glue-no-keys", "it has no keys: name a secret that has them, or a source (NoCredentialsError)"),
        ("catalog unity-refused", "the token is refused, or has expired (HTTP 401)"),
        ("catalog unity-nowhere", f"{NOWHERE} cannot be reached (Connection refused)"),
    ],
)
def test_what_does_not(found: dict[str, Found], label: str, said: str) -> None:
    """I10: a readable cause, and no credential in it, not even where a server quotes one."""
    assert not found[label].ok
    assert said in found[label].said
    hidden = (servers.SECRET_KEY, servers.ACCESS_KEY, WRONG, servers.UNITY_TOKEN, "canary-of-an-old-session-token")
    assert not [one for one in hidden if one in found[label].said]


def test_kept_and_listed(place: Rig, found: dict[str, Found]) -> None:
    """The command says it, ends as it went, and keeps outcome, time, cause and run; replaced settings are untested."""
    for name, code, word in (("lake", 0, "source lake: ok in "), ("wrong-key", 1, "source wrong-key: failed in ")):
        ended = sealrun(place, "source", "test", name)
        assert ended.returncode == code, ended.stderr
        assert ended.stdout.startswith(word)
    listed = {one["name"]: one for one in json.loads(sealrun(place, "source", "list", "--json").stdout)}
    assert (listed["lake"]["test_outcome"], listed["lake"]["test_message"]) == ("ok", "listed s3://lake")
    assert listed["wrong-key"]["test_outcome"] == "failed" and listed["wrong-key"]["tested_at"]
    assert listed["wrong-key"]["test_message"] == "the credentials are refused (SignatureDoesNotMatch)"
    assert place.view(listed["wrong-key"]["test_run"]).over
    assert listed["nowhere"]["test_outcome"] is None
    acts = [(one.action, one.subject, one.outcome) for one in list_events(place.db, project="shop")]
    assert ("source.test", "default/lake", "done") in acts and ("source.test", "default/wrong-key", "failed") in acts
    assert sealrun(place, "source", "test", "laek").returncode == 2


def sealrun(place: Rig, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command line, in the rig's environment."""
    return subprocess.run(
        [sys.executable, "-m", "executor.cli", *words, "-p", "shop"],
        env={**place.environ, "PYTHONPATH": str(CHECKOUT)},
        cwd=place.jobs,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
