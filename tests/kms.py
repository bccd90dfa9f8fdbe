"""A KMS that speaks HTTP on this machine: moto's, and before it a proxy that keeps a log and has the faults moto lacks.

moto knows neither key states nor policies: what AWS answers then is said by the proxy, in the shapes of the KMS API
reference (https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and the pages of the three actions).
"""

import contextlib
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config

REGION = "eu-north-1"
ACCESS_KEY = "AKIATESTTESTTESTTEST"
SECRET_KEY = "canary-secret-access-key-5417"
TOKEN = "canary-session-token-9083"

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_SESSION_TOKEN": TOKEN,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a process that may use KMS has in its environment."""

# The error codes that the API reference documents, with their HTTP statuses.
ERRORS = {
    "AccessDeniedException": 400,
    "DependencyTimeoutException": 500,
    "DisabledException": 409,
    "ExpiredTokenException": 400,
    "IncorrectKeyException": 400,
    "InvalidCiphertextException": 400,
    "InvalidKeyUsageException": 400,
    "InvalidSignatureException": 400,
    "KMSInternalException": 500,
    "KMSInvalidStateException": 409,
    "KeyUnavailableException": 500,
    "NotFoundException": 404,
    "ThrottlingException": 400,
    "UnrecognizedClientException": 400,
}
_LONG = 8.0  # seconds: longer than any wait of the tests
SAID = "User: arn:aws:iam::123456789012:user/canary-of-aws-words is told more than ours should repeat"


@dataclass(frozen=True)
class Called:
    """One request as the proxy saw it: no plaintext, no ciphertext."""

    action: str
    key: str
    context: dict[str, str]
    signed_by: str
    body: dict[str, Any] = field(repr=False)


class KmsProxy:
    """moto's KMS, with a log of what it was asked and with faults."""

    def __init__(self, moto: str, tls: ssl.SSLContext | None = None) -> None:
        self.elsewhere = ""
        """Where the fault `redirect` leads."""
        self.calls: list[Called] = []
        self._moto = urlsplit(moto)
        self._faults: list[str] = []
        self._always: str | None = None
        self.denied: set[str] = set()
        """The access keys that may not do what they ask for."""
        self.allowed: set[str] | None = None
        """The actions that a policy allows, as in `Encrypt`; None for all."""
        self._enough = threading.Event()
        self.dribbling = False
        """Whether an answer is on its way byte by byte, at this moment."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._serve(self)

            def log_message(self, *_: object) -> None:
                """Nothing: the log is `calls`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def fail(self, *faults: str) -> None:
        """Answer so many calls with these faults, then as moto does: error codes, or hang, dribble, close, …"""
        self._faults = list(faults)

    @contextlib.contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        """Answer every call like this."""
        self._always = fault
        try:
            yield
        finally:
            self._always = None
            self.stop_hanging()

    def stop_hanging(self) -> None:
        """End the answers that hang or dribble."""
        self._enough.set()
        self._enough = threading.Event()

    def actions(self) -> list[str]:
        return [call.action for call in self.calls]

    def forget(self) -> None:
        self.calls.clear()

    def close(self) -> None:
        self._enough.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        asked = json.loads(body)
        context = asked.get("EncryptionContext") or asked.get("SourceEncryptionContext") or {}
        action = handler.headers["X-Amz-Target"].removeprefix("TrentService.")
        key = asked.get("KeyId") or asked.get("SourceKeyId", "")
        signed_by = handler.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        self.calls.append(Called(action, key, context, signed_by, _without_blobs(asked)))
        fault = self._always or (self._faults.pop(0) if self._faults else None)
        if signed_by in self.denied or (self.allowed is not None and action not in self.allowed):
            fault = "AccessDeniedException"
        if fault is None:
            self._pass_on(handler, body)
        elif fault in ERRORS:
            _answer(handler, ERRORS[fault], {"__type": fault, "message": SAID})
        else:
            getattr(self, f"_{fault}")(handler, body)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        _send(handler, *self._asked(handler, body))

    def _asked(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
        """moto's answer."""
        connection = HTTPConnection(self._moto.hostname or "", self._moto.port, timeout=20)
        with contextlib.closing(connection):
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "host"}
            connection.request("POST", handler.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "")

    def _slow(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A second late, and right."""
        time.sleep(1)
        self._pass_on(handler, body)

    def _hang(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Say nothing for so long that nobody should be there any more, then answer rightly."""
        self._enough.wait(_LONG)
        self._pass_on(handler, body)

    def _dribble(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """The right answer, after white space that comes byte by byte for as long: no read of it ever times out."""
        status, answer, kind = self._asked(handler, body)
        spaces = int(_LONG / 0.05)
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(spaces + len(answer)))
        handler.end_headers()
        enough, self.dribbling = self._enough, True
        try:
            for _ in range(spaces):
                enough.wait(0.05)
                handler.wfile.write(b" ")
                handler.wfile.flush()
        finally:
            self.dribbling = False
        handler.wfile.write(answer)

    def _close(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Close the connection without a word."""
        handler.close_connection = True

    def _garbage(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """What is no HTTP."""
        handler.wfile.write(b"\x15\x03\x01canary-of-a-stranger\r\n\r\n")
        handler.close_connection = True

    def _redirect(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Come again over there."""
        handler.send_response(307)
        handler.send_header("Location", self.elsewhere)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _page(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A login page, as networks in hotels have them."""
        _send(handler, 200, b"<html>canary-of-a-stranger</html>", "text/html")

    def _forbidding_page(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A proxy's own refusal."""
        _send(handler, 403, b"<html>canary-of-a-stranger</html>", "text/html")

    def _empty(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """JSON without what was asked for."""
        _answer(handler, 200, {})

    def _crooked(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Fields of other types, and base64 that is none."""
        _answer(handler, 200, {"KeyId": 7, "Plaintext": "!", "CiphertextBlob": "!"})

    def _endless(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """More than anybody should read."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        enough = self._enough
        while not enough.is_set():
            handler.wfile.write(b" " * 65536)

    def _unavailable(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A load balancer without a server behind it."""
        _send(handler, 503, b"<html>canary-of-a-stranger</html>", "text/html")

    def _odd(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A code that no list has, and that is no word."""
        _answer(handler, 400, {"__type": "canary of a stranger\n", "message": SAID})

    def _unheard_of(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """A code that is new."""
        _answer(handler, 400, {"__type": "UnheardOfException", "message": SAID})


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """moto's KMS on a free port of this process; its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def kms_proxy(moto: str, tls: ssl.SSLContext | None = None) -> Iterator[KmsProxy]:
    """A proxy before moto's KMS."""
    proxy = KmsProxy(moto, tls)
    try:
        yield proxy
    finally:
        proxy.close()


def client(url: str) -> Any:
    """boto3's own client, for what the product does not do."""
    return boto3.client(
        "kms",
        REGION,
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        aws_session_token=TOKEN,
        config=Config(retries={"total_max_attempts": 1}),
    )


def make_key(url: str, alias: str | None = None) -> str:
    """A new symmetric key; its ARN."""
    made = client(url)
    arn: str = made.create_key()["KeyMetadata"]["Arn"]
    if alias is not None:
        made.create_alias(AliasName=alias, TargetKeyId=arn)
    return arn


def spec(key: str, url: str) -> str:
    """SEALRUN_KEYS for this key behind this address."""
    return f"aws-kms:{key}?region={REGION}&endpoint_url={quote(url, safe='')}"


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answer(handler: BaseHTTPRequestHandler, status: int, document: dict[str, Any]) -> None:
    _send(handler, status, json.dumps(document).encode(), "application/x-amz-json-1.1")


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("x-amzn-RequestId", str(uuid.uuid4()))
    handler.end_headers()
    handler.wfile.write(body)


def _without_blobs(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name not in ("Plaintext", "CiphertextBlob")}
