"""What a run's function gets for a source or catalog. What libraries do with it: tests/system/test_connections.py."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.inside import handles
from executor.inside.handles import MissingLibrary, connect
from tests.conftest import server
from tests.connections import servers

KEY_ID, SECRET, TOKEN = "AKIACANARY0000000001", "canary-of-a-secret-key-7741", "canary-of-a-token-3308"
KEYS = {"access_key_id": KEY_ID, "secret_access_key": SECRET}


def lake(**settings: Any) -> Any:
    return connect({"role": "source", "kind": "s3", "name": "lake", "bucket": "raw", **settings})


def ledger(url: str) -> Any:
    return connect({"role": "source", "kind": "postgres", "name": "ledger", "url": url})


STORE = {"role": "source", "kind": "s3", "name": "lake", "bucket": "raw", "session_token": TOKEN, **KEYS}
REST = {
    "role": "catalog",
    "kind": "iceberg-rest",
    "name": "main",
    "endpoint": "https://catalog.example",
    "warehouse": "w",
    "token": TOKEN,
    "properties": {"uri": "https://catalog.example", "token": TOKEN, "s3.secret-access-key": SECRET},
    "source": STORE,
}
UNITY = {
    "role": "catalog",
    "kind": "unity-catalog",
    "name": "unity",
    "endpoint": "https://unity.example/",
    "token": TOKEN,
    "properties": {},
}


class TestShown:
    @pytest.mark.parametrize(
        ("document", "shown"),
        [
            (STORE, "<source lake: s3, s3://raw>"),
            (
                {**STORE, "prefix": "in", "endpoint": "http://127.0.0.1:9"},
                "<source lake: s3, s3://raw/in at http://127.0.0.1:9>",
            ),
            ({**STORE, "kind": "supabase-storage"}, "<source lake: supabase-storage, s3://raw>"),
            (REST, "<catalog main: iceberg-rest, w at https://catalog.example>"),
            (
                {**REST, "kind": "glue", "endpoint": None, "warehouse": None},
                "<catalog main: glue, the account's own>",
            ),
            (UNITY, "<catalog unity: unity-catalog, https://unity.example>"),
        ],
    )
    def test_without_a_credential(self, document: dict[str, Any], shown: str) -> None:
        """I10: nobody prints a credential by printing what has it."""
        made = connect(document)
        assert (repr(made), str(made), f"{made}") == (shown,) * 3

    @pytest.mark.parametrize(
        ("url", "shown", "parts"),
        [
            ("postgresql://ada:c%40nary@db.example:5433/shop", "shop at db.example", ("5433", "ada")),
            ("postgres://ada:canary@[::1]:5433/shop?sslmode=require", "shop at [::1]", ("5433", "ada")),
            ("postgresql://h1:1,h2/shop", "shop at h1:1,h2", (None, None)),
            ("postgresql://ada:canary@/shop?host=/run/pg", "shop at /run/pg", (None, "ada")),
            ("postgresql://", "the default database at the default host", (None, None)),
        ],
    )
    def test_a_database_without_its_password(self, url: str, shown: str, parts: tuple[str | None, str | None]) -> None:
        made = ledger(url)
        assert repr(made) == f"<source ledger: postgres, {shown}>"
        assert made.url == url and (made.port, made.user) == parts


class TestPlaces:
    @pytest.mark.parametrize("prefix", [None, "", "in/2026", "/in/2026/"])
    def test_of_an_object(self, prefix: str | None) -> None:
        """As a URL, as boto3 wants it, and as pyarrow does."""
        source = lake(prefix=prefix)
        before = "in/2026/" if prefix else ""
        assert source.path("a/b.parquet") == f"s3://raw/{before}a/b.parquet" == source.path("/a/b.parquet")
        assert source.key("a/b.parquet") == f"{before}a/b.parquet"
        assert source.location("a/b.parquet") == f"raw/{before}a/b.parquet"
        assert source.url == source.path() == f"s3://raw/{before}".rstrip("/")


class TestOptions:
    @pytest.mark.parametrize(
        ("settings", "options"),
        [
            ({}, {"aws_region": "us-east-1", "aws_skip_signature": "true"}),
            (
                {"region": "eu-north-1", **KEYS, "session_token": TOKEN},
                {
                    "aws_region": "eu-north-1",
                    "aws_access_key_id": KEY_ID,
                    "aws_secret_access_key": SECRET,
                    "aws_session_token": TOKEN,
                },
            ),
            (
                {"endpoint": "http://127.0.0.1:9", "addressing": "path", **KEYS},
                {
                    "aws_region": "us-east-1",
                    "aws_endpoint_url": "http://127.0.0.1:9",
                    "aws_allow_http": "true",
                    "aws_virtual_hosted_style_request": "false",
                    "aws_access_key_id": KEY_ID,
                    "aws_secret_access_key": SECRET,
                },
            ),
            (
                {"endpoint": "https://s3.example", "addressing": "virtual"},
                {
                    "aws_region": "us-east-1",
                    "aws_endpoint_url": "https://raw.s3.example",
                    "aws_virtual_hosted_style_request": "true",
                    "aws_skip_signature": "true",
                },
            ),
        ],
    )
    def test_of_object_store(self, settings: dict[str, Any], options: dict[str, str]) -> None:
        """What Polars and delta-rs take, and texts alone."""
        assert lake(**settings).storage_options == options

    def test_of_fsspec(self) -> None:
        """What pandas and Dask give to s3fs."""
        options = lake(endpoint="http://127.0.0.1:9", addressing="path", **KEYS, session_token=TOKEN).fsspec_options
        assert (options["key"], options["secret"], options["token"]) == (KEY_ID, SECRET, TOKEN)
        assert options["endpoint_url"] == "http://127.0.0.1:9"
        assert options["config_kwargs"]["s3"] == {"addressing_style": "path"}
        assert options["config_kwargs"]["request_checksum_calculation"] == "when_required"
        open_to_all = lake().fsspec_options
        assert open_to_all["anon"] is True and not {"key", "secret", "token"} & set(open_to_all)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with servers.moto() as url:
        yield url


class TestBoto3:
    @pytest.fixture(autouse=True)
    def led_astray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The project's environment, or another source's profile, names another endpoint and another key."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOTHER00000000001")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "other")

    def test_clients_and_resources_go_to_the_source(self, moto: str) -> None:
        """With its own credentials, whatever else is set; what the caller says is kept."""
        from botocore.config import Config

        source = connect({**STORE, "bucket": "lake", "endpoint": moto, "region": "eu-north-1", "addressing": "path"})
        session = source.boto3_session()
        client = session.client("s3", config=Config(read_timeout=17))
        client.put_object(Bucket="lake", Key=source.key("a.txt"), Body=b"here")
        assert session.resource("s3").Object("lake", "a.txt").get()["Body"].read() == b"here"
        config = client.meta.config
        assert (config.read_timeout, config.s3["addressing_style"]) == (17, "path")
        assert config.request_checksum_calculation == "when_required"
        found = session.get_credentials().get_frozen_credentials()
        assert (found.access_key, found.secret_key, found.token) == (KEY_ID, SECRET, TOKEN)
        assert session.client("s3", endpoint_url="http://127.0.0.1:8").meta.endpoint_url == "http://127.0.0.1:8"

    def test_a_source_at_aws_stays_there(self) -> None:
        client = lake(region="eu-north-1", **KEYS).boto3_session().client("s3")
        assert client.meta.endpoint_url == "https://s3.eu-north-1.amazonaws.com"

    def test_anonymous_requests_are_not_signed(self, moto: str) -> None:
        from botocore import UNSIGNED

        client = lake(endpoint=moto).boto3_session().client("s3")
        assert client.meta.config.signature_version is UNSIGNED
        assert client.list_objects_v2(Bucket="lake", Prefix="none/")["KeyCount"] == 0


class TestPostgres:
    def test_psycopg_and_sqlalchemy(self) -> None:
        """Both by the URL as libpq reads it, with further options of the caller."""
        url = server("POSTGRES", "PostgreSQL")
        source = ledger(url.replace("postgresql://", "postgres://"))
        with source.connect(application_name="by psycopg") as connection:
            assert connection.execute("SHOW application_name").fetchone() == ("by psycopg",)
        import sqlalchemy

        engine = source.engine(connect_args={"application_name": "by sqlalchemy"}, pool_size=1)
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SHOW application_name")).scalar() == "by sqlalchemy"
        engine.dispose()


ASKED = """
import json, sys
module = type(sys)("sealrun_connections")
exec(compile(open(sys.argv[1]).read(), "<sealrun>", "exec"), module.__dict__)
lake, ledger, main, unity = map(module.connect, json.loads(sys.argv[2]))
said = {}
asked = {
    lake: ["boto3_session", "filesystem", "pyarrow_filesystem", "daft_io_config", "duckdb"],
    ledger: ["connect", "engine"],
    main: ["load", "duckdb"],
    unity: ["load", "client"],
}
for one, names in asked.items():
    for name in names:
        try:
            getattr(one, name)()
        except ImportError as error:
            said[one.name + "." + name] = [type(error).__name__, error.name, str(error)]
options = {**lake.storage_options, **lake.fsspec_options}
print(json.dumps([said, options, sorted(set(sys.modules) & {"boto3", "botocore", "asyncio"})]))
"""


class TestMissing:
    def test_is_named_with_what_brings_it(self, any_python: str) -> None:
        """Under every Python there is, with the standard library alone: nothing is imported before it is asked for."""
        postgres = {"role": "source", "kind": "postgres", "name": "ledger", "url": "postgresql://h/d"}
        documents = json.dumps([STORE, postgres, REST, UNITY])
        asked = subprocess.run(
            [any_python, "-I", "-S", "-c", ASKED, str(Path(handles.__file__)), documents],
            capture_output=True,
            text=True,
        )
        assert asked.returncode == 0, asked.stderr
        said, options, imported = json.loads(asked.stdout)
        assert (options["aws_secret_access_key"], options["secret"], imported) == (SECRET, SECRET, [])
        brought = {
            "lake.boto3_session": ("boto3", "boto3"),
            "lake.filesystem": ("s3fs", "'s3fs>=2024'"),
            "lake.pyarrow_filesystem": ("pyarrow", "pyarrow"),
            "lake.daft_io_config": ("daft", "daft"),
            "lake.duckdb": ("duckdb", "'duckdb-extension-httpfs>=1.5'"),
            "ledger.connect": ("psycopg", "'psycopg[binary]'"),
            "ledger.engine": ("sqlalchemy", "sqlalchemy"),
            "main.load": ("pyiceberg", "'pyiceberg[pyarrow]'"),
            "main.duckdb": ("duckdb", "'duckdb-extension-httpfs>=1.5'"),
            "unity.load": ("daft", "'daft[unity]'"),
            "unity.client": ("unitycatalog", "unitycatalog-client"),
        }
        assert said == {
            place: [
                "MissingLibrary",
                library,
                f"{library} is not in this run's Python; add it: sealrun run --with {package} ...",
            ]
            for place, (library, package) in brought.items()
        }

    def test_of_a_library_that_is_there_is_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a library misses itself is not told as if the library were missing."""
        (tmp_path / "s3fs.py").write_text("import sealrun_has_no_such_module\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError) as raised:
            lake(**KEYS).filesystem()
        assert not isinstance(raised.value, MissingLibrary) and raised.value.name == "sealrun_has_no_such_module"


def test_a_name_that_duckdb_has_taken() -> None:
    """Its own catalog is called main, which is what many call theirs."""
    with pytest.raises(ValueError, match="attached_as"):
        connect(REST).duckdb(object())  # type: ignore[union-attr]


def test_unity_without_a_warehouse_has_no_iceberg() -> None:
    with pytest.raises(ValueError, match="catalog unity names no warehouse"):
        connect(UNITY).iceberg()  # type: ignore[union-attr]
