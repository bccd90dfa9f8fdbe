"""A source with a role, in real runs: short-lived credentials, and the long-lived key in no process of theirs."""

import json
import os
from collections.abc import Iterator

import pytest

from secretstore import vault
from tests.leaks.evidence import Search, memory
from tests.processes import children, descendants
from tests.rig import ACTOR, Rig, command, file, function, rig
from tests.sts import REGION, Account, StsProxy, account, client, sts_proxy

BUCKET = "lake-bucket"
SHOW = """
import configparser, json, os
parser = configparser.RawConfigParser()
parser.read(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
found = dict(parser["lake"])
print(json.dumps({name: [len(value), value[::-1]] for name, value in found.items()}), "LAKE" in os.environ, flush=True)
"""
WAIT = """
import pathlib, time
print("waiting", flush=True)
go = pathlib.Path(os.environ["TMPDIR"], "go")
until = time.monotonic() + 60
while not go.exists() and time.monotonic() < until:
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def ada() -> Iterator[Account]:
    """Somebody who may assume a role; moto checks signatures."""
    with account(BUCKET) as made:
        yield made


@pytest.fixture(scope="module")
def sts(ada: Account) -> Iterator[StsProxy]:
    with sts_proxy(ada.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def place(ada: Account, sts: StsProxy) -> Iterator[Rig]:
    """A worker, and a source whose key is exchanged for one of a role."""
    with rig() as made:
        lake = {"aws_access_key_id": ada.access_key, "aws_secret_access_key": ada.secret_key}
        made.project("shop", {"LAKE": json.dumps(lake).encode(), "OTHER": b"other-secret-4711"})
        settings = {
            "bucket": BUCKET, "prefix": "in", "region": REGION, "endpoint": ada.url, "sts_endpoint": sts.url,
            "credentials": {"$secret": "LAKE"}, "assume_role": ada.role,
        }  # fmt: skip
        vault.create_connection(made.db, "shop", "default", "source", "lake", "s3", settings, actor=ACTOR)
        made.start_worker()
        yield made


def test_the_run_has_short_lived_credentials_alone(place: Rig, ada: Account, sts: StsProxy) -> None:
    """They work; each of the three is masked; the secret itself is no variable; the receipt has their end."""
    ended = place.run(file(place.job(SHOW)), timeout=1800)
    assert ended.how == ("succeeded", None, 0), ended.stderr
    document, _, variable = ended.stdout.strip().rpartition(" ")
    found = {name: value[::-1] for name, (_, value) in json.loads(document).items()}
    assert variable == "False"
    assert set(found) == {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
    assert found["aws_access_key_id"] != ada.access_key and found["aws_secret_access_key"] != ada.secret_key
    whoever = client("sts", ada.url, *found.values()).get_caller_identity()["Arn"]
    assert whoever.endswith(f"assumed-role/lake/sealrun-{ended.view.id}")
    assert ended.view.receipt is not None
    used = {one.place: one for one in ended.view.receipt.connections}
    assert used["secret_access_key"].secret == "LAKE" and used["secret_access_key"].expires_at is not None
    left = (used["secret_access_key"].expires_at - ended.view.started_at).total_seconds()  # type: ignore[operator]
    assert 1700 < left < 1900
    assert {one.name: one.channel for one in ended.view.receipt.secrets} == {
        "LAKE": "connection",
        "OTHER": "environment",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of hardened processes can be read by root alone")
def test_the_long_lived_key_is_in_no_process_of_the_run(place: Rig, ada: Account) -> None:
    """I1: nor in that of its supervisor: the opener has exchanged it, and is gone. What is searched for is found."""
    run_id = place.submit(file(place.job(SHOW + WAIT)))
    place.says(run_id, "waiting")
    (supervisor,) = place.workers[0].supervisors()
    search = Search({("key", "raw"): ada.secret_key.encode()})
    other = Search({("other", "raw"): b"other-secret-4711"})
    assert search.within("", memory(supervisor)) == set() and other.within("", memory(supervisor))
    for pid in (*children(supervisor), *descendants(place.workers[0].pid)):
        assert search.within("", memory(pid)) == set()
    place.let_go(run_id)
    assert place.ended(run_id).how == ("succeeded", None, 0)


def test_asked_for_by_name_it_is_given(place: Rig) -> None:
    """Who names the secret wants it."""
    ended = place.run(command("bash", "-c", 'echo "${LAKE:+there} ${OTHER:-none}"'), secret_names=["LAKE"])
    assert ended.stdout == "there none\n"


def test_refused(place: Rig, sts: StsProxy) -> None:
    """I9: without credentials the source is left out and said; a run that names it does not start."""
    path = place.job("def look(data): return 1\n")
    target = function(path, "look") | {"sources": {"data": "lake"}, "catalogs": {}}
    sts.fault = "AccessDenied"
    left_out = place.run(command("bash", "-c", 'echo "${AWS_PROFILE-none}"'))
    named = place.run(target)
    sts.fault = None
    assert left_out.how == ("succeeded", None, 0) and left_out.stdout == "none\n"
    assert "left out of this run: source lake: its credentials may not assume its role" in left_out.stderr
    assert named.how == ("failed", "setup_failed", None)
    assert named.view.message is not None and "its credentials may not assume its role" in named.view.message
