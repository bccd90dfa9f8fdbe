"""Which one wins: each sentence beside what the library does, which is asked as a run would ask it."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from botocore.exceptions import (
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from executor.environment.connections import derive
from executor.explain.connections import foretell
from executor.precedence import precedence
from secretstore.planned import Planned

KEYS = {"aws_access_key_id": "AKIALAKE0000EXAMPLE1", "aws_secret_access_key": "lake+secret/key-4711-9f3b7c"}
SECRETS = {
    "KEYS": json.dumps(KEYS).encode(),
    "DSN": b"postgresql://reader:s3cr%24t-pass-99@127.0.0.1:9/shop",
    "TOKEN": b"dapi-0123456789abcdef-unity",
}
NAMED = {
    "access_key_id": {"$secret": "KEYS", "field": "aws_access_key_id"},
    "secret_access_key": {"$secret": "KEYS", "field": "aws_secret_access_key"},
}
AT = {"bucket": "raw", "region": "eu-north-1", "endpoint": "http://127.0.0.1:9"}
LAKE = Planned("source", "lake", "s3", {**AT, **NAMED})
OPEN = Planned("source", "open", "s3", {"bucket": "open"})
LEDGER = Planned("source", "ledger", "postgres", {"url": {"$secret": "DSN"}})
BOOKS = Planned("source", "books", "postgres", {"url": {"$secret": "DSN"}})
UNITY = Planned("catalog", "main", "unity-catalog", {"endpoint": "http://127.0.0.1:9", "token": {"$secret": "TOKEN"}})
MORE = Planned("catalog", "more", "unity-catalog", {"endpoint": "http://127.0.0.1:9", "token": {"$secret": "TOKEN"}})
ICE = Planned("catalog", "ice", "iceberg-rest", {"endpoint": "http://127.0.0.1:9", "source": "lake"})

OWN_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own"}
Put = Callable[..., dict[tuple[str, ...], str]]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Makes this process's environment that of a run, and says what `explain` says of it."""

    def given(*plan: Planned, own: Mapping[str, str] = {}, secret: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
        for name in [*os.environ]:
            if name.startswith(("AWS_", "PG")):
                monkeypatch.delenv(name)
        derived = derive(plan, SECRETS, {}, str(tmp_path), own)
        for name, content in derived.files.items():
            (tmp_path / name).write_bytes(content)
        none_elsewhere = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**none_elsewhere, **derived.entries, **own}.items():
            monkeypatch.setenv(name, value)
        values = {name: value for name, value in own.items() if name not in secret}
        brought = foretell(plan, {}, own, 4095)
        return {rule.names: rule.said for rule in precedence(plan, brought, own, values)}

    return given


def boto(profile: str | None = None) -> tuple[Any, ...]:
    """Whom boto3 is, in which region, at which endpoint."""
    session = boto3.Session(profile_name=profile)
    found, client = session.get_credentials(), session.client("s3")
    return found and found.access_key, client.meta.region_name, client.meta.endpoint_url


def libpq(text: str = "") -> tuple[str, str]:
    """Where libpq goes and as whom, or what it says instead."""
    connection = psycopg.pq.PGconn.connect_start(text.encode())
    if not connection.host:
        return "", connection.error_message.decode().strip()
    return connection.host.decode(), connection.user.decode()


LAKES = ("AKIALAKE0000EXAMPLE1", "eu-north-1", "http://127.0.0.1:9")
AWS = (None, "us-east-1", "https://s3.amazonaws.com")
OF_LEDGER = ("127.0.0.1", "reader")


class TestNothingBeside:
    def test_the_only_one_is_the_default(self, put: Put) -> None:
        """And there is nothing to say."""
        assert put(LAKE, LEDGER, UNITY, ICE) == {}
        assert (boto(), libpq("service=ledger")) == (LAKES, OF_LEDGER)
        assert libpq()[0] != "127.0.0.1", "a password is for no host but its own"

    def test_of_several_none_is(self, put: Put) -> None:
        said = put(LAKE, OPEN, LEDGER, BOOKS, UNITY, MORE)
        assert said == {
            ("AWS_PROFILE",): "none is the default where there are several: code names one"
            ' (profile_name="lake", profile_name="open")',
            ("DATABRICKS_HOST", "DATABRICKS_TOKEN"): "none is the default where there are several: a function can have"
            " one (--catalog PARAM=main, --catalog PARAM=more)",
        }
        assert boto() == AWS and libpq()[0] != "127.0.0.1"
        assert (boto("lake"), libpq("service=ledger")) == (LAKES, OF_LEDGER)

    def test_what_is_left_out_is_not_spoken_of(self, put: Put) -> None:
        gone = Planned("source", "gone", "s3", {"bucket": "b"}, refused="…")
        assert put(gone, own=OWN_KEYS) == {}


class TestAws:
    @pytest.mark.parametrize("secret", [(), tuple(OWN_KEYS)], ids=["variables", "secrets"])
    def test_keys(self, put: Put, secret: tuple[str, ...]) -> None:
        said = put(LAKE, own=OWN_KEYS, secret=secret)
        assert said == {
            tuple(OWN_KEYS): "boto3, s3fs, Polars and the AWS CLI use these and not the keys of source lake,"
            ' unless code names the profile (profile_name="lake")'
        }
        assert (boto(), boto("lake")) == (("AKIAOWN", *AWS[1:]), LAKES)

    def test_half_a_pair(self, put: Put) -> None:
        said = put(LAKE, own={"AWS_ACCESS_KEY_ID": "AKIAOWN"})
        assert said[("AWS_ACCESS_KEY_ID",)].startswith("boto3 refuses it without AWS_SECRET_ACCESS_KEY, unless ")
        with pytest.raises(PartialCredentialsError):
            boto()
        assert boto("lake") == LAKES

    def test_a_web_identity(self, put: Put, tmp_path: Path) -> None:
        """boto3 asks STS for it, before it looks into the profile."""
        (tmp_path / "token").write_text("a-token-of-a-web-identity")
        own = {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/own",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        }
        said = put(LAKE, own=own)[("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")]
        assert said.startswith("boto3 assumes this role and leaves the keys of source lake, unless ")
        with pytest.raises(EndpointConnectionError):  # the profile's endpoint, at which nobody is
            boto()
        assert boto("lake") == LAKES

    @pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
    def test_a_profile(self, put: Put, name: str) -> None:
        """One that there is, one that there is not, and one that nobody may look at."""
        assert put(LAKE, OPEN, own={name: "lake"}) == {(name,): "source lake is the default, as it says"}
        assert boto() == LAKES
        said = put(LAKE, own={name: "prod"})
        assert said[(name,)].startswith("it names no source that this run has, and boto3 refuses it, unless ")
        with pytest.raises(ProfileNotFound):
            boto()
        assert boto("lake") == LAKES
        said = put(LAKE, OPEN, own={name: "prod"}, secret=(name,))
        assert said == {(name,): "it must be the name of a source (lake or open): boto3 refuses any other"}

    def test_of_two_profiles_the_default_one(self, put: Put) -> None:
        said = put(LAKE, OPEN, own={"AWS_PROFILE": "open", "AWS_DEFAULT_PROFILE": "lake"})
        assert said == {("AWS_DEFAULT_PROFILE",): "source lake is the default, as it says"}
        assert boto() == LAKES

    def test_a_file(self, put: Put) -> None:
        """Of its own: what stood in ours is not found."""
        said = put(LAKE, own={"AWS_CONFIG_FILE": "/dev/null"})
        assert said == {
            ("AWS_CONFIG_FILE",): "boto3 finds the keys of source lake by profile, and no region and no endpoint"
        }
        assert (boto(), boto("lake")) == (AWS, (LAKES[0], *AWS[1:]))
        said = put(LAKE, own={"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"})
        assert said == {
            ("AWS_SHARED_CREDENTIALS_FILE",): "boto3 finds region and endpoint of source lake by profile, and no keys"
        }
        assert (boto(), boto("lake")) == (AWS, (None, *LAKES[1:]))
        with pytest.raises(NoCredentialsError):
            boto3.Session(profile_name="lake").client("s3").list_buckets()

    def test_both_files(self, put: Put) -> None:
        said = put(LAKE, own={"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"})
        assert said == {
            ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"): "AWS's libraries find no source by its name: a function"
            " can have it (--source PARAM=lake)"
        }
        with pytest.raises(ProfileNotFound):
            boto("lake")

    def test_a_region(self, put: Put) -> None:
        """Only where a source has one that it stands over."""
        said = put(LAKE, own={"AWS_DEFAULT_REGION": "us-west-2"})
        assert said == {
            ("AWS_DEFAULT_REGION",): "boto3, s3fs, Polars and the AWS CLI take it for the region of source lake,"
            " named or not"
        }
        assert boto() == boto("lake") == (LAKES[0], "us-west-2", LAKES[2])
        said = put(LAKE, own={"AWS_REGION": "us-west-2"})
        assert said[("AWS_REGION",)].endswith("; boto3 and s3fs do not read it")
        assert boto() == LAKES
        assert put(OPEN, own={"AWS_REGION": "us-west-2"}) == {}

    @pytest.mark.parametrize("own", [("AWS_ENDPOINT_URL",), ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")])
    def test_an_endpoint(self, put: Put, own: tuple[str, ...]) -> None:
        said = put(LAKE, own={name: f"http://127.0.0.1:{number}" for number, name in enumerate(own, 1)})
        assert said == {
            own: f"boto3, s3fs and the AWS CLI ask {own[0]} with the keys of source lake, whatever endpoint that has"
        }
        assert boto() == boto("lake") == (*LAKES[:2], "http://127.0.0.1:1")


class TestPostgres:
    def test_a_place(self, put: Put) -> None:
        said = put(LEDGER, own={"PGUSER": "own", "PGHOST": "127.0.0.9"})
        assert said == {
            ("PGHOST", "PGUSER"): "libpq uses this and not source ledger, unless code names the service"
            " (service=ledger)"
        }
        assert (libpq(), libpq("service=ledger")) == (("127.0.0.9", "own"), OF_LEDGER)

    def test_a_service(self, put: Put) -> None:
        assert put(LEDGER, BOOKS, own={"PGSERVICE": "ledger"}) == {
            ("PGSERVICE",): "source ledger is the default, as it says"
        }
        assert libpq() == OF_LEDGER
        said = put(LEDGER, own={"PGSERVICE": "prod"})
        assert said[("PGSERVICE",)].startswith("it names no source that this run has, and libpq refuses it, unless ")
        assert libpq() == ("", 'definition of service "prod" not found')
        assert libpq("service=ledger") == OF_LEDGER
        said = put(LEDGER, own={"PGSERVICE": "prod"}, secret=("PGSERVICE",))
        assert said == {("PGSERVICE",): "it must be the name of a source (ledger): libpq refuses any other"}

    def test_a_file(self, put: Put) -> None:
        said = put(LEDGER, own={"PGSERVICEFILE": "/dev/null"})
        assert said == {
            ("PGSERVICEFILE",): "libpq finds no source by its name: a function can have it (--source PARAM=ledger)"
        }
        assert libpq("service=ledger") == ("", 'definition of service "ledger" not found')


class TestCatalogs:
    """What PyIceberg and Databricks' SDK do is a cell of tests/system/test_connections.py."""

    def test_a_property(self, put: Put) -> None:
        said = put(
            LAKE, ICE, own={"PYICEBERG_CATALOG__ICE__URI": "http://127.0.0.1:1", "PYICEBERG_CATALOG__X__URI": "y"}
        )
        assert said == {
            ("PYICEBERG_CATALOG__ICE__URI",): "PyIceberg takes this over what catalog ice brings, and the rest from it"
        }

    def test_keys(self, put: Put) -> None:
        said = put(LAKE, ICE, own=OWN_KEYS)
        assert "PyIceberg uses the keys that catalog ice brings, and not these" in said.values()

    @pytest.mark.parametrize("name", ["DATABRICKS_HOST", "DATABRICKS_TOKEN"])
    def test_a_host_or_a_token(self, put: Put, name: str) -> None:
        said = put(UNITY, own={name: "x"})
        assert said == {
            (name,): "neither host nor token of catalog main is given beside it: a token is for its own host alone. A"
            " function can have it (--catalog PARAM=main)"
        }
        assert {"DATABRICKS_HOST", "DATABRICKS_TOKEN"} & {*os.environ} == {name}

    def test_a_client(self, put: Put) -> None:
        own = {"DATABRICKS_CLIENT_ID": "a", "DATABRICKS_CLIENT_SECRET": "b"}
        (said,) = put(UNITY, own=own).values()
        assert said.startswith("Databricks' SDK refuses it beside the token of catalog main, unless ")
        assert put(UNITY, own={**own, "DATABRICKS_AUTH_TYPE": "pat"}) == {}
