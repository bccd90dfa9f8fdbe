"""The kinds of sources and catalogs: which settings each takes, what is refused in which words, what a run is given."""

import json
from typing import Any

import pytest

from secretstore.connections import check, fields_of, for_run, kinds, looks_like_a_value
from secretstore.errors import ConnectionRefused, NameRefused

CANARY = "canary-5d1f0b7e/value"
ARN = "arn:aws:iam::123456789012:role/lake-reader"


def secret(name: str, field: str | None = None) -> dict[str, str]:
    return {"$secret": name} if field is None else {"$secret": name, "field": field}


S3 = {"bucket": "lake", "credentials": secret("LAKE")}
REST = {"endpoint": "http://127.0.0.1:8181"}

REFUSED: list[tuple[str, str, Any, str]] = [
    # a wrong field, a field that is missing
    ("source", "s3", {**S3, "regoin": "x"}, "regoin is not a field of this kind, did you mean region?"),
    ("source", "s3", {**S3, "warehouse": "x"}, "warehouse is not a field of this kind"),
    ("source", "s3", {**S3, "AKIAIOSFODNN7EXAMPLE": "x"}, "one field is unknown"),
    ("source", "s3", {}, "bucket is missing"),
    ("source", "supabase-storage", {"bucket": "b", "project": "ref"}, "credentials is missing"),
    ("catalog", "unity-catalog", {"token": secret("T")}, "endpoint is missing"),
    ("catalog", "glue", {}, "region is missing"),
    ("source", "s3", ["bucket"], "its settings are not an object of fields"),
    # a value where a secret is meant
    (
        "source",
        "s3",
        {"bucket": "lake", "credentials": CANARY},
        'credentials takes the name of a secret, {"$secret": "NAME"}, never a value',
    ),
    (
        "source",
        "s3",
        {"bucket": "lake", "credentials": {"aws_access_key_id": CANARY}},
        "credentials takes the name of a",
    ),
    ("source", "postgres", {"url": f"postgresql://ada:{CANARY}@db/shop"}, "url takes the name of a secret"),
    ("catalog", "unity-catalog", {**REST, "token": CANARY}, "token takes the name of a secret"),
    ("catalog", "iceberg-rest", {**REST, "credential": CANARY}, "credential takes the name of a secret"),
    ("catalog", "unity-catalog", {**REST, "token": secret(CANARY)}, "token takes the name of a secret, and the"),
    ("catalog", "unity-catalog", {**REST, "token": {"$secret": 7}}, "token takes the name of a secret, and"),
    ("catalog", "unity-catalog", {**REST, "token": secret("LD_PRELOAD")}, "token takes the name of a secret, and"),
    (
        "catalog",
        "unity-catalog",
        {**REST, "token": {**secret("T"), "value": CANARY}},
        'token has a reference with more in it than "$secret" and "field"',
    ),
    ("catalog", "unity-catalog", {**REST, "token": secret("T", "")}, 'token has a reference whose "field" is not the'),
    ("source", "s3", {"bucket": "lake", "credentials": secret("LAKE", "a")}, "credentials takes a whole JSON secret"),
    # texts and URLs
    ("source", "s3", {**S3, "bucket": f"s3://{CANARY}"}, "bucket takes just the bucket's name, without s3://"),
    ("source", "s3", {**S3, "bucket": 7}, "bucket takes text"),
    ("source", "s3", {**S3, "bucket": ""}, "bucket is empty"),
    ("source", "s3", {**S3, "prefix": "/raw"}, "prefix takes the path inside the bucket"),
    ("source", "s3", {**S3, "prefix": "raw\nendpoint_url = x"}, "prefix takes one line"),
    ("source", "s3", {**S3, "prefix": "x" * 2049}, "prefix takes one line of at most 2,048 characters"),
    ("source", "s3", {**S3, "region": "eu central"}, "region takes a region, such as eu"),
    ("source", "s3", {**S3, "addressing": "paths"}, "addressing takes auto, path or virtual"),
    ("source", "s3", {**S3, "endpoint": f"https://ada:{CANARY}@s3.example"}, "endpoint has a user or a password"),
    ("source", "s3", {**S3, "endpoint": f"https://ada:443/{CANARY}@s3.example"}, "endpoint has a user or a password"),
    ("source", "s3", {**S3, "endpoint": f"https://s3.example?token={CANARY}"}, "endpoint takes a URL without ? and #"),
    ("source", "s3", {**S3, "endpoint": f"https://s3.example#{CANARY}"}, "endpoint takes a URL without ? and #"),
    ("source", "s3", {**S3, "endpoint": "s3.example"}, "endpoint takes a URL that begins with http"),
    ("source", "s3", {**S3, "endpoint": "https://s3.example:port"}, "endpoint takes a URL, such as https"),
    ("source", "s3", {**S3, "endpoint": "https://[s3"}, "endpoint takes a URL, such as https"),
    ("catalog", "iceberg-rest", {**REST, "warehouse": f"s3://ada:{CANARY}@lake"}, "warehouse takes a URL without user"),
    ("catalog", "iceberg-rest", {**REST, "source": "My Lake"}, "source takes the name of a source"),
    ("source", "supabase-storage", {**S3, "project": "https://ref.supabase.co"}, "project takes the project's ref"),
    # what does not go together
    ("source", "s3", {**S3, "access_key_id": secret("A")}, "credentials holds all keys: leave out access_key_id"),
    (
        "source",
        "s3",
        {"bucket": "lake", "access_key_id": secret("A")},
        "access_key_id and secret_access_key go together",
    ),
    ("source", "s3", {"bucket": "lake", "session_token": secret("A")}, "session_token goes with access_key_id"),
    ("source", "s3", {**S3, "external_id": "x"}, "external_id goes with assume_role"),
    ("source", "s3", {**S3, "sts_endpoint": "https://sts"}, "sts_endpoint goes with assume_role"),
    ("source", "s3", {**S3, "assume_role": "lake-reader"}, "assume_role takes the ARN of a role"),
    ("source", "s3", {**S3, "assume_role": secret("ARN")}, "assume_role cannot be taken from a secret"),
    ("source", "s3", {"bucket": "lake", "assume_role": ARN}, "assume_role needs keys to assume it"),
    ("source", "s3", {**S3, "assume_role": ARN, "bucket": secret("B")}, "bucket cannot come from a secret together"),
    ("source", "supabase-storage", S3, "give either project, or endpoint if Supabase is self"),
    ("source", "supabase-storage", {**S3, "project": "r", **REST}, "give either project, or endpoint"),
    ("catalog", "iceberg-rest", {**REST, "token": secret("T"), "credential": secret("C")}, "give token or credential"),
]


@pytest.mark.parametrize(("role", "kind", "settings", "why"), REFUSED)
def test_what_is_refused_is_named_by_its_field_and_never_quoted(role: str, kind: str, settings: Any, why: str) -> None:
    """I10: one sentence with connection and field; what was typed is neither in it nor in what it came from."""
    with pytest.raises(ConnectionRefused) as refusal:
        check(role, "lake", kind, settings)
    problem = refusal.value
    assert str(problem).startswith(f"{role} lake is refused: {why}")
    for said in (str(problem), str(problem.hint), repr(problem), repr(problem.__reduce__())):
        assert "canary" not in said
        assert "AKIA" not in said
    assert problem.__cause__ is None
    assert problem.__context__ is None


def test_all_that_is_wrong_is_told_at_once() -> None:
    """One sentence for each field, and the fields that there are."""
    with pytest.raises(ConnectionRefused) as refusal:
        check("source", "lake", "s3", {"bukcet": "lake", "credentials": CANARY})
    assert str(refusal.value) == (
        'source lake is refused: credentials takes the name of a secret, {"$secret": "NAME"}, never a value; '
        "bucket is missing; bukcet is not a field of this kind, did you mean bucket?"
    )
    assert str(refusal.value.hint).startswith("the fields of a source of kind s3: bucket, credentials, access_key_id")
    assert refusal.value.missing == ["bucket"]


def test_an_unknown_kind_is_answered_with_those_there_are() -> None:
    """A close one is proposed, one of the other role is told where it belongs, and what was typed is not repeated."""
    expected = {
        ("source", "s33"): ("s3, supabase-storage, postgres", "did you mean s3?"),
        ("source", "S3"): ("s3", "did you mean s3?"),
        ("source", "supabase"): ("s3", "did you mean supabase-storage?"),
        ("catalog", "unity"): ("unity-catalog", "did you mean unity-catalog?"),
        ("catalog", ""): ("unity-catalog", None),
        ("source", "glue"): ("s3", "glue is a kind of catalog: sealrun catalog create lake --kind glue"),
        ("catalog", CANARY): ("unity-catalog, iceberg-rest, glue", None),
    }
    for (role, kind), (why, hint) in expected.items():
        with pytest.raises(ConnectionRefused) as refusal:
            check(role, "lake", kind, {})
        assert f"{role} lake is refused: unknown kind; a {role} is one of {why}" in str(refusal.value)
        assert refusal.value.hint == hint


@pytest.mark.parametrize(
    "name", ["", "Lake", "1lake", "-lake", "my_lake", "my lake", "lake\n", "x" * 64, "läke", "a/b"]
)
def test_names_of_another_form_are_refused(name: str) -> None:
    """A letter, then letters, digits and -: it becomes the name of a profile and part of a variable's."""
    with pytest.raises(NameRefused, match="the name of a source or catalog has 1 to 63 lower-case letters"):
        check("source", name, "s3", S3)


def test_every_kind_tells_its_fields() -> None:
    """The necessary ones come first."""
    assert kinds("source") == ("s3", "supabase-storage", "postgres")
    assert kinds("catalog") == ("unity-catalog", "iceberg-rest", "glue")
    assert fields_of("source", "supabase-storage")[:2] == ("bucket", "credentials")
    assert fields_of("source", "postgres") == ("url",)


def given(role: str, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    plan = for_run(role, "lake", kind, json.dumps(check(role, "lake", kind, settings).stored()))
    assert plan.refused is None
    return plan.settings


def test_a_run_is_given_the_keys_as_fields_of_the_secret() -> None:
    """`credentials` becomes a reference for each key; the session's token may be missing in it."""
    assert given("source", "s3", {**S3, "prefix": "raw/2024/", "region": "eu-central-1"}) == {
        "bucket": "lake",
        "prefix": "raw/2024",
        "region": "eu-central-1",
        "addressing": "auto",
        "access_key_id": secret("LAKE", "aws_access_key_id"),
        "secret_access_key": secret("LAKE", "aws_secret_access_key"),
        "session_token": {**secret("LAKE", "aws_session_token"), "optional": True},
    }
    keys = {"access_key_id": secret("ID"), "secret_access_key": secret("KEYS", "key")}
    assert given("source", "s3", {"bucket": "lake", **keys}) == {"bucket": "lake", "addressing": "auto", **keys}
    assert given("source", "s3", {"bucket": "open"}) == {"bucket": "open", "addressing": "auto"}


def test_addressing_is_by_path_where_there_is_an_endpoint() -> None:
    """Unless it is said."""
    endpoint = {"endpoint": "http://127.0.0.1:9000"}
    assert given("source", "s3", {**S3, **endpoint})["addressing"] == "path"
    assert given("source", "s3", {**S3, **endpoint, "addressing": "virtual"})["addressing"] == "virtual"
    assert given("source", "s3", {**S3, "endpoint": secret("WHERE")})["addressing"] == "path"


def test_supabase_gets_its_endpoint_from_the_project() -> None:
    """With the addressing and the names of the keys that Supabase has."""
    settings = given("source", "supabase-storage", {**S3, "project": "abcdefghijklmnopqrst"})
    assert settings == {
        "bucket": "lake",
        "region": "us-east-1",
        "endpoint": "https://abcdefghijklmnopqrst.storage.supabase.co/storage/v1/s3",
        "addressing": "path",
        "access_key_id": secret("LAKE", "access_key_id"),
        "secret_access_key": secret("LAKE", "secret_access_key"),
        "session_token": {**secret("LAKE", "session_token"), "optional": True},
    }
    hosted = given("source", "supabase-storage", {**S3, "endpoint": "https://s.example/s3", "region": "local"})
    assert (hosted["endpoint"], hosted["region"]) == ("https://s.example/s3", "local")


def test_catalogs_are_given_as_they_stand() -> None:
    """Glue's keys are those of AWS."""
    unity = {**REST, "token": secret("UNITY"), "warehouse": "main"}
    assert given("catalog", "unity-catalog", unity) == unity
    rest = {**REST, "credential": secret("C", "pair"), "scope": "all", "warehouse": "s3://lake/wh", "source": "lake"}
    assert given("catalog", "iceberg-rest", rest) == rest
    glue = given("catalog", "glue", {"region": "eu-central-1", "credentials": secret("G"), "catalog_id": "1"})
    assert glue["secret_access_key"] == secret("G", "aws_secret_access_key")


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        ("s3", "{", "its settings cannot be read"),
        ("s3", "[" * 100_000, "its settings cannot be read"),
        ("s3", json.dumps({"bucket": "b", "key": CANARY}), "key is not a field of this kind"),
        ("s3", json.dumps({"bucket": "b", "credentials": CANARY}), "credentials takes the name of a secret"),
        ("s9", "{}", "unknown kind; a source is one of"),
    ],
)
def test_a_row_that_is_not_in_order_is_left_out_and_says_why(kind: str, settings: str, why: str) -> None:
    """As one that a newer version wrote, or somebody by hand; nothing of it is quoted."""
    plan = for_run("source", "lake", kind, settings)
    assert plan.settings == {}
    assert plan.refused is not None
    assert plan.refused.startswith(why)
    assert "canary" not in repr(plan)


@pytest.mark.parametrize(
    "name", ["AKIAIOSFODNN7EXAMPLE", "dapi0123456789abcdef0123456789abcdef", "sk_live_51Habc7890defGHI"]
)
def test_a_token_is_told_from_a_name(name: str) -> None:
    """By its many letters and digits in a row."""
    assert looks_like_a_value(name)


@pytest.mark.parametrize(
    "name", ["LAKE_CREDENTIALS_2024", "api.key", "UNITY_TOKEN", "databasecredentials", "aws-prod-eu1"]
)
def test_a_name_is_not_taken_for_a_token(name: str) -> None:
    """Words, however many there are."""
    assert not looks_like_a_value(name)
