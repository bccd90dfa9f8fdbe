"""What connections will bring, told without a value: the same names as with values."""

import json
from dataclasses import replace
from typing import Any

import pytest

from executor.environment.connections import Derived, derive
from executor.explain.connections import foretell, misfits
from executor.supervisor.roles import Assumed
from secretstore.run_connection import RunConnection


def ref(name: str, field: str | None = None, optional: bool = False) -> dict[str, Any]:
    return {"$secret": name, **({"field": field} if field else {}), **({"optional": True} if optional else {})}


KEYS = {
    "access_key_id": ref("KEYS", "aws_access_key_id"),
    "secret_access_key": ref("KEYS", "aws_secret_access_key"),
    "session_token": ref("KEYS", "aws_session_token", optional=True),
}
LAKE = RunConnection(
    "source", "lake", "s3", {"bucket": ref("BUCKET"), "region": "eu-north-1", "addressing": "path", **KEYS}
)
OTHER = RunConnection("source", "other", "s3", {"bucket": "open"})
ROLE = replace(LAKE, settings={**LAKE.settings, "bucket": "raw", "assume_role": "arn:aws:iam::123456789012:role/lake"})
LEDGER = RunConnection("source", "ledger", "postgres", {"url": ref("DSN")})
UNITY = RunConnection(
    "catalog", "main", "unity-catalog", {"endpoint": ref("HOST"), "token": ref("TOKEN"), "warehouse": "w"}
)
REST = RunConnection(
    "catalog", "ice", "iceberg-rest", {"endpoint": "http://h", "credential": ref("PAIR"), "source": "lake"}
)
GLUE = RunConnection("catalog", "glue", "glue", {"region": "eu-north-1", **KEYS, "source": "lake"})
GLUE_BY_SOURCE = RunConnection("catalog", "glue", "glue", {"region": "eu-north-1", "source": "lake"})
GONE = RunConnection("source", "gone", "s3", {"bucket": "b", **KEYS}, refused="its access_key_id is the secret KEYS, …")

KEYS_ALONE = {"aws_access_key_id": "AKIALAKE0000EXAMPLE1", "aws_secret_access_key": "lake+secret/key-4711-9f3b7c"}
SECRETS = {
    "KEYS": json.dumps(KEYS_ALONE).encode(),
    "BUCKET": b"raw-4711",
    "DSN": b"postgresql://reader:s3cr%24t-pass-99@127.0.0.1:5432/shop",
    "HOST": b"https://dbc-4711.cloud.databricks.com",
    "TOKEN": b"dapi-0123456789abcdef-unity",
    "PAIR": b"client-id:client-secret-0815",
}
WITH_TOKEN = {**SECRETS, "KEYS": json.dumps({**KEYS_ALONE, "aws_session_token": "token/" * 200}).encode()}

PLANS = {
    "one of each": [LAKE, LEDGER, UNITY, REST, GLUE],
    "two sources": [LAKE, OTHER],
    "a role": [ROLE, REST],
    "a role's source for Glue": [ROLE, GLUE_BY_SOURCE],
    "one that cannot be given": [GONE, OTHER, replace(REST, settings={**REST.settings, "source": "gone"})],
    "a name that PyIceberg cannot read": [replace(UNITY, name="ends-")],
    "none": [],
}


def derived(plan: list[RunConnection], secrets: dict[str, bytes], taken: tuple[str, ...] = ()) -> Derived:
    assumed = {"lake": Assumed("ASIALAKE0000EXAMPLE1", "short+lived/secret-key-0815", "token/" * 200, "2031-01-01")}
    return derive(plan, secrets, assumed, "/dev/shm/sealrun", taken)


@pytest.mark.parametrize("secrets", [SECRETS, WITH_TOKEN], ids=["without token", "with token"])
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_names_are_those_that_are_brought(plan: list[RunConnection], secrets: dict[str, bytes]) -> None:
    """I3: those of a field that may be missing are told as such."""
    brought, told = derived(plan, secrets), foretell(plan, ())

    assert brought.entries.keys() <= told.origins.keys()
    assert told.origins.keys() - brought.entries.keys() == (told.perhaps if secrets is SECRETS else frozenset())
    assert brought.left_out == told.left_out
    assert told.origins == {name: brought.origins.get(name, told.origins[name]) for name in told.origins}
    for name, value in brought.entries.items():
        assert (name in told.in_files) == value.startswith("/dev/shm/"), name
        if name in told.in_files:
            assert value.endswith(f"/{told.in_files[name]}") and told.in_files[name] in brought.files


def test_what_the_project_sets_itself_stays() -> None:
    """And with it what would have been chosen for it."""
    taken = ("AWS_ACCESS_KEY_ID", "PGHOST", "DATABRICKS_HOST", "PYICEBERG_CATALOG__ICE__URI")
    plan = [LAKE, LEDGER, UNITY, REST]
    told = foretell(plan, taken)
    assert told.origins.keys() - told.perhaps == derived(plan, SECRETS, taken).entries.keys()
    left = {"AWS_PROFILE", "DATABRICKS_TOKEN", "PYICEBERG_CATALOG__ICE__URI"}
    assert not left & told.origins.keys() and {"AWS_CONFIG_FILE", "PGSERVICEFILE"} <= told.origins.keys()


def test_origins() -> None:
    """Several, where a file is of several; in the order of the plan."""
    told = foretell([LAKE, OTHER, REST], ())
    assert told.origins["AWS_CONFIG_FILE"] == ("source lake", "source other")
    assert told.origins["PYICEBERG_CATALOG__ICE__TYPE"] == ("catalog ice",)
    assert told.perhaps == {"PYICEBERG_CATALOG__ICE__S3__SESSION_TOKEN"}
    assert told.notes == ()


LAKES = "source lake: access_key_id is aws_access_key_id of secret KEYS"


@pytest.mark.parametrize(
    ("plan", "secret", "value", "told"),
    [
        ([LAKE], "KEYS", b"hunter2-alone", f"{LAKES}, which is not a JSON object; it takes JSON with aws_"),
        ([ROLE], "KEYS", b'{"aws_access_key": "hunter2-alone"}', f"{LAKES}, which has no such field; it takes JSON"),
        ([LEDGER], "DSN", b"host=db password=hunter2-alone", "source ledger: "),
        ([UNITY], "TOKEN", b"hunter2 alone\xc3\xa9", "catalog main: "),
        ([LAKE, GLUE], "KEYS", b"hunter2-alone", "source lake: "),
        ([REST], "PAIR", b"hunter2-\xff", "catalog ice: credential is secret PAIR, which is not UTF-8 text; it takes "),
    ],
)
def test_a_value_that_fits_no_connection_is_told(
    plan: list[RunConnection], secret: str, value: bytes, told: str
) -> None:
    """I10: which one, and the form it takes; nothing of the value. What fits, or is another's, is told nothing."""
    found = misfits(plan, {secret: value})
    assert len(found) == len(plan) and found[0].startswith(told), found
    assert "hunter2" not in str(found)
    assert misfits(plan, {secret: SECRETS[secret]}) == misfits(plan, {"OTHER": value}) == []
    assert misfits([replace(one, refused="no") for one in plan], {secret: value}) == []
