"""The objects that a run's function gets for data sources and catalogs: `--source data=lake --catalog cat=main`.

It runs in the run's own process and interpreter and comes over a descriptor, as `entry.py` does: standard library only,
any Python from 3.9. A library is imported when it is needed; if it is missing, the error names the `--with` that brings
it. No `repr` shows a credential.

`connect` makes an object of a document; every value in one is text or null:

    every one         role (`source`, `catalog`), kind, name
    s3,               bucket, prefix, endpoint, region, addressing (`auto`, `path`, `virtual`),
    supabase-storage  access_key_id, secret_access_key, session_token, expires_at; no access_key_id: anonymous
    postgres          url
    iceberg-rest,     endpoint, warehouse, properties (what PyIceberg calls them: `uri`, `s3.endpoint`, ...: a mapping),
    glue              source (the document of the storage's source, or null)
    unity-catalog     endpoint, token, warehouse, properties (of its Iceberg REST endpoint, or null), source (the same)

Keys with null may be missing.
"""

from __future__ import annotations

import importlib
import os
import urllib.parse
from typing import Any

DEFAULT_REGION = "us-east-1"  # for signatures if a source names none: endpoints outside AWS take any
BROUGHT_BY = {
    "boto3": "boto3",
    "botocore": "boto3",
    "daft": "daft",
    "duckdb": "duckdb-extension-httpfs>=1.5",
    "psycopg": "psycopg[binary]",
    "pyarrow": "pyarrow",
    "pyiceberg": "pyiceberg[pyarrow]",
    # Without a bound, a resolver picks an s3fs of 2020 to get the newest boto3.
    "s3fs": "s3fs>=2024",
    "sqlalchemy": "sqlalchemy",
    "unitycatalog": "unitycatalog-client",
}


def connect(document: dict[str, Any]) -> Connection:
    """The object of a document, as this module's own text describes it."""
    kinds: dict[str, type[Connection]] = {
        "s3": S3Source,
        "supabase-storage": S3Source,
        "postgres": PostgresSource,
        "iceberg-rest": IcebergCatalog,
        "glue": IcebergCatalog,
        "unity-catalog": UnityCatalog,
    }
    return kinds[document["kind"]](document)


class MissingLibrary(ImportError):
    """The run's Python lacks a package that a source or catalog needs."""

    def __init__(self, library: str, *packages: str, more: str = "") -> None:
        quoted = (f"'{package}'" if set(package) & set("[]<>") else package for package in packages)
        words = " ".join(f"--with {package}" for package in quoted)
        super().__init__(f"{library} is not in this run's Python{more}; add it: sealrun run {words} ...")
        self.name = library


class Connection:
    """What data sources and catalogs have in common."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.role: str = document["role"]
        self.kind: str = document["kind"]
        self.name: str = document["name"]

    def __repr__(self) -> str:
        return f"<{self.role} {self.name}: {self.kind}, {self._where()}>"

    def _where(self) -> str:
        raise NotImplementedError


class S3Source(Connection):
    """A bucket, or a prefix in one, behind any endpoint that speaks S3.

    `bucket`, `prefix` (may be empty), `endpoint` (None: AWS's own), `region`; `access_key_id` (None: anonymous),
    `secret_access_key`, `session_token`, `expires_at` (of short-lived credentials: the moment, ISO 8601).
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.bucket: str = document["bucket"]
        self.prefix: str = (document.get("prefix") or "").strip("/")
        self.endpoint: str | None = document.get("endpoint")
        self.region: str = document.get("region") or DEFAULT_REGION
        self.addressing: str = document.get("addressing") or "auto"
        self.access_key_id: str | None = document.get("access_key_id")
        self.secret_access_key: str | None = document.get("secret_access_key")
        self.session_token: str | None = document.get("session_token")
        self.expires_at: str | None = document.get("expires_at")

    def _where(self) -> str:
        return f"{self.url} at {self.endpoint}" if self.endpoint else self.url

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return self.path()

    def path(self, relative: str = "") -> str:
        """Return the URL of an object: `path("a/b.parquet")` is `s3://bucket/prefix/a/b.parquet`."""
        return f"s3://{self.location(relative)}"

    def key(self, relative: str = "") -> str:
        """Return its key in the bucket, for boto3: `prefix/a/b.parquet`."""
        return "/".join(part for part in (self.prefix, relative.lstrip("/")) if part)

    def location(self, relative: str = "") -> str:
        """Return its bucket and key, for pyarrow: `bucket/prefix/a/b.parquet`."""
        return "/".join(part for part in (self.bucket, self.key(relative)) if part)

    @property
    def storage_options(self) -> dict[str, str]:
        """For Polars, delta-rs and others that use object_store: `pl.read_parquet(url, storage_options=...)`."""
        options = {"aws_region": self.region}
        if self.endpoint:
            options["aws_endpoint_url"] = self.endpoint
            if self.addressing == "virtual":  # object_store expects the bucket in the URL then
                options["aws_endpoint_url"] = self.endpoint.replace("://", f"://{self.bucket}.", 1)
            if self.endpoint.startswith("http://"):
                options["aws_allow_http"] = "true"
        if self.addressing != "auto":
            options["aws_virtual_hosted_style_request"] = "true" if self.addressing == "virtual" else "false"
        if self.access_key_id is None:
            return {**options, "aws_skip_signature": "true"}
        keys = {
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }
        return {**options, **_given(keys)}

    @property
    def fsspec_options(self) -> dict[str, Any]:
        """For pandas, Dask and others that use s3fs: `pd.read_parquet(url, storage_options=...)`."""
        options: dict[str, Any] = {
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": self._botocore_options(),
        }
        if self.endpoint:
            options["endpoint_url"] = self.endpoint
        if self.access_key_id is None:
            return {**options, "anon": True}
        keys = {"key": self.access_key_id, "secret": self.secret_access_key, "token": self.session_token}
        return {**options, **_given(keys)}

    def boto3_session(self) -> Any:
        """Make a `boto3.Session` whose S3 clients and resources use this source and its credentials."""
        boto3 = _library("boto3")
        config = self._botocore_config()
        endpoint = self.endpoint

        class Session(boto3.Session):  # type: ignore[misc, name-defined]  # imported only when needed
            def client(self, service_name: str, *args: Any, **named: Any) -> Any:
                if service_name == "s3":
                    given = named.get("config")
                    named["config"] = config if given is None else config.merge(given)
                    if endpoint and len(args) < 5 and named.get("endpoint_url") is None:
                        named["endpoint_url"] = endpoint
                return super().client(service_name, *args, **named)

        return Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            aws_session_token=self.session_token,
            region_name=self.region,
        )

    def _botocore_config(self) -> Any:
        options = self._botocore_options()
        if self.access_key_id is None:
            options["signature_version"] = _library("botocore").UNSIGNED
        return _library("botocore.config").Config(**options)

    def _botocore_options(self) -> dict[str, Any]:
        """Return the options of botocore's Config, for boto3 and s3fs."""
        options: dict[str, Any] = {"s3": {"addressing_style": self.addressing}}
        if self.endpoint is None:
            # Another source's profile, or the project's own environment, may name an endpoint.
            return {**options, "ignore_configured_endpoint_urls": True}
        # Since 2025 AWS's libraries send checksums that some other servers reject.
        try:
            known = importlib.import_module("botocore.config").Config.OPTION_DEFAULTS
        except ModuleNotFoundError:
            return options  # without botocore nothing can use these options
        checksums = ("request_checksum_calculation", "response_checksum_validation")
        return {**options, **{name: "when_required" for name in checksums if name in known}}

    def filesystem(self) -> Any:
        """Make an fsspec filesystem (s3fs), which takes the URLs of `path`."""
        return _library("s3fs").S3FileSystem(**self.fsspec_options)

    def pyarrow_filesystem(self) -> Any:
        """Make a `pyarrow.fs.S3FileSystem`, which takes the paths of `location`."""
        options: dict[str, Any] = {"region": self.region}
        if self.endpoint:
            scheme, _, rest = self.endpoint.partition("://")
            options.update(scheme=scheme, endpoint_override=rest.rstrip("/"))
            options["force_virtual_addressing"] = self.addressing == "virtual"
        if self.access_key_id is None:
            options["anonymous"] = True
        keys = {
            "access_key": self.access_key_id,
            "secret_key": self.secret_access_key,
            "session_token": self.session_token,
        }
        return _library("pyarrow.fs").S3FileSystem(**options, **_given(keys))

    def daft_io_config(self) -> Any:
        """Make a `daft.io.IOConfig`: `daft.read_parquet(url, io_config=...)`."""
        io = _library("daft.io")
        options = {
            "region_name": self.region,
            "endpoint_url": self.endpoint,
            "key_id": self.access_key_id,
            "access_key": self.secret_access_key,
            "session_token": self.session_token,
        }
        s3 = io.S3Config(
            **_given(options),
            anonymous=self.access_key_id is None,
            use_ssl=not (self.endpoint or "").startswith("http://"),  # Daft passes it on to delta-rs
            force_virtual_addressing=self.addressing == "virtual",
        )
        return io.IOConfig(s3=s3)

    def duckdb(self, connection: Any = None) -> Any:
        """Make the source's URLs usable in a DuckDB connection (default: a new one), and return it.

        Uses DuckDB's extension httpfs if it is installed (package duckdb-extension-httpfs), else s3fs.
        """
        connection = _library("duckdb").connect() if connection is None else connection
        if _load_extension(connection, "httpfs"):
            self._create_secret(connection)
            return connection
        try:
            connection.register_filesystem(self.filesystem())
        except MissingLibrary:
            raise _missing_extension(["httpfs"], ", and neither is s3fs") from None
        return connection

    def _create_secret(self, connection: Any) -> None:
        options: dict[str, Any] = {"region": self.region, "scope": f"{self.url}{'' if self.prefix else '/'}"}
        if self.endpoint:
            scheme, _, rest = self.endpoint.partition("://")
            options.update(endpoint=rest.rstrip("/"), use_ssl=scheme == "https")
        if self.addressing != "auto":
            options["url_style"] = "vhost" if self.addressing == "virtual" else "path"
        keys = {"key_id": self.access_key_id, "secret": self.secret_access_key, "session_token": self.session_token}
        _duckdb_secret(connection, f"source {self.name}", "s3", {**options, **_given(keys)})


class PostgresSource(Connection):
    """A PostgreSQL database: `url` with its password, and `host`, `port`, `database`, `user` from the URL."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.url: str = document["url"]
        place, _, query = self.url.partition("://")[2].partition("?")
        authority, _, database = place.partition("/")
        login, _, hosts = authority.rpartition("@")
        has_port = ":" in hosts.rpartition("]")[2] and "," not in hosts
        host, _, port = hosts.rpartition(":") if has_port else (hosts, "", "")
        told = {name: value for name, _, value in (pair.partition("=") for pair in query.split("&"))}
        self.host = _decoded(told.get("host", host))
        self.port = _decoded(told.get("port", port))
        self.database = _decoded(told.get("dbname", database))
        self.user = _decoded(told.get("user", login.partition(":")[0]))

    def _where(self) -> str:
        return f"{self.database or 'the default database'} at {self.host or 'the default host'}"

    def connect(self, **options: Any) -> Any:
        """Open a `psycopg.Connection`."""
        return _library("psycopg").connect(self.url, **options)

    def engine(self, **options: Any) -> Any:
        """Make a `sqlalchemy.Engine` that uses psycopg."""
        sqlalchemy = _library("sqlalchemy")
        # Parsed by libpq: SQLAlchemy does not know all of its URLs, nor the scheme postgres://.
        parts = _library("psycopg.conninfo").conninfo_to_dict(self.url)
        parts.update(options.pop("connect_args", {}))
        return sqlalchemy.create_engine("postgresql+psycopg://", connect_args=parts, **options)


class IcebergCatalog(Connection):
    """An Iceberg catalog: `endpoint`, `warehouse`, `source` (its storage, or None), `properties` for PyIceberg.

    `properties` holds its credentials.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.endpoint: str | None = document.get("endpoint")
        self.warehouse: str | None = document.get("warehouse")
        self.properties: dict[str, str] = dict(document.get("properties") or {})
        self.source: S3Source | None = S3Source(document["source"]) if document.get("source") else None

    def _where(self) -> str:
        return " at ".join(part for part in (self.warehouse, self.endpoint) if part) or "the account's own"

    def load(self) -> Any:
        """Load the catalog with PyIceberg."""
        return _library("pyiceberg.catalog").load_catalog(self.name, **self.properties)

    def duckdb(self, connection: Any = None, attached_as: str | None = None) -> Any:
        """Attach the catalog to a DuckDB connection (default: a new one) under its own name, and return it.

        Uses DuckDB's extension iceberg, from the packages duckdb-extension-iceberg, -avro and -httpfs.
        """
        if self.kind != "iceberg-rest":
            raise NotImplementedError(f"catalog {self.name} is of kind {self.kind}: use load(), and scan().to_duckdb()")
        connection = _library("duckdb").connect() if connection is None else connection
        attached_as = self.name if attached_as is None else attached_as
        if attached_as in ("main", "system", "temp"):
            raise ValueError(f"DuckDB has its own {attached_as}; use another name: duckdb(attached_as='lake')")
        extensions = ("httpfs", "avro", "iceberg")  # the last needs the others
        missing = [extension for extension in extensions if not _load_extension(connection, extension)]
        if missing:
            raise _missing_extension(missing)
        options = [f"TYPE iceberg, READ_ONLY false, ENDPOINT {_quoted(self.properties['uri'])}"]
        if self.source is not None:
            self.source.duckdb(connection)
            options.append("ACCESS_DELEGATION_MODE 'none'")
        login = self._duckdb_login()
        if login:
            _duckdb_secret(connection, f"catalog {self.name}", "iceberg", login)
            options.append(f'SECRET "catalog {self.name}"')
        else:
            options.append("AUTHORIZATION_TYPE 'none'")
        connection.execute(f'ATTACH {_quoted(self.warehouse or "")} AS "{attached_as}" ({", ".join(options)})')
        return connection

    def _duckdb_login(self) -> dict[str, str]:
        told = self.properties
        if "token" in told:
            return {"token": told["token"]}
        if "credential" not in told:
            return {}
        client, _, secret = told["credential"].rpartition(":")
        server = told.get("oauth2-server-uri") or f"{told['uri'].rstrip('/')}/v1/oauth/tokens"
        login = {"client_id": client, "client_secret": secret, "oauth2_server_uri": server}
        return {**login, **_given({"oauth2_scope": told.get("scope")})}


class UnityCatalog(Connection):
    """A Unity Catalog: `endpoint`, `token`, `warehouse` (the catalog's name in Unity, or None), `source`."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.endpoint: str = document["endpoint"].rstrip("/")
        self.token: str = document["token"]
        self.warehouse: str | None = document.get("warehouse")
        self.properties: dict[str, str] = dict(document.get("properties") or {})
        self.source: S3Source | None = S3Source(document["source"]) if document.get("source") else None

    def _where(self) -> str:
        return " at ".join(part for part in (self.warehouse, self.endpoint) if part)

    def load(self) -> Any:
        """Load the catalog with Daft's Unity client: `daft.read_deltalake(catalog.load().load_table(NAME))`."""
        _library("daft", "daft[unity]")
        try:
            unity = importlib.import_module("daft.catalog.__unity")
        except ImportError as error:  # another package of that name may be installed, too
            if error.name is None or error.name.startswith("daft"):
                raise
            raise MissingLibrary(error.name, "daft[unity]") from None
        return unity.UnityCatalogClient(self.endpoint, token=self.token)

    def client(self) -> Any:
        """Make a `unitycatalog.client.ApiClient` (asyncio), for its `CatalogsApi`, `TablesApi` and so on."""
        unity = _library("unitycatalog.client")
        configuration = unity.Configuration(host=f"{self.endpoint}/api/2.1/unity-catalog")
        # Its own `access_token` has no effect: the API's description names no scheme that would send it.
        return unity.ApiClient(configuration, header_name="Authorization", header_value=f"Bearer {self.token}")

    def iceberg(self) -> Any:
        """Load the catalog with PyIceberg, through its Iceberg REST endpoint; needs a warehouse."""
        if not self.properties:
            raise ValueError(f"{self.role} {self.name} names no warehouse, so it has no Iceberg REST endpoint")
        return _library("pyiceberg.catalog").load_catalog(self.name, **self.properties)


def _library(name: str, package: str | None = None) -> Any:
    top = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (top, name):
            raise  # it is installed, and something that it needs is not
        raise MissingLibrary(top, package or BROUGHT_BY[top]) from None


def _decoded(text: str) -> str | None:
    return urllib.parse.unquote(text) or None


def _given(options: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _load_extension(connection: Any, extension: str) -> bool:
    """Load an extension from its package or DuckDB's folder, without a download; False if there is none."""
    duckdb = _library("duckdb")
    try:
        package = importlib.import_module(f"duckdb_extension_{extension}")
    except ModuleNotFoundError:
        named = extension
    else:
        folder = os.path.dirname(str(package.__file__))
        version = f"v{duckdb.__version__}"
        path = os.path.join(folder, "extensions", version, f"{extension}.duckdb_extension")
        named = _quoted(path) if os.path.exists(path) else extension
    try:
        connection.execute(f"LOAD {named}")
    except duckdb.Error:
        return False
    return True


def _missing_extension(extensions: list[str], more: str = "") -> MissingLibrary:
    version = _library("duckdb").__version__
    packages = [f"duckdb-extension-{extension}=={version}" for extension in extensions]
    return MissingLibrary(f"DuckDB's extension {' and '.join(extensions)}", *packages, more=more)


def _duckdb_secret(connection: Any, name: str, kind: str, options: dict[str, Any]) -> None:
    """Make DuckDB keep credentials while the connection lives; values are parameters, never part of the SQL."""
    places = ", ".join(f"{option} ${option}" for option in options)
    connection.execute(f'CREATE OR REPLACE SECRET "{name}" (TYPE {kind}, {places})', options)


def _quoted(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))
