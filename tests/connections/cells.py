"""What each library does with a data source or catalog: one job per cell of the table in the documentation.

They are the targets of runs. Each writes and reads again, and returns what it has read. Those that end in `alone` make
no use of `only`, the one source or catalog that the run has: the library finds it in the run's environment.
"""

import asyncio

ROWS = {"n": [1, 2, 3], "word": ["a", "b", "c"]}


# -- S3, by object


def boto3_object(data):
    client = data.boto3_session().client("s3")
    client.put_object(Bucket=data.bucket, Key=data.key("boto3.txt"), Body=b"by boto3")
    resource = data.boto3_session().resource("s3")
    return resource.Object(data.bucket, data.key("boto3.txt")).get()["Body"].read().decode()


def s3fs_object(data):
    files = data.filesystem()
    with files.open(data.path("s3fs.txt"), "wb") as file:
        file.write(b"by s3fs")
    files.invalidate_cache()
    assert data.location("s3fs.txt") in files.ls(data.url)
    return files.cat(data.path("s3fs.txt")).decode()


def polars_object(data):
    import polars

    polars.DataFrame(ROWS).write_parquet(data.path("polars.parquet"), storage_options=data.storage_options)
    scanned = polars.scan_parquet(data.path("polars*.parquet"), storage_options=data.storage_options)
    return scanned.collect().to_dict(as_series=False)


def delta_object(data):
    """delta-rs writes; Polars reads, as pyarrow's threads under delta-rs's own reader may outlive the interpreter."""
    import deltalake
    import polars
    import pyarrow

    url, options = data.path("delta"), data.storage_options
    deltalake.write_deltalake(url, pyarrow.table(ROWS), mode="overwrite", storage_options=options)
    return polars.read_delta(url, storage_options=options).sort("n").to_dict(as_series=False)


def pyarrow_object(data):
    import pyarrow
    from pyarrow import parquet

    files = data.pyarrow_filesystem()
    parquet.write_table(pyarrow.table(ROWS), data.location("pyarrow.parquet"), filesystem=files)
    return parquet.read_table(data.location("pyarrow.parquet"), filesystem=files).to_pydict()


def duckdb_object(data):
    connection = data.duckdb()
    assert connection.execute("SELECT count(*) FROM duckdb_secrets()").fetchone() == (1,)
    return _by_duckdb(connection, data.path("duckdb.parquet"))


def duckdb_fsspec_object(data):
    """Where its own extension is not there, s3fs is what it opens URLs with."""
    import sys

    sys.modules["duckdb_extension_httpfs"] = None
    connection = data.duckdb()
    assert connection.execute("SELECT count(*) FROM duckdb_secrets()").fetchone() == (0,)
    return _by_duckdb(connection, data.path("duckdb-fsspec.parquet"))


def duckdb_neither(data):
    """Nor s3fs: what is to be added is said."""
    import sys

    sys.modules.update(duckdb_extension_httpfs=None, s3fs=None)
    try:
        data.duckdb()
    except ImportError as error:
        return str(error)


def daft_object(data):
    import daft

    config = data.daft_io_config()
    daft.from_pydict(ROWS).write_parquet(data.path("daft"), write_mode="overwrite", io_config=config)
    return daft.read_parquet(data.path("daft/*.parquet"), io_config=config).sort("n").to_pydict()


# -- S3, by the environment alone


def boto3_alone(only, bucket, key):
    import boto3

    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key=key, Body=b"by boto3")
    return client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def s3fs_alone(only, bucket, key):
    import fsspec

    with fsspec.open(f"s3://{bucket}/{key}", "wb") as file:
        file.write(b"by s3fs")
    with fsspec.open(f"s3://{bucket}/{key}", "rb") as file:
        return file.read().decode()


def polars_alone(only, bucket, key):
    import polars

    polars.DataFrame(ROWS).write_parquet(f"s3://{bucket}/{key}")
    return polars.read_parquet(f"s3://{bucket}/{key}").to_dict(as_series=False)


def daft_alone(only, bucket, key):
    import daft

    daft.from_pydict(ROWS).write_parquet(f"s3://{bucket}/{key}", write_mode="overwrite")
    return daft.read_parquet(f"s3://{bucket}/{key}/*.parquet").sort("n").to_pydict()


def duckdb_fsspec_alone(only, bucket, key):
    import duckdb
    import fsspec

    connection = duckdb.connect()
    connection.register_filesystem(fsspec.filesystem("s3"))
    return _by_duckdb(connection, f"s3://{bucket}/{key}")


def duckdb_alone(only, bucket, key, profile, endpoint):
    """DuckDB reads keys and region of a profile, but not its endpoint: that is said here."""
    import os

    import duckdb
    import duckdb_extension_aws
    import duckdb_extension_httpfs

    connection = duckdb.connect()
    for package, name in ((duckdb_extension_httpfs, "httpfs"), (duckdb_extension_aws, "aws")):
        folder = os.path.dirname(package.__file__)
        connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    connection.execute(
        "CREATE SECRET (TYPE s3, PROVIDER credential_chain, CHAIN config, PROFILE $profile, "
        "ENDPOINT $endpoint, URL_STYLE 'path', USE_SSL false)",
        {"profile": profile, "endpoint": endpoint.partition("://")[2]},
    )
    return _by_duckdb(connection, f"s3://{bucket}/{key}")


def _by_duckdb(connection, url):
    connection.execute(f"COPY (SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) t(n, word)) TO '{url}'")
    found = connection.execute(f"SELECT n, word FROM read_parquet('{url}') ORDER BY n").fetchall()
    return {"n": [n for n, _ in found], "word": [word for _, word in found]}


# -- Iceberg


def pyiceberg_object(cat):
    return _by_pyiceberg(cat.load(), "pyiceberg_object")


def pyiceberg_alone(only, name):
    from pyiceberg.catalog import load_catalog

    return _by_pyiceberg(load_catalog(name), "pyiceberg_alone")


def pyiceberg_by_token_alone(only, name):
    from pyiceberg.catalog import load_catalog

    return _by_pyiceberg(load_catalog(name), "by_token")


def polars_iceberg_object(cat):
    import polars

    table = _iceberg_table(cat.load(), "polars")
    polars.DataFrame(ROWS).write_iceberg(table, mode="append")
    return polars.scan_iceberg(table).sort("n").collect().to_dict(as_series=False)


def daft_iceberg_object(cat):
    import daft

    table = _iceberg_table(cat.load(), "daft")
    daft.from_pydict(ROWS).write_iceberg(table, mode="overwrite")
    table.refresh()
    return daft.read_iceberg(table).sort("n").to_pydict()


def duckdb_iceberg_object(cat):
    connection = cat.duckdb(attached_as="lake")
    connection.execute("CREATE SCHEMA IF NOT EXISTS lake.cells")
    connection.execute("CREATE TABLE lake.cells.duckdb (n INTEGER, word VARCHAR)")
    connection.execute("INSERT INTO lake.cells.duckdb VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    found = connection.execute("SELECT n, word FROM lake.cells.duckdb ORDER BY n").fetchall()
    assert cat.load().load_table("cells.duckdb").scan().to_arrow().num_rows == 3
    return {"n": [n for n, _ in found], "word": [word for _, word in found]}


def duckdb_iceberg_missing(cat):
    """What brings its extensions is said, all of it at once."""
    import sys

    sys.modules.update(duckdb_extension_avro=None, duckdb_extension_iceberg=None)
    try:
        cat.duckdb(attached_as="lake")
    except ImportError as error:
        return str(error)


def _by_pyiceberg(catalog, name):
    import pyarrow

    table = _iceberg_table(catalog, name)
    table.append(pyarrow.table(ROWS))
    return catalog.load_table(f"cells.{name}").scan().to_arrow().to_pydict()


def _iceberg_table(catalog, name):
    import pyarrow

    catalog.create_namespace_if_not_exists("cells")
    return catalog.create_table_if_not_exists(f"cells.{name}", schema=pyarrow.table(ROWS).schema)


# -- Unity Catalog


def unity_client_object(cat):
    """The open catalog's own client: makes a schema, lists it, and asks for a table's credentials."""
    from unitycatalog import client as unity

    async def act():
        async with cat.client() as api:
            made = unity.CreateSchema(name="cells", catalog_name="main")
            await unity.SchemasApi(api).create_schema(made)
            schemas = await unity.SchemasApi(api).list_schemas("main")
            return sorted(one.name for one in schemas.schemas)

    return asyncio.run(act())


def unity_daft_object(cat, data):
    """Unity names the table and its place. The credentials it gives have no endpoint, so outside AWS a source's do."""
    import daft

    unity = cat.load()
    table = unity.load_table("main.cells.daft", new_table_storage_path=data.path("unity-daft"))
    assert table.io_config.s3.key_id and unity.list_tables("main.cells") == ["main.cells.daft"]
    config = data.daft_io_config()
    daft.from_pydict(ROWS).write_deltalake(table.table_uri, mode="overwrite", io_config=config)
    again = unity.load_table("main.cells.daft")
    return daft.read_deltalake(again.table_uri, io_config=config).sort("n").to_pydict()


def unity_iceberg_object(cat):
    return _by_pyiceberg(cat.iceberg(), "unity_object")


def databricks_alone(only):
    from databricks.sdk import WorkspaceClient

    return sorted(one.name for one in WorkspaceClient().catalogs.list())


# -- PostgreSQL


def psycopg_object(data):
    with data.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE cells (n integer, word text)")
        connection.execute("INSERT INTO cells VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        return [list(row) for row in connection.execute("SELECT n, word FROM cells ORDER BY n")]


def sqlalchemy_object(data):
    import sqlalchemy

    with data.engine().begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TEMPORARY TABLE cells (n integer, word text)"))
        connection.execute(sqlalchemy.text("INSERT INTO cells VALUES (1, 'a'), (2, 'b'), (3, 'c')"))
        return [list(row) for row in connection.execute(sqlalchemy.text("SELECT n, word FROM cells ORDER BY n"))]


def polars_postgres_object(data):
    import polars

    with data.connect() as connection:
        connection.execute("CREATE TEMPORARY TABLE cells (n integer, word text)")
        connection.execute("INSERT INTO cells VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        return polars.read_database("SELECT n, word FROM cells ORDER BY n", connection).to_dict(as_series=False)


def psycopg_alone(only):
    import psycopg

    with psycopg.connect("service=ledger") as connection:
        connection.execute("CREATE TEMPORARY TABLE cells (n integer, word text)")
        connection.execute("INSERT INTO cells VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        return [list(row) for row in connection.execute("SELECT n, word FROM cells ORDER BY n")]
