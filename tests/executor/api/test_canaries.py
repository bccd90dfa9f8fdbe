"""I1 at the server: no value goes in, and none comes out, whoever asks for whatever there is."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from executor.api.routes import ROUTES
from executor.operations import connections, importing, secrets, variables
from executor.people.roles import ROLES
from executor.remote.server import Server
from executor.schemas.connections import NewConnection
from executor.schemas.importing import Import, Pair, Reading
from executor.schemas.secrets import NewSecret
from executor.schemas.variables import NewVariable
from executor.settings import read_settings
from secretstore import vault
from secretstore.pins import remember_at_first_use
from tests.executor.api.conftest import OPERATOR, House
from tests.serving import served, token_of

pytestmark = pytest.mark.long

CANARY = b"canary-4Jw9-of-the-crawl-\xc3\xa9"


def forms(value: bytes) -> Iterator[bytes]:
    """What would tell of a value: itself, encoded, or something to guess it by."""
    yield value
    yield value.hex().encode()
    yield quote(value).encode()
    yield json.dumps(value.decode()).strip('"').encode()
    for lead in range(3):  # base64 of what stands behind something else: the characters that are the value's alone
        yield base64.b64encode(bytes(lead) + value)[4 * (lead > 0) : -4]
    for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.blake2b):
        yield digest(value).hexdigest().encode()
        yield base64.b64encode(digest(value).digest()).rstrip(b"=")


def require_none(found: bytes, where: object) -> None:
    told = [form for form in forms(CANARY) if form in found]
    assert not told, f"{where} tells of a value"


def test_what_is_looked_for_is_found() -> None:
    """Each of its forms, behind whatever else there is."""
    for form in forms(CANARY):
        with pytest.raises(AssertionError, match="tells of a value"):
            require_none(b"before" + form + b"after", "this")
    for lead in (b"", b"a", b"ab"):
        with pytest.raises(AssertionError, match="tells of a value"):
            require_none(base64.b64encode(lead + CANARY + b"after"), "this")


@pytest.fixture
def stored(house: House) -> House:
    """Secrets in both environments, several versions of them, one of a data source, and a run."""
    for value in (b"an older one of no interest", CANARY):
        for name in ("API_KEY", "DB_PASSWORD"):
            asked = NewSecret(project="shop", environments=("default", "staging"), name=name, value=value)
            secrets.set_(house.at, OPERATOR, asked)
    variables.set_(
        house.at, OPERATOR, NewVariable(project="shop", environments=("default",), name="REGION", value="eu")
    )
    settings = {
        "endpoint": "https://s3.example.com",
        "bucket": "b",
        "access_key_id": {"$secret": "API_KEY"},
        "secret_access_key": {"$secret": "DB_PASSWORD"},
    }
    connections.create(
        house.at,
        OPERATOR,
        NewConnection(
            project="shop", environments=("default",), role="source", name="lake", kind="s3", settings=settings
        ),
    )
    return house


def test_no_answer_tells_of_a_value(stored: House) -> None:
    """Every GET that there is, as every role, with what is there in its path; and its headers."""
    run, _ = stored.ran("shop", "default", b"hello")
    there = {"project": "shop", "environment": "default", "name": "API_KEY", "version": "2", "run": run, "job": "0"}
    queries: dict[str, Any] = {
        "environments.require": {"environments": ["default"]},
        "secrets.due": {"before": "2100-01-01T00:00:00Z"},
        "secrets.require_renamable": {"new": "NEW_KEY"},
        "pruning.look": {"older_than": 0},
        "workers.serving": {"queue": "sealrun"},
    }
    answered = 0
    for route in ROUTES:
        if route.method != "GET":
            continue
        path = route.path.replace("{path:path}", "report.csv")
        names = (
            there | ({"name": "lake"} if route.fixed else {}) | ({"name": "shop"} if "projects." in route.name else {})
        )
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", value)
        for role in ROLES:
            answer = stored.ask("GET", path, stored.token(role), params=queries.get(route.operation, {}))
            assert answer.status_code in (200, 204, 403, 404, 409), (route, answer.text)
            require_none(answer.content + repr(answer.headers).encode(), route)
            answered += answer.status_code in (200, 204)
    assert answered > 150, "most of it is answered, and not refused"


def test_no_value_comes_to_the_server(stored: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All bytes that reach it while a value is set, replaced, and imported from a file by a client."""
    received: list[bytes] = []
    receive = H11Protocol.data_received

    def watched(self: H11Protocol, data: bytes) -> None:
        received.append(data)
        receive(self, data)

    monkeypatch.setattr(H11Protocol, "data_received", watched)
    with served(stored.at) as here:
        elsewhere = read_settings({"SEALRUN_HOME": str(tmp_path / "elsewhere")})
        client = Server(elsewhere, here.url, token_of(stored.at, "robot"), first_use=remember_at_first_use)
        asked = NewSecret(project="shop", environments=("default", "staging"), name="WIRE_KEY", value=CANARY)
        for _ in range(2):
            client.ask(OPERATOR, secrets.set_, asked)
        reading = Reading((Pair("FILE_KEY", CANARY.decode(), "line 1"),), ())
        planned = client.ask(
            OPERATOR, importing.plan, Import(project="shop", environment="default", reading=reading, all_secret=True)
        )
        client.ask(OPERATOR, importing.carry_out, planned)
        client.close()
    whole = b"".join(received)
    assert b"WIRE_KEY" in whole and b"FILE_KEY" in whole, "the server was asked"
    require_none(whole, "what was sent")
    kept = {one.name: one.version for one in vault.list_secrets(stored.at.db, "shop", "default")}
    assert (kept["WIRE_KEY"], kept["FILE_KEY"]) == (2, 1)
