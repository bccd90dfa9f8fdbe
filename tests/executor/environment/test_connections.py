"""What data sources and catalogs become in a run, read by those who read it: botocore, libpq, PyIceberg."""

import configparser
import json
import os
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.environment import aws_files, iceberg, libpq
from executor.environment.connections import Derived, derive
from executor.environment.values import Unusable
from executor.supervisor.roles import Assumed
from secretstore.run_connection import RunConnection
from tests.conftest import server
from tests.effort import share

KEYS = {"aws_access_key_id": "AKIALAKELAKELAKELAKE", "aws_secret_access_key": "lake/secret+key=%40#x;y"}
SECRETS = {
    "LAKE": json.dumps(KEYS).encode(),
    "OTHER": json.dumps({**KEYS, "aws_access_key_id": "AKIAOTHER", "aws_session_token": "token/of=other"}).encode(),
    "SUPA": json.dumps({"access_key_id": "supa-key-id", "secret_access_key": "supa-secret-key"}).encode(),
    "PG": b"postgresql://ada:p%40ss%20word@db.example:5433/shop?sslmode=require&application_name=a%3Db",
    "UNITY": b"dapi0123456789",
    "CLIENT": b"client-id:client-secret-0815",
    "TEXT": b"no JSON at all",
}


def ref(name: str, field: str | None = None, optional: bool = False) -> dict[str, Any]:
    return {"$secret": name, **({"field": field} if field else {}), **({"optional": True} if optional else {})}


def aws_keys(secret: str) -> dict[str, Any]:
    return {
        "access_key_id": ref(secret, "aws_access_key_id"),
        "secret_access_key": ref(secret, "aws_secret_access_key"),
        "session_token": ref(secret, "aws_session_token", optional=True),
    }


def s3(name: str = "lake", secret: str = "LAKE", **settings: Any) -> RunConnection:
    return RunConnection("source", name, "s3", {"bucket": "bucket", **aws_keys(secret), **settings})


def postgres(name: str = "warehouse", secret: str = "PG") -> RunConnection:
    return RunConnection("source", name, "postgres", {"url": ref(secret)})


def unity(name: str = "main", **settings: Any) -> RunConnection:
    given = {"endpoint": "https://dbc.cloud.databricks.com", "token": ref("UNITY"), **settings}
    return RunConnection("catalog", name, "unity-catalog", given)


def rest(name: str = "main", **settings: Any) -> RunConnection:
    return RunConnection("catalog", name, "iceberg-rest", {"endpoint": "http://catalog:8181", **settings})


def glue(name: str = "main", **settings: Any) -> RunConnection:
    return RunConnection("catalog", name, "glue", {"region": "eu-north-1", **settings})


def derived(
    *plan: RunConnection,
    secrets: Mapping[str, bytes] = SECRETS,
    assumed: Mapping[str, Assumed | str] | None = None,
    taken: Collection[str] = (),
    folder: str = "/private",
) -> Derived:
    return derive(plan, secrets, assumed or {}, folder, taken)


def why_not(*plan: RunConnection, **more: Any) -> str:
    """The sentence on the only connection that is left out."""
    found = derived(*plan, **more)
    (said,) = found.left_out.values()
    return said


# Profiles of AWS ----------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts what is derived where a run has it: files in a folder, variables in the environment."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "PG", "PYICEBERG_")):
            monkeypatch.delenv(name)

    def install(*plan: RunConnection, **more: Any) -> Derived:
        found = derived(*plan, folder=str(tmp_path), **more)
        assert found.left_out == {}
        for name, content in found.files.items():
            (tmp_path / name).write_bytes(content)
        for name, value in found.entries.items():
            monkeypatch.setenv(name, value)
        return found

    return install


def test_boto3_finds_a_source_by_its_profile(installed: Any) -> None:
    """Keys, region, endpoint and addressing: boto3 needs the name alone."""
    installed(
        s3(region="eu-north-1", endpoint="http://127.0.0.1:9000", addressing="path"),
        s3("other", "OTHER", region="us-west-2", addressing="virtual"),
    )
    session = boto3.Session(profile_name="lake")
    found = session.get_credentials().get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == (*KEYS.values(), None)
    client = session.client("s3")
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://127.0.0.1:9000", "eu-north-1")
    assert client.meta.config.s3 == {"addressing_style": "path"}
    assert client.meta.config.request_checksum_calculation == "when_required"
    signed = client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "x"})
    assert signed.startswith("http://127.0.0.1:9000/bucket/x?")
    other = boto3.Session(profile_name="other").client("s3")
    assert other.meta.config.s3 == {"addressing_style": "virtual"}
    assert other.meta.endpoint_url == "https://s3.us-west-2.amazonaws.com"
    assert boto3.Session(profile_name="other").get_credentials().token == "token/of=other"
    assert "AWS_PROFILE" not in os.environ, "of two, none is chosen"


def test_the_only_source_is_the_one_that_is_meant(installed: Any) -> None:
    """Code that names no profile gets it."""
    supabase = {
        "bucket": "files",
        "endpoint": "https://abc.storage.supabase.co/storage/v1/s3",
        "region": "eu-central-1",
        "addressing": "path",
        "access_key_id": ref("SUPA", "access_key_id"),
        "secret_access_key": ref("SUPA", "secret_access_key"),
    }
    installed(RunConnection("source", "files", "supabase-storage", supabase), postgres())
    client = boto3.Session().client("s3")
    assert client.meta.endpoint_url == f"{supabase['endpoint']}/"
    assert client._request_signer._credentials.access_key == "supa-key-id"


@pytest.mark.parametrize("own", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE"])
def test_the_projects_own_credentials_win(own: str) -> None:
    """No profile is chosen where the project says who to be; the others can still be named."""
    found = derived(s3(), taken=[own])
    assert "AWS_PROFILE" not in found.entries
    assert own not in found.entries
    assert found.entries["AWS_SHARED_CREDENTIALS_FILE"] == "/private/aws-credentials"


def test_a_source_that_is_left_out_makes_the_other_no_default() -> None:
    """Code that means one of two must not silently get the other."""
    found = derived(s3(), s3("other", "NONE"))
    assert found.left_out.keys() == {"source/other"}
    assert "AWS_PROFILE" not in found.entries
    assert b"[profile other]" not in found.files["aws-config"]


def test_an_anonymous_source_has_a_profile_without_keys(installed: Any) -> None:
    """Its region is there."""
    found = installed(RunConnection("source", "open-data", "s3", {"bucket": "b", "region": "us-east-1"}))
    assert found.files["aws-credentials"] == b""
    assert boto3.Session(profile_name="open-data").region_name == "us-east-1"
    assert found.needles == {}


def test_a_source_called_default(installed: Any) -> None:
    """The name means something to AWS's files, and the same to us."""
    installed(s3("default", region="eu-north-1"), s3("other", "OTHER"))
    assert boto3.Session().get_credentials().access_key == KEYS["aws_access_key_id"]
    assert boto3.Session().region_name == "eu-north-1"


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)


@settings(max_examples=share(150), deadline=None)
@given(st.text(min_size=1, max_size=30) | VISIBLE)
@example("a\n[other]\naws_access_key_id=x")
@example("[other]")
@example("%(aws_access_key_id)s${HOME}")
@example('"quoted"')
@example("#")
def test_no_value_leaves_its_line(value: str) -> None:
    """Whatever a secret has: it comes back from the files as it is, or the source is left out."""
    try:
        secret = json.dumps({"aws_access_key_id": value, "aws_secret_access_key": value}).encode()
        found = derived(s3(), s3("last", "OTHER"), secrets={**SECRETS, "LAKE": secret})
    except UnicodeEncodeError:
        return
    read = configparser.RawConfigParser()
    read.read_string(found.files["aws-credentials"].decode())
    there = {"lake": (value, value), "last": ("AKIAOTHER", KEYS["aws_secret_access_key"])}
    if "source/lake" in found.left_out:
        del there["lake"]
        if len(value) > 7:
            assert value not in found.left_out["source/lake"]
    else:
        assert found.needles["source lake access_key_id"] == value.encode()
    assert {
        name: (read[name]["aws_access_key_id"], read[name]["aws_secret_access_key"]) for name in read.sections()
    } == there


@settings(max_examples=share(150), deadline=None)
@given(VISIBLE)
@example("#x")
def test_botocore_reads_every_key_as_it_is(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """Visible ASCII has no meaning to it."""
    folder = tmp_path_factory.mktemp("aws")
    sources = [{"name": "lake", "access_key_id": value, "secret_access_key": value, "session_token": value}]
    (folder / "config").write_bytes(aws_files.config(sources))
    (folder / "credentials").write_bytes(aws_files.credentials(sources))
    session = botocore.session.Session(profile="lake")
    session.set_config_variable("config_file", str(folder / "config"))
    session.set_config_variable("credentials_file", str(folder / "credentials"))
    found = session.get_credentials().get_frozen_credentials()
    assert (found.access_key, found.secret_key, found.token) == (value, value, value)


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("https://s3.example/", "https://s3.example/"),
        ("https://r.storage.supabase.co/storage/v1/s3", "https://r.storage.supabase.co/storage/v1/s3/"),
        ("https://r.storage.supabase.co/storage/v1/s3/", "https://r.storage.supabase.co/storage/v1/s3/"),
    ],
)
def test_an_endpoint_below_a_path_ends_in_a_slash(endpoint: str, line: str) -> None:
    """AWS's SDK for Rust, and Daft with it, would put the bucket's name right behind the path."""
    config = aws_files.config([{"name": "lake", "endpoint": endpoint}]).decode()
    assert f"endpoint_url={line}\n" in config


@pytest.mark.parametrize("setting", ["region", "endpoint", "addressing"])
@pytest.mark.parametrize("value", ["x\n[default]\ny=z", "a b", "ü", "", 7, ["x"]])
def test_settings_that_nobody_looked_at(setting: str, value: Any) -> None:
    """A row of the database may hold anything."""
    assert why_not(s3(**{setting: value})).startswith(f"source lake: its {setting}")


# libpq --------------------------------------------------------------------------------------------


def test_psycopg_connects_by_the_name_of_a_service(installed: Any) -> None:
    """Against the real server, without a word on where it is."""
    import psycopg

    url = server("POSTGRES", "PostgreSQL")
    mark = "?" if "?" not in url else "&"
    secrets = {"PG": f"{url}{mark}application_name=a%3Db%20%23c%25".encode()}
    installed(postgres(), secrets=secrets)
    with psycopg.connect("service=warehouse") as connection:
        row = connection.execute("SELECT current_setting('application_name'), 1 + 1").fetchone()
    assert row == ("a=b #c%", 2)


@pytest.mark.parametrize("password", ["p%40ss%20word", "%20lead", "a%3Db%23c%25d%22e%27f%5C", "%C3%BC%E2%82%AC"])
def test_libpq_reads_a_password_as_it_is(password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file, as from the URL."""
    found = derived(postgres(), secrets={"PG": f"postgresql://ada:{password}@db.example/shop".encode()})
    (tmp_path / "services").write_bytes(found.files["pg-services"])
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert told_by_libpq("warehouse")["password"] == urllib.parse.unquote(password)


def told_by_libpq(service: str) -> dict[str, str]:
    """What libpq takes from the service file, told by a connection that leads nowhere."""
    import psycopg

    words = f"service={service} hostaddr=127.0.0.1 port=1 connect_timeout=1".encode()
    tried = psycopg.pq.PGconn.connect(words)
    try:
        return {option.keyword.decode(): option.val.decode() for option in tried.info if option.val is not None}
    finally:
        tried.finish()


URLS = [
    "postgresql://",
    "postgresql:///db",
    "postgres://h",
    "postgresql://h1,h2:5433/db",
    "postgresql://h1:1,h2/db?target_session_attrs=any",
    "postgresql://u@/db?host=/tmp",
    "postgresql://%2Fvar%2Frun/db",
    "postgresql://[::1]:5432/db",
    "postgresql://[::1/db",
    "postgresql://[::1]x/db",
    "postgresql://[]/db",
    "postgresql://u:p?ss@h/db",
    "postgresql://u:p#ss@h/db",
    "postgresql://u:p%zz@h/db",
    "postgresql://u:p%00@h/db",
    "postgresql://u:p%2@h/db",
    "postgresql://u:p+q@h/db?application_name=a+b",
    "postgresql://h/db?ssl=true",
    "postgresql://h/db?sslmode",
    "postgresql://h/db?sslmode=a=b",
    "postgresql://h/db?sslmode=disable&",
    "postgresql://h/db?&sslmode=disable",
    "postgresql://h/db?sslmode=",
    "postgresql://h/db?",
    "postgresql://:p@h/db",
    "postgresql://u:@h/db",
    "postgresql://@h/db",
    "postgresql://h:/db",
    "postgresql://,/db",
    "postgresql://u:p:q@h/db",
    "postgresql://h/d/b",
    "postgresql://h?dbname=x",
    "postgresql://h/db?dbname=y&dbname=z",
    "postgresql://u@h/db?user=x&password=y",
    "postgresql://h/%64b",
    "postgresql://h/db?ssl%6dode=disable",
    "POSTGRESQL://h/db",
    "postgresql://ü:ä@h/db",
    "postgresql://h/db#frag",
    "postgresql://h1:1:2/db",
    "postgresql://h/db?options=-c%20x%3Dy",
]
STRICTER = ["postgresql://u:p@ss@h/db", "postgresql://u:p/ss@h/db", "postgresql://u:p@@h/db", "postgresql://u: p@h/db"]


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_read_as_libpq_reads_it(url: str) -> None:
    """The same keywords, or no for both."""
    assert ours(url) == libpqs(url)


@pytest.mark.parametrize("url", STRICTER)
def test_a_url_that_others_read_otherwise_is_refused(url: str) -> None:
    """libpq takes the first @, SQLAlchemy the last: a part of the password would be a host."""
    assert ours(url) is None


@settings(max_examples=share(400), deadline=None)
@given(st.lists(st.sampled_from([*":@/?&=%#[],.+ ", "%40", "%2F", "%0A", "%zz", "a", "h", "5432", "sslmode"])))
def test_no_url_is_read_otherwise_than_by_libpq(parts: list[str]) -> None:
    """What we take, libpq takes, and as the same."""
    url = "postgresql://" + "".join(parts)
    read = ours(url)
    if read is not None and libpq.KEYWORDS.issuperset(read):
        assert read == libpqs(url)


def ours(url: str) -> dict[str, str] | None:
    try:
        return libpq.parameters(url)
    except Unusable as why:
        assert "://" not in str(why).replace("postgresql://", "")
        return None


def libpqs(url: str) -> dict[str, Any] | None:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error:
        return None


@settings(max_examples=share(200), deadline=None)
@given(st.text(max_size=30))
@example("x\n[other]\nhost=evil")
@example("trailing ")
@example("trailing\x0b")
@example("\r")
def test_no_password_leaves_its_line(password: str) -> None:
    """It stands in the file as it is, or its source has no section there, and that is said."""
    try:
        quoted = urllib.parse.quote(password, safe="")
    except UnicodeEncodeError:
        return
    secrets = {"PG": f"postgresql://ada:{quoted}@h/db".encode(), "LAST": b"postgresql://last"}
    found = derived(postgres(), postgres("last", "LAST"), secrets=secrets)
    sections = service_file(found.files["pg-services"])
    assert sections["last"] == {"host": "last"}
    if "warehouse" in sections:
        assert sections["warehouse"].get("password", "") == password
    else:
        assert found.left_out or "source warehouse is not a libpq service" in found.notes[-1]
    assert sections.keys() <= {"warehouse", "last"}


def service_file(content: bytes) -> dict[str, dict[str, str]]:
    """As libpq goes through it: lines, their ends trimmed, the first `=`."""
    sections: dict[str, dict[str, str]] = {}
    for line in content.decode().split("\n"):
        line = line.rstrip(" \t\r\v\f").lstrip(" \t\r\v\f")
        if line.startswith("["):
            place = sections.setdefault(line[1 : line.index("]")], {})
        elif line:
            name, _, value = line.partition("=")
            place[name] = value
    return sections


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://h/db?service=other", "a parameter that a service cannot have"),
        ("postgresql://h/db?ssl=false", "a parameter that a service cannot have"),
        ("postgresql://u:" + "p" * 1200 + "@h/db", "its password is longer than libpq reads"),
        ("postgresql://u:line%0Abreak@h/db", "its password has a line break"),
    ],
)
def test_what_no_line_of_the_file_takes(url: str, said: str) -> None:
    """The source is there all the same, and a note says what is not."""
    found = derived(postgres(), secrets={"PG": url.encode()})
    assert found.objects["source/warehouse"]["url"] == url
    assert found.files == found.entries == {}
    assert said in found.notes[-1]
    assert "pppp" not in found.notes[-1]


def test_longest_lines_that_libpq_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of ours is never too long for it."""
    url = "postgresql://u:" + "p" * (1000 - len("password=")) + "@h/db"
    found = derived(postgres(), secrets={"PG": url.encode()})
    (tmp_path / "services").write_bytes(found.files["pg-services"])
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert len(told_by_libpq("warehouse")["password"]) == 991


def test_a_driver_of_sqlalchemys_is_left_away() -> None:
    """libpq knows none; both forms of the URL are masked."""
    found = derived(postgres(), secrets={"PG": b"postgresql+psycopg://ada:password-of-ada@h/db"})
    assert found.objects["source/warehouse"]["url"] == "postgresql://ada:password-of-ada@h/db"
    assert set(found.needles.values()) == {
        b"postgresql+psycopg://ada:password-of-ada@h/db",
        b"postgresql://ada:password-of-ada@h/db",
        b"password-of-ada",
    }


def test_no_service_is_the_default() -> None:
    """libpq fills a default service's password into each URL without one, whatever host that names."""
    assert set(derived(postgres()).entries) == {"PGSERVICEFILE"}


# Catalogs -----------------------------------------------------------------------------------------


def read_as_pyiceberg_does(entries: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Its rule, in short: pyiceberg/utils/config.py, `_from_environment_variables`."""
    found: dict[str, dict[str, str]] = {}
    for variable, value in entries.items():
        if variable.lower().startswith("pyiceberg_"):
            parts = variable.lower().removeprefix("pyiceberg_").split("__", maxsplit=2)
            what, name, key = (part.replace("__", ".").replace("_", "-") for part in parts)
            assert what == "catalog"
            found.setdefault(name, {})[key] = value
    return found


CATALOGS = [
    (
        rest("my-cat", warehouse="s3://w", credential=ref("CLIENT"), scope="all", oauth2_server="http://o/token"),
        {
            "type": "rest",
            "uri": "http://catalog:8181",
            "warehouse": "s3://w",
            "credential": "client-id:client-secret-0815",
            "scope": "all",
            "oauth2-server-uri": "http://o/token",
        },
    ),
    (
        rest("my-cat", token=ref("UNITY"), source="lake"),
        {
            "type": "rest",
            "uri": "http://catalog:8181",
            "token": "dapi0123456789",
            "s3.access-key-id": KEYS["aws_access_key_id"],
            "s3.secret-access-key": KEYS["aws_secret_access_key"],
            "s3.endpoint": "http://store:9000",
            "s3.region": "eu-north-1",
            "s3.force-virtual-addressing": "false",
        },
    ),
    (
        glue("my-cat", source="lake", catalog_id="1234", **aws_keys("OTHER")),
        {
            "type": "glue",
            "glue.id": "1234",
            "glue.region": "eu-north-1",
            "glue.endpoint": "https://glue.eu-north-1.amazonaws.com",
            "glue.access-key-id": "AKIAOTHER",
            "glue.secret-access-key": KEYS["aws_secret_access_key"],
            "glue.session-token": "token/of=other",
            "s3.access-key-id": KEYS["aws_access_key_id"],
            "s3.secret-access-key": KEYS["aws_secret_access_key"],
            "s3.endpoint": "http://store:9000",
            "s3.region": "eu-north-1",
            "s3.force-virtual-addressing": "false",
        },
    ),
    (
        glue("my-cat", endpoint="http://glue:5000", warehouse="s3://w", **aws_keys("LAKE")),
        {
            "type": "glue",
            "warehouse": "s3://w",
            "glue.region": "eu-north-1",
            "glue.endpoint": "http://glue:5000",
            "glue.access-key-id": KEYS["aws_access_key_id"],
            "glue.secret-access-key": KEYS["aws_secret_access_key"],
            "s3.region": "eu-north-1",
            "s3.access-key-id": KEYS["aws_access_key_id"],
            "s3.secret-access-key": KEYS["aws_secret_access_key"],
        },
    ),
    (
        unity("my-cat", warehouse="sales"),
        {
            "type": "rest",
            "uri": "https://dbc.cloud.databricks.com/api/2.1/unity-catalog/iceberg-rest",
            "warehouse": "sales",
            "token": "dapi0123456789",
        },
    ),
    (
        unity("my-cat", endpoint="http://unity:8080/", warehouse="sales"),
        {
            "type": "rest",
            "uri": "http://unity:8080/api/2.1/unity-catalog/iceberg",
            "warehouse": "sales",
            "token": "dapi0123456789",
        },
    ),
]
STORE = {"endpoint": "http://store:9000", "region": "eu-north-1", "addressing": "path"}


@pytest.mark.parametrize(("catalog", "properties"), CATALOGS)
def test_pyiceberg_finds_a_catalog_by_its_name(catalog: RunConnection, properties: dict[str, str]) -> None:
    """Its properties come back with their dots and dashes."""
    found = derived(catalog, s3(**STORE))
    assert found.left_out == {}
    assert found.objects["catalog/my-cat"]["properties"] == properties
    assert read_as_pyiceberg_does(found.entries) == {"my-cat": properties}


def test_pyiceberg_itself_reads_them_so(installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own reader, where it is installed."""
    config = pytest.importorskip("pyiceberg.utils.config", reason="PyIceberg is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for catalog, properties in CATALOGS:
        with monkeypatch.context() as environment:
            for name, value in derived(catalog, s3(**STORE)).entries.items():
                environment.setenv(name, value)
            assert config.Config().get_catalog_config("my-cat") == properties


def test_an_anonymous_storage_is_said_to_be_one() -> None:
    """PyIceberg would look for somebody's credentials elsewhere."""
    store = RunConnection("source", "lake", "s3", {"bucket": "b", "region": "us-east-1"})
    properties = derived(rest(source="lake"), store).objects["catalog/main"]["properties"]
    assert properties["s3.anonymous"] == "true"


@pytest.mark.parametrize("name", ["a--b", "a-"])
def test_a_name_that_pyiceberg_would_not_give_back(name: str) -> None:
    """It has no variables, which is said; its properties are there."""
    found = derived(rest(name, token=ref("UNITY")))
    assert found.entries == {}
    assert "a name with two dashes in a row" in found.notes[-1]
    assert found.objects[f"catalog/{name}"]["properties"]["token"] == "dapi0123456789"


@settings(max_examples=share(100), deadline=None)
@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True))
def test_no_name_of_a_catalog_is_taken_for_another(name: str) -> None:
    """Each comes back as itself, or has no variables."""
    properties = {"type": "rest", "s3.access-key-id": "x"}
    try:
        entries = iceberg.variables(name, properties)
    except Unusable:
        assert "--" in name or name.endswith("-")
    else:
        assert read_as_pyiceberg_does(entries) == {name: properties}


def test_the_only_unity_catalog_is_databricks_own() -> None:
    """Its tools then need no flag; with two of them none is chosen, and the project's own come first, as a pair."""
    found = derived(unity())
    assert found.entries == {
        "DATABRICKS_HOST": "https://dbc.cloud.databricks.com",
        "DATABRICKS_TOKEN": "dapi0123456789",
    }
    assert found.objects["catalog/main"]["properties"] == {}
    assert derived(unity(), unity("other")).entries == {}
    assert derived(unity(), taken=["DATABRICKS_HOST"]).entries == {}


def test_a_catalog_has_the_document_of_its_source() -> None:
    """In whatever order they are planned."""
    found = derived(rest(source="lake"), s3())
    assert found.objects["catalog/main"]["source"] == found.objects["source/lake"]


def test_what_the_project_sets_stays() -> None:
    """Variable by variable."""
    found = derived(rest(token=ref("UNITY")), taken=["PYICEBERG_CATALOG__MAIN__URI"])
    assert found.entries.keys() == {"PYICEBERG_CATALOG__MAIN__TYPE", "PYICEBERG_CATALOG__MAIN__TOKEN"}


# Roles --------------------------------------------------------------------------------------------

ROLE = {"assume_role": "arn:aws:iam::1:role/x", "external_id": "e", "sts_endpoint": "http://sts"}
ASSUMED = Assumed("ASIATEMPORARY", "temporary-secret", "temporary-token", "2026-01-01T00:00:00+00:00")


def test_an_assumed_role_takes_the_place_of_the_long_lived_keys() -> None:
    """They are not asked for: the run has not got them."""
    found = derived(s3(**ROLE), secrets={}, assumed={"lake": ASSUMED})
    assert found.objects["source/lake"] == {
        "role": "source",
        "kind": "s3",
        "name": "lake",
        "bucket": "bucket",
        "access_key_id": "ASIATEMPORARY",
        "secret_access_key": "temporary-secret",
        "session_token": "temporary-token",
        "expires_at": "2026-01-01T00:00:00+00:00",
    }
    assert b"aws_session_token=temporary-token\n" in found.files["aws-credentials"]
    assert set(found.needles) == {
        f"source lake {name}" for name in ("access_key_id", "secret_access_key", "session_token")
    }


def test_a_role_that_was_refused() -> None:
    """The source is left out with the opener's sentence, and the long-lived keys are no substitute."""
    said = "STS does not know its access key (InvalidClientTokenId)"
    assert why_not(s3(**ROLE), assumed={"lake": said}) == f"source lake: {said}"
    assert why_not(s3(**ROLE)) == "source lake: there are no short-lived credentials for its role"


def test_a_server_cannot_write_into_the_files() -> None:
    """Who answers for STS chooses the credentials, and nothing beside them."""
    given = replace(ASSUMED, session_token="token\n[default]\naws_access_key_id=x")
    assert why_not(s3(**ROLE), assumed={"lake": given}) == ("source lake: its session_token has a control character")


def test_credentials_for_a_bucket_are_none_for_glue() -> None:
    """Its session's policy would refuse every call."""
    found = derived(glue(source="lake"), s3(**ROLE), assumed={"lake": ASSUMED})
    assert "give the catalog its own credentials" in found.left_out["catalog/main"]
    own = derived(glue(source="lake", **aws_keys("OTHER")), s3(**ROLE), assumed={"lake": ASSUMED})
    assert own.objects["catalog/main"]["properties"]["s3.session-token"] == "temporary-token"


# Mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "which this run does not have"),
        (b"not JSON: canary", "which is not a JSON object"),
        (b'["canary"]', "which is not a JSON object"),
        (b"[" * 100_000, "which is not a JSON object"),
        (b"\xff\xfe", "which is not UTF-8 text"),
        (b'{"canary": "x"}', "which has no such field"),
        (b'{"aws_access_key_id": 7}', "and that field is not text"),
        (b'{"aws_access_key_id": null}', "and that field is not text"),
        (b'{"aws_access_key_id": "\\ud800"}', "and that field is not text"),
        (b'{"aws_access_key_id": ""}', "which is empty"),
        (b'{"aws_access_key_id": "canary\\n"}', "which begins or ends with white space"),
        (b'{"aws_access_key_id": "can\\u0000ary"}', "which has a control character"),
    ],
)
def test_a_secret_that_does_not_fit(value: bytes | None, said: str) -> None:
    """The sentence names connection, field and secret, and never what is in it."""
    secrets = {"LAKE": value} if value is not None else {}
    assert why_not(s3(), secrets=secrets) == f"source lake: access_key_id is aws_access_key_id of secret LAKE, {said}"


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (RunConnection("source", "lake", "s3", {}, refused="its settings are not valid"), "its settings are not valid"),
        (RunConnection("source", "lake", "ftp", {}), "this version does not know its kind"),
        (RunConnection("catalog", "lake", "s3", {}), "this version does not know its kind"),
        (RunConnection("source", "lake", "s3", {}), "it has no bucket"),
        (
            RunConnection("source", "lake]\n[x", "s3", {"bucket": "b"}),
            "its name has characters other than a-z, 0-9 and -",
        ),
        (RunConnection("source", "lake", "postgres", {"url": {"a": "b"}}), "its url is not text"),
        (
            RunConnection("source", "lake", "postgres", {"url": {"$secret": ["PG"]}}),
            "its url is not a reference to a secret",
        ),
        (postgres("lake", "TEXT"), "its url does not begin with postgresql://"),
        (
            postgres("lake", "ENGINE"),
            "its url has an sslkey that names an engine, which is code: name a file",
        ),
        (unity("lake", token=ref("SPACES")), "its token has characters other than visible ASCII"),
        (rest("lake", source="gone"), "this run does not have the source that it names"),
        (rest("lake", source=["gone"]), "this run does not have the source that it names"),
    ],
)
def test_a_connection_that_cannot_be(planned: RunConnection, said: str) -> None:
    """Each is left out with its reason; the others are there."""
    odd = {"SPACES": b"a token", "ENGINE": b"postgresql://ada:pw@db.example/shop?sslkey=/tmp/x.so%3Akey"}
    found = derived(planned, s3("other"), secrets={**SECRETS, **odd})
    assert found.left_out == {planned.key: f"{planned.label}: {said}"}
    assert "source/other" in found.objects


def test_a_catalog_goes_with_its_source() -> None:
    """And says why that one is gone."""
    found = derived(rest(source="lake"), s3(secret="TEXT"))
    assert found.left_out["catalog/main"] == f"catalog main: its source is left out: {found.left_out['source/lake']}"
    found = derived(rest(source="warehouse"), postgres())
    assert found.left_out["catalog/main"] == "catalog main: the source that it names is not a storage"


# What is masked -----------------------------------------------------------------------------------


def test_i5_every_value_from_a_reference_is_a_needle() -> None:
    """I5: each by itself, and what is a secret inside of one."""
    found = derived(s3(), s3("other", "OTHER"), postgres(), unity(), rest("rest", credential=ref("CLIENT")))
    assert found.needles == {
        "source lake access_key_id": KEYS["aws_access_key_id"].encode(),
        "source lake secret_access_key": KEYS["aws_secret_access_key"].encode(),
        "source other access_key_id": b"AKIAOTHER",
        "source other secret_access_key": KEYS["aws_secret_access_key"].encode(),
        "source other session_token": b"token/of=other",
        "source warehouse url": SECRETS["PG"],
        "source warehouse password": b"p@ss word",
        "catalog main token": b"dapi0123456789",
        "catalog rest credential": b"client-id:client-secret-0815",
        "catalog rest client secret": b"client-secret-0815",
    }
    assert found.notes == []


def test_i9_what_cannot_be_masked_is_said() -> None:
    """I9: a short value has a note; a part that is a word of every day is no needle, and has one too."""
    secrets = {
        "LAKE": json.dumps({"aws_access_key_id": "short", "aws_secret_access_key": "long enough".replace(" ", "-")}),
        "PG": "postgresql://ada:postgres@h/db",
        "CLIENT": "client-id:abc",
    }
    found = derived(
        s3(),
        postgres(),
        rest(credential=ref("CLIENT")),
        secrets={name: value.encode() for name, value in secrets.items()},
    )
    assert "source warehouse password" not in found.needles
    assert sorted(found.notes) == [
        "catalog main client secret is under 8 bytes: it is not masked on its own",
        "source lake access_key_id has under 8 bytes (without outer white space): it is not masked",
        "source warehouse password is too common: it is not masked on its own",
    ]


def test_it_shows_names_alone() -> None:
    """A repr may end in a log."""
    shown = repr(derived(s3(), postgres(), unity()))
    assert "aws-config" in shown
    assert not any(needle.decode() in shown for needle in derived(s3(), postgres(), unity()).needles.values())


def test_nothing_for_nothing() -> None:
    """A run without connections gets neither files nor variables."""
    assert derived() == Derived()
