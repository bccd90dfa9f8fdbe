"""The opener, alone between two sockets: what it hands over, and what it keeps."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from executor.boundary import plans
from executor.boundary.plans import Signer, SigningKey
from executor.boundary.wire import Frame, Kind, Receiver, send
from executor.supervisor.roles import Assumed, from_values
from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, migrate
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.run_connection import RunConnection
from secretstore.vault import Actor
from tests.databases import sqlite_file
from tests.executor.conftest import ROOT
from tests.sts import Account, account, client, sts_proxy

BUCKET = "lake-bucket"
LAKE = {
    "bucket": BUCKET,
    "access_key_id": {"$secret": "LAKE", "field": "aws_access_key_id"},
    "secret_access_key": {"$secret": "LAKE", "field": "aws_secret_access_key"},
}
_OPEN = """
import socket, sys
sys.path[:0] = [sys.argv[3]]
from executor.boundary.plans import Signer
from executor.supervisor.opener import open_bundle
ends = [socket.socket(fileno=int(number)) for number in sys.argv[1:3]]
sys.exit(open_bundle(*ends, signers=[Signer.parse(one) for one in sys.argv[4:]]))
"""


@pytest.fixture(scope="module")
def ada() -> Iterator[Account]:
    """Somebody who may assume a role."""
    with account(BUCKET) as made:
        yield made


def opened(
    request: dict[str, Any], until: Callable[[], object] | None = None, signers: Sequence[Signer] = ()
) -> tuple[Frame, list[Frame]]:
    """What an opener says to the worker and to the supervisor; it has nothing of this process's environment.

    After `until`, if that is given, the supervisor is gone. It insists on plans where there are signers.
    """
    worker, ours = socket.socketpair()
    supervisor, values = socket.socketpair()
    with worker, ours, supervisor, values:
        descriptors = [worker.fileno(), supervisor.fileno()]
        command = [sys.executable, "-I", "-c", _OPEN, *map(str, descriptors), str(ROOT), *map(str, signers)]
        with subprocess.Popen(command, pass_fds=descriptors, env={}) as process:
            worker.close()
            supervisor.close()
            send(ours, Kind.BUNDLE, request)
            if until is not None:
                until()
                values.close()
            said = Receiver(ours).receive(60)
            heard: list[Frame] = []
            receiver = Receiver(values)
            while until is None and (frame := receiver.receive(60)) is not None:
                heard.append(frame)
            process.wait(60)
    assert said is not None
    return said, heard


def values_of(frames: list[Frame]) -> dict[str, bytes]:
    """As a supervisor takes them."""
    assert frames[-1].kind is Kind.VALUES_END
    found = {}
    for frame in frames[:-1]:
        assert frame.kind is Kind.VALUE
        length = int.from_bytes(frame.payload[:2], "big")
        found[frame.payload[2 : 2 + length].decode()] = frame.payload[2 + length :]
    return found


@pytest.fixture
def request_for(tmp_path: Path) -> Any:
    """Makes the request of a run that has these secrets."""

    def make(secrets: dict[str, bytes]) -> dict[str, Any]:
        path = tmp_path / "local.key"
        create_local_key(path)
        url = f"sqlite:///{sqlite_file(tmp_path / 'sealrun.db', migrate)}"
        db, actor = Database(url), Actor("ada@example", "test")
        keys = LocalKeys(path)
        vault.create_project(
            db, "shop", actor=actor, birth=lambda place, generation: generate_wrapped(keys, place, generation)
        )
        for name, value in secrets.items():
            vault.put(db, "shop", "default", name, value, actor=actor, pins=Pins(tmp_path / "known", url))
        place = vault.get_environment(db, "shop", "default")
        with db.writing() as session:
            bundle: SealedBundle | None = vault.sealed_bundle(session, place.id, None)
        db.close()
        assert bundle is not None
        return {"access": KeyAccess(f"local:{path}").to_json(), "bundle": bundle.to_json()}

    return make


def test_it_hands_over_what_it_opened(request_for: Any) -> None:
    """Each value under its name, and how many there were to the worker."""
    said, frames = opened(request_for({"ONE": b"value of one", "TWO": b"\xff\n of two"}))
    assert said.kind is Kind.OPENED
    assert said.json()["count"] == 2
    assert values_of(frames) == {"ONE": b"value of one", "TWO": b"\xff\n of two"}


def test_long_lived_credentials_stay_behind(request_for: Any, ada: Account) -> None:
    """The role's credentials take their place, and work; the worker hears neither."""
    secret = {"aws_access_key_id": ada.access_key, "aws_secret_access_key": ada.secret_key}
    request = request_for({"ONE": b"value of one", "LAKE": json.dumps(secret).encode(), "SPARE": b"withheld too"})
    with sts_proxy(ada.url) as sts:
        lake = RunConnection("source", "lake", "s3", {**LAKE, "assume_role": ada.role, "sts_endpoint": sts.url})
        plain = RunConnection("source", "plain", "s3", {"bucket": BUCKET})
        request["roles"] = {"plan": [lake.to_json(), plain.to_json()], "timeout": 120.0, "run": "r1"}
        request["withheld"] = ["LAKE", "SPARE"]
        said, frames = opened(request)
        assert sts.calls[0]["RoleSessionName"] == "sealrun-r1"
        assert sts.calls[0]["DurationSeconds"] == "900"
    assert said.kind is Kind.OPENED
    assert said.json()["count"] == 3, "the receipt is about what was opened"
    secrets, assumed = from_values(values_of(frames))
    assert secrets == {"ONE": b"value of one"}
    given = assumed["lake"]
    assert isinstance(given, Assumed)
    client("s3", ada.url, given.access_key_id, given.secret_access_key, given.session_token).head_bucket(Bucket=BUCKET)
    everything = b"".join(frame.payload for frame in [said, *frames])
    assert ada.secret_key.encode() not in everything
    assert given.secret_access_key.encode() not in said.payload


def test_a_role_that_is_refused_ends_nothing(request_for: Any, ada: Account) -> None:
    """The supervisor hears why; the other values are there."""
    secret = {"aws_access_key_id": "AKIACANARYNOBODY0000", "aws_secret_access_key": "canary-secret-key"}
    request = request_for({"ONE": b"value of one", "LAKE": json.dumps(secret).encode()})
    lake = RunConnection("source", "lake", "s3", {**LAKE, "assume_role": ada.role, "sts_endpoint": ada.url})
    request |= {"roles": {"plan": [lake.to_json()], "timeout": None, "run": "r1"}, "withheld": ["LAKE"]}
    said, frames = opened(request)
    assert said.kind is Kind.OPENED
    secrets, assumed = from_values(values_of(frames))
    assert secrets == {"ONE": b"value of one"}
    assert assumed["lake"] == "STS does not know its access key (InvalidClientTokenId)"


def test_nobody_waits_for_sts_once_the_run_is_cancelled(request_for: Any) -> None:
    """I4: the worker hears that nothing was handed over, and the receipt can be closed."""
    secret = {"aws_access_key_id": "AKIACANARYNOBODY0000", "aws_secret_access_key": "canary-secret-key"}
    request = request_for({"LAKE": json.dumps(secret).encode()})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        role = {"assume_role": "arn:aws:iam::123456789012:role/lake", "sts_endpoint": url}
        lake = RunConnection("source", "lake", "s3", {**LAKE, **role})
        request |= {"roles": {"plan": [lake.to_json()], "timeout": None, "run": "r1"}, "withheld": ["LAKE"]}
        asking: list[socket.socket] = []
        said, _ = opened(request, until=lambda: asking.append(silent.accept()[0]))
        asking[0].close()
    assert said.kind is Kind.NOT_OPENED
    assert said.json()["message"] == "the run was ended before its secrets were handed over"


def test_it_says_whether_anything_was_opened(request_for: Any, tmp_path: Path) -> None:
    """I4: not where the key service refuses; where one value does not open, others may have been."""
    request = request_for({"ONE": b"value of one", "TWO": b"value of two"})
    bundle = json.loads(request["bundle"])
    bundle["items"][1]["sealed"] = bundle["items"][0]["sealed"]
    request["bundle"] = json.dumps(bundle)
    said, _ = opened(request)
    assert (said.json()["error"], said.json()["unopened"]) == ("seal_broken", False)
    Path(tmp_path, "local.key").unlink()
    said, _ = opened(request)
    assert (said.json()["error"], said.json()["unopened"]) == ("key_file_missing", True)


def test_what_is_no_plan_is_said_without_quoting(request_for: Any) -> None:
    """Nothing is handed over then."""
    request = request_for({"ONE": b"value of one"})
    request["roles"] = {"plan": [{"canary": "of-a-stranger"}], "timeout": None, "run": "r1"}
    said, frames = opened(request)
    assert said.kind is Kind.NOT_OPENED
    assert b"canary" not in said.payload
    assert frames == []


def test_a_secret_is_not_taken_for_the_answer_of_a_role(request_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: one whose name only a writer of the database can give; no other process takes it apart."""
    monkeypatch.setattr("secretstore.entries.check_secret_name", lambda *_: None)
    said, frames = opened(request_for({"ONE": b"value of one", "/source/lake": b'{"canary": "value of lake"}'}))
    assert said.kind is Kind.NOT_OPENED and frames == []
    assert said.json()["error"] == "name_refused" and "value of" not in said.json()["message"]


class TestPlans:
    """An opener that insists on plans opens nothing but what one of its servers has signed, whoever asks it."""

    RUN = "a" * 32

    @pytest.fixture
    def key(self) -> SigningKey:
        return SigningKey(Ed25519PrivateKey.generate())

    def signed(
        self, request: dict[str, Any], key: SigningKey, there: Sequence[str] = ("ONE", "TWO"), **asked: Any
    ) -> dict[str, Any]:
        """The request with a plan that asks for this, and what the run is given by that."""
        bundle = SealedBundle.from_json(request["bundle"])
        place = {name: getattr(bundle, name) for name in ("project_id", "project", "environment_id", "environment")}
        usual = {"secret_names": None, "setup_secret_names": None, "variables": {"STAGE": "prod"}}
        lake = RunConnection("source", "lake", "s3", {"bucket": BUCKET, "token": {"$secret": "TWO"}})
        content = {
            "run": self.RUN,
            "asked": place | usual | asked,
            "variables": {"REGION": "north"},
            "connections": {lake.key: plans.pin(lake)},
            "secrets": list(there),
        }
        text = plans.canonical(content)
        given = {"variables": {"STAGE": "prod", "REGION": "north"}, "connections": [lake.to_json()]}
        plan = {"content": text, "signed": key.sign(plans.RUN, text), "run": self.RUN, "phase": plans.RUN}
        return {**request, "plan": plan | given}

    def refused(self, request: dict[str, Any], key: SigningKey) -> str:
        said, frames = opened(request, signers=(key.signer,))
        assert (said.kind, frames) == (Kind.NOT_OPENED, [])
        assert said.json()["error"] == "plan_refused", said.json()
        return str(said.json()["message"])

    def test_what_was_signed_is_opened(self, request_for: Any, key: SigningKey) -> None:
        """By any of several keys; and a secret that a source needs, though the run does not ask for it."""
        request = self.signed(request_for({"TWO": b"value of two"}), key, secret_names=[])
        other = SigningKey(Ed25519PrivateKey.generate()).signer
        said, frames = opened(request, signers=(other, key.signer))
        assert said.kind is Kind.OPENED and values_of(frames) == {"TWO": b"value of two"}

    def test_nothing_else_is(self, request_for: Any, key: SigningKey) -> None:
        """I1: no signature, another's, of another kind, run or place; more secrets; another source or variable."""
        request = request_for({"ONE": b"value of one", "TWO": b"value of two"})
        assert "bears no signature" in self.refused(request, key)
        good = self.signed(request, key)
        assert "SEALRUN_SIGNERS" in self.refused(self.signed(request, SigningKey(Ed25519PrivateKey.generate())), key)
        changed = {
            "content": good["plan"]["content"].replace("prod", "dev"),
            "signed": key.sign("job", good["plan"]["content"]),
        }
        for name, value in changed.items():
            assert "not what was signed" in self.refused({**good, "plan": {**good["plan"], name: value}}, key)
        lake = good["plan"]["connections"][0]
        elsewhere = {**lake, "settings": {**lake["settings"], "endpoint": "https://evil.example"}}
        given = {
            "run": ("b" * 32, "another run"),
            "variables": ({"LD_PRELOAD": "x.so"}, "variables"),
            "connections": ([elsewhere], "source lake is not as it was"),
        }
        for name, (value, why) in given.items():
            assert why in self.refused({**good, "plan": {**good["plan"], name: value}}, key)
        assert "was not there" in self.refused(
            {**good, "plan": {**good["plan"], "connections": [{**lake, "name": "new"}]}}, key
        )
        assert "another run, project or environment" in self.refused(self.signed(request, key, environment="dev"), key)
        assert "the secret ONE" in self.refused(self.signed(request, key, secret_names=["TWO"]), key)
        assert "the secret ONE" in self.refused(self.signed(request, key, there=["TWO"]), key), "it was added later"
        setup = self.signed(request, key, setup_secret_names=["ONE"])
        assert "the secret TWO" in self.refused({**setup, "plan": {**setup["plan"], "phase": "setup"}}, key)
