"""Data sources and catalogs in the hands of real libraries: each cell of the table of kinds and libraries is a run.

boto3, s3fs, PyIceberg and psycopg are asked every day; what is marked `ecosystem`, by `scripts/test --all`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.python import requirements
from secretstore import vault
from tests.connections import servers
from tests.connections.cells import ROWS
from tests.rig import ACTOR, CHECKOUT, Ended, Rig, function, rig

FOLDER = CHECKOUT / "tests" / "connections"
BUILT_WITHIN, ENDED_WITHIN = 900, 240
"""Seconds that a machine under load and a slow network may take."""

PAIRS = [[1, "a"], [2, "b"], [3, "c"]]
S3 = {
    "boto3": "by boto3", "s3fs": "by s3fs", "polars": ROWS, "delta": ROWS, "pyarrow": ROWS, "duckdb": ROWS,
    "duckdb_fsspec": ROWS, "daft": ROWS,
}  # fmt: skip
S3_ALONE = {
    "boto3": "by boto3", "s3fs": "by s3fs", "polars": ROWS, "daft": ROWS, "duckdb": ROWS,
    "duckdb_fsspec": ROWS,
}  # fmt: skip

DAILY = ("boto3", "psycopg")


def cells(*names: str) -> list[Any]:
    """The parameters of cells; those that need a library beside `DAILY` are run with the whole table alone."""
    return [name if name in DAILY else pytest.param(name, marks=pytest.mark.ecosystem) for name in names]


pytestmark = pytest.mark.timeout(BUILT_WITHIN + 2 * ENDED_WITHIN)


class Table:
    """The runs of all cells: handed in together, so that none waits for another's import of a library."""

    def __init__(self, made: Rig, document: dict[str, Any], whole: bool) -> None:
        self.made, self.document, self.whole = made, document, whole
        self.path = made.job((FOLDER / "cells.py").read_text(), "cells.py")
        self.run_ids: dict[str, str] = {}

    def submit(self, cell: str, job: str, given: dict[str, str], **asked: Any) -> None:
        """Hand in a cell's job; `given` is its sources and catalogs by parameter: `source/lake`."""
        if not self.whole and not job.startswith(DAILY):
            return
        named: dict[str, dict[str, str]] = {"source": {}, "catalog": {}}
        for parameter, key in given.items():
            role, _, connection = key.partition("/")
            named[role][parameter] = connection
        target = function(self.path, job, {}, asked) | {"sources": named["source"], "catalogs": named["catalog"]}
        self.run_ids[cell] = self.made.submit(
            target,
            python=None,
            requirements=self.document,
            connections=False,
            timeout=ENDED_WITHIN,
            # Daft's threads want the interpreter's lock while it ends, and Python before 3.14 ends them so that Rust
            # aborts: https://github.com/python/cpython/issues/87135. Its work is done by then; it is tried again.
            **({"retries": 3, "retry_on": ["signal"]} if "daft" in job else {}),
        )

    def ended(self, cell: str) -> Ended:
        return self.made.ended(self.run_ids[cell], within=ENDED_WITHIN)

    def answer(self, cell: str) -> Any:
        """What a cell's job has read again; nothing of what it printed has a credential."""
        ended = self.ended(cell)
        told = f"{ended.view.message} {ended.view.problem}\n{ended.stdout}\n{ended.stderr}"
        assert ended.how == ("succeeded", None, 0), told
        for hidden in (servers.SECRET_KEY, servers.SUPABASE_SECRET, servers.UNITY_TOKEN):
            assert hidden not in told
        return ended.view.result


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with servers.moto() as url:
        yield url


@pytest.fixture(scope="module")
def seaweed() -> Iterator[servers.Seaweed]:
    with servers.seaweed() as made:
        yield made


@pytest.fixture(scope="module")
def supabase(moto: str) -> Iterator[str]:
    with servers.supabase(moto) as url:
        yield url


@pytest.fixture(scope="module")
def made(moto: str, seaweed: servers.Seaweed, supabase: str) -> Iterator[Rig]:
    """A worker, and a project with sources and catalogs of every kind."""
    secrets = {
        "KEYS": {"aws_access_key_id": servers.ACCESS_KEY, "aws_secret_access_key": servers.SECRET_KEY},
        "SUPABASE": {"access_key_id": servers.SUPABASE_KEY, "secret_access_key": servers.SUPABASE_SECRET},
    }
    texts = {
        "CLIENT": f"{servers.ACCESS_KEY}:{servers.SECRET_KEY}",
        "BEARER": servers.bearer(seaweed.iceberg),
        "UNITY": servers.UNITY_TOKEN,
    }
    keys, aws = {"$secret": "KEYS"}, {"region": servers.REGION, "endpoint": moto}
    own = {"region": servers.REGION, "endpoint": seaweed.s3, "credentials": keys}
    rest = {"endpoint": seaweed.iceberg, "warehouse": "s3://warehouse", "source": "warehouse"}
    with servers.unity(seaweed) as unity, rig() as made:
        values = {name: json.dumps(value) for name, value in secrets.items()} | texts
        made.project("shop", {name: value.encode() for name, value in values.items()}, servers.network())
        sources: dict[str, tuple[str, dict[str, Any]]] = {
            "lake": ("s3", {**aws, "bucket": "lake", "prefix": "of/moto", "credentials": keys}),
            "warehouse": ("s3", {**own, "bucket": "warehouse"}),
            "supabase": ("supabase-storage", {
                "endpoint": supabase, "region": servers.REGION, "bucket": "lake", "prefix": "of/supabase",
                "credentials": {"$secret": "SUPABASE"},
            }),
        }  # fmt: skip
        catalogs: dict[str, tuple[str, dict[str, Any]]] = {
            "main": ("iceberg-rest", {**rest, "credential": {"$secret": "CLIENT"}}),
            "by-token": ("iceberg-rest", {**rest, "token": {"$secret": "BEARER"}}),
            "glue": ("glue", {**aws, "warehouse": "s3://lake/glue", "source": "lake", "credentials": keys}),
            "unity": ("unity-catalog", {
                "endpoint": unity.url, "token": {"$secret": "UNITY"}, "warehouse": "main",
            }),
        }  # fmt: skip
        for role, connections in (("source", sources), ("catalog", catalogs)):
            for name, (kind, settings) in connections.items():
                vault.create_connection(made.db, "shop", "default", role, name, kind, settings, actor=ACTOR)
        made.start_worker()
        yield made


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether tests of the whole table are run."""
    return any(item.get_closest_marker("ecosystem") for item in request.session.items)


@pytest.fixture(scope="module")
def document(whole: bool) -> dict[str, Any]:
    """One environment for all of them."""
    files = ("requirements.txt", "ecosystem.txt") if whole else ("requirements.txt",)
    lines = [line for file in files for line in (FOLDER / file).read_text().splitlines()]
    return requirements.with_packages(None, [line for line in lines if not line.startswith("#")])


@pytest.fixture(scope="module")
def table(
    made: Rig, document: dict[str, Any], whole: bool, moto: str, seaweed: servers.Seaweed, supabase: str
) -> Table:
    """Every cell's run, handed in; the environment is there."""
    first = made.submit(function(made.job("def nothing(): pass\n"), "nothing"), python=None, requirements=document)
    assert made.ended(first, within=BUILT_WITHIN).how == ("succeeded", None, 0), made.told(first)
    table = Table(made, document, whole)
    for source, endpoint in (("lake", moto), ("supabase", supabase)):
        for library in S3:
            table.submit(f"{source} {library}", f"{library}_object", {"data": f"source/{source}"})
        for library in S3_ALONE:
            place = {"bucket": "lake", "key": f"alone/{source}/{library}.parquet"}
            if library == "duckdb":  # it takes keys and region of a profile, and not its endpoint
                place |= {"profile": source, "endpoint": endpoint}
            table.submit(f"{source} {library} alone", f"{library}_alone", {"only": f"source/{source}"}, **place)
    table.submit("lake neither", "duckdb_neither", {"data": "source/lake"})
    for catalog in ("main", "glue"):
        for library in ("pyiceberg", "polars_iceberg", "daft_iceberg"):
            table.submit(f"{catalog} {library}", f"{library}_object", {"cat": f"catalog/{catalog}"})
        table.submit(f"{catalog} alone", "pyiceberg_alone", {"only": f"catalog/{catalog}"}, name=catalog)
    table.submit("main duckdb_iceberg", "duckdb_iceberg_object", {"cat": "catalog/main"})
    table.submit("main duckdb missing", "duckdb_iceberg_missing", {"cat": "catalog/main"})
    table.submit("by-token alone", "pyiceberg_by_token_alone", {"only": "catalog/by-token"}, name="by-token")
    table.submit("unity client", "unity_client_object", {"cat": "catalog/unity"})
    table.submit("unity daft", "unity_daft_object", {"cat": "catalog/unity", "data": "source/lake"})
    table.submit("unity pyiceberg", "unity_iceberg_object", {"cat": "catalog/unity"})
    table.submit("unity databricks", "databricks_alone", {"only": "catalog/unity"})
    return table


@pytest.mark.parametrize("source", ["lake", "supabase"])
class TestStorage:
    @pytest.mark.parametrize("library", cells(*S3))
    def test_by_object(self, table: Table, source: str, library: str) -> None:
        """Written and read again by what the object gives: moto's S3, and Supabase's way, which checks signatures."""
        assert table.answer(f"{source} {library}") == S3[library]

    @pytest.mark.parametrize("library", cells(*S3_ALONE))
    def test_by_the_environment(self, table: Table, source: str, library: str) -> None:
        """The same without a word about it in the code: the profile is what the library finds."""
        assert table.answer(f"{source} {library} alone") == S3_ALONE[library]


@pytest.mark.ecosystem
def test_what_duckdb_needs(table: Table) -> None:
    """Without an extension for S3, and without s3fs in its place: one sentence with what to add."""
    assert table.answer("lake neither") == (
        "DuckDB's extension httpfs is not in this run's Python, and neither is s3fs; "
        "add it: sealrun run --with duckdb-extension-httpfs==1.5.5 ..."
    )


@pytest.mark.parametrize("catalog", ["main", "glue"])
class TestIceberg:
    @pytest.mark.parametrize("library", cells("pyiceberg", "polars_iceberg", "daft_iceberg"))
    def test_by_object(self, table: Table, catalog: str, library: str) -> None:
        """Tables of SeaweedFS's REST catalog, and of moto's Glue."""
        assert table.answer(f"{catalog} {library}") == ROWS

    @pytest.mark.ecosystem
    def test_by_the_environment(self, table: Table, catalog: str) -> None:
        assert table.answer(f"{catalog} alone") == ROWS


class TestIcebergRest:
    @pytest.mark.ecosystem
    def test_attached_to_duckdb(self, table: Table) -> None:
        assert table.answer("main duckdb_iceberg") == ROWS

    @pytest.mark.ecosystem
    def test_what_duckdb_needs(self, table: Table) -> None:
        """All that is missing, at once."""
        assert table.answer("main duckdb missing") == (
            "DuckDB's extension avro and iceberg is not in this run's Python; add it: "
            "sealrun run --with duckdb-extension-avro==1.5.5 --with duckdb-extension-iceberg==1.5.5 ..."
        )

    @pytest.mark.ecosystem
    def test_by_a_token(self, table: Table) -> None:
        """A bearer token in the place of a client's credentials."""
        assert table.answer("by-token alone") == ROWS


class TestUnity:
    """Against a stand-in of the open API; no server of Unity Catalog installs from a package index."""

    @pytest.mark.ecosystem
    def test_its_own_client(self, table: Table) -> None:
        assert table.answer("unity client") == ["cells"]

    @pytest.mark.ecosystem
    def test_daft(self, table: Table) -> None:
        """A Delta table that Unity names."""
        assert table.answer("unity daft") == ROWS

    @pytest.mark.ecosystem
    def test_pyiceberg(self, table: Table) -> None:
        """Its REST endpoint for Iceberg, with the credentials it gives for a table."""
        assert table.answer("unity pyiceberg") == ROWS

    @pytest.mark.ecosystem
    def test_databricks_sdk(self, table: Table) -> None:
        """DATABRICKS_HOST and DATABRICKS_TOKEN, and no argument."""
        assert table.answer("unity databricks") == ["main"]


@pytest.fixture(scope="module")
def ledger(table: Table, postgres_database: str) -> Table:
    """The runs with a PostgreSQL database, handed in."""
    made = table.made
    vault.put(made.db, "shop", "default", "DSN", postgres_database.encode(), actor=ACTOR, pins=made.pins)
    url = {"url": {"$secret": "DSN"}}
    vault.create_connection(made.db, "shop", "default", "source", "ledger", "postgres", url, actor=ACTOR)
    for library in ("psycopg", "sqlalchemy", "polars_postgres"):
        table.submit(library, f"{library}_object", {"data": "source/ledger"})
    table.submit("psycopg alone", "psycopg_alone", {"only": "source/ledger"})
    return table


class TestPostgres:
    @pytest.mark.parametrize("library", [*cells("psycopg", "sqlalchemy"), "psycopg alone"])
    def test_rows(self, ledger: Table, library: str) -> None:
        """By object; and by the service of its name."""
        assert ledger.answer(library) == PAIRS

    @pytest.mark.ecosystem
    def test_polars(self, ledger: Table) -> None:
        assert ledger.answer("polars_postgres") == ROWS


@pytest.mark.ecosystem
def test_what_the_server_has(table: Table, moto: str) -> None:
    """Every library wrote to the bucket, below the source's prefix where it had the object."""
    for library in S3:
        table.ended(f"lake {library}")
    listed = servers.s3(moto).list_objects_v2(Bucket="lake", Prefix="of/moto/")["Contents"]
    names = {Path(one["Key"]).parts[2].partition(".")[0] for one in listed}
    assert names >= {"boto3", "s3fs", "polars", "delta", "pyarrow", "duckdb", "duckdb-fsspec", "daft"}
