"""The key service of AWS KMS: `Encrypt` wraps, one `Decrypt` unwraps, `ReEncrypt` moves to another key.

The wrapped key is KMS's own ciphertext. The context is KMS's encryption context: authenticated, readable in CloudTrail,
and open to conditions of an IAM policy. botocore signs; the connection is made here, so that every fork of this process
shares a TLS context that has read its certificates once (20 ms).

botocore and TLS are imported when they are needed: the zygote has this module too, and stays small.

One deadline covers a whole call: name look-up, connection, a slow answer, further tries. The call is therefore made in
a thread, which is abandoned at the deadline: use this in processes that end soon after.
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from secretstore.errors import KmsError, KmsKeyUnusable, LibraryMissing, SecretStoreError, WrapBroken
from secretstore.key_service import Credentials, KeyService
from secretstore.kms_failures import NO_CREDENTIALS, NO_KMS, SILENT, Reason, understood

_ANSWER_LIMIT = 1 << 20  # bytes; KMS's longest answer here is some 9 kB
_CONNECT = 3.0  # seconds for one try to connect, so that a lost packet leaves time for another
_PAUSES = (0.1, 2.0)  # seconds: the first pause between two tries, doubled up to the second


class AwsKms:
    """One KMS key."""

    def __init__(
        self,
        key: str,
        *,
        region: str,
        endpoint_url: str = "",
        credentials: Credentials | None = None,
        timeout: float = 10.0,
        network: Mapping[str, str] = {},
    ) -> None:
        """Keep what a call needs; nothing is called yet.

        Args:
            key: its id, alias or ARN.
            region: where it is.
            endpoint_url: where KMS answers, if not at AWS's own address for the region.
            credentials: to sign requests with.
            timeout: seconds for a call as a whole.
            network: `ca_bundle`, and proxies by scheme, as in `KeyAccess`.
        """
        self.key, self.region, self.endpoint_url = key, region, endpoint_url
        self._credentials, self._timeout, self._network = credentials, timeout, network
        self._arn: str | None = None

    @property
    def id(self) -> str:
        """`aws-kms:` and the key's ARN from KMS's last answer; before the first, the name in the settings."""
        return f"aws-kms:{self._arn or self.key}"

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Wrap a private key for this context: `Encrypt`.

        Raises:
            KmsError: KMS refuses or cannot be reached.
        """
        answer = self._call("encrypt", KeyId=self.key, Plaintext=private_key, EncryptionContext=dict(context))
        self._arn = answer["KeyId"]
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwrap what `wrap` made under this key for this context: one `Decrypt`, which names the key.

        Raises:
            KmsError: KMS refuses or cannot be reached.
            WrapBroken: it was altered, or wrapped for another context.
        """
        _check_length(wrapped)
        answer = self._call("decrypt", KeyId=self.key, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        self._arn = answer["KeyId"]
        return bytes(answer["Plaintext"])

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: KeyService) -> bytes:
        """Wrap the same private key under another service.

        Between KMS keys that is `ReEncrypt`, and this process never has the key. For another kind of service it is
        plaintext in this process for a moment.

        Raises:
            KmsKeyUnusable: the other key is in another region, which `ReEncrypt` cannot reach.
            KmsError, WrapBroken: as for `unwrap`.
        """
        if not isinstance(under, AwsKms):
            return under.wrap(self.unwrap(wrapped, context), context)
        if (self.region, self.endpoint_url) != (under.region, under.endpoint_url):
            raise KmsKeyUnusable(
                "KMS cannot move a wrapped key from {source} to {destination}: it stays within one region",
                source=self.region,
                destination=under.region,
                hint="make a new key pair under the other key: sealrun key rotate",
            )
        _check_length(wrapped)
        answer = self._call(
            "re_encrypt",
            CiphertextBlob=wrapped,
            SourceKeyId=self.key,
            SourceEncryptionContext=dict(context),
            DestinationKeyId=under.key,
            DestinationEncryptionContext=dict(context),
        )
        self._arn, under._arn = answer["SourceKeyId"], answer["KeyId"]
        return bytes(answer["CiphertextBlob"])

    def _call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        client = prepare(self.region, self.endpoint_url, self._network)
        shown = self.key if operation != "re_encrypt" else f"{self.key} or {parameters['DestinationKeyId']}"
        call = _Call(_ACTIONS[operation], shown, self.region, client.endpoint, self._timeout)
        if self._credentials is None:
            raise call.failure(NO_CREDENTIALS)
        client.sign_with(self._credentials)
        return call.answer(lambda left: client.ask(operation, parameters, left), _WANTED[operation])


_LONGEST_WRAPPED = 6144  # https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
_ACTIONS = {"encrypt": "kms:Encrypt", "decrypt": "kms:Decrypt", "re_encrypt": "kms:ReEncrypt*"}
_WANTED: dict[str, dict[str, type]] = {
    "encrypt": {"KeyId": str, "CiphertextBlob": bytes},
    "decrypt": {"KeyId": str, "Plaintext": bytes},
    "re_encrypt": {"KeyId": str, "SourceKeyId": str, "CiphertextBlob": bytes},
}


def _check_length(wrapped: bytes) -> None:
    """Refuse what KMS cannot have wrapped; botocore would do so in its own words."""
    if not 1 <= len(wrapped) <= _LONGEST_WRAPPED:
        raise WrapBroken


def is_alias(key: str) -> bool:
    """Whether this is an alias or its ARN: only KMS knows which key it leads to."""
    return key.rpartition(":")[2].startswith("alias/")


def key_id(key: str) -> str:
    """Return the id in an id or ARN; a multi-region key has the same id in every region."""
    return key.rpartition(":")[2].removeprefix("key/")


# -- one call, with its deadline


class _Call:
    """One call from its first try to its answer or its failure."""

    def __init__(self, action: str, key: str, region: str, endpoint: str, seconds: float) -> None:
        self._facts: dict[str, Any] = {"action": action, "key": key, "region": region, "endpoint": endpoint}
        self._facts["seconds"] = f"{seconds:g}"
        self._seconds = seconds
        self._deadline = 0.0
        self._last: Exception | None = None
        self._answer: Mapping[str, Any] | None = None

    def failure(self, reason: Reason, **more: Any) -> SecretStoreError:
        """Return an error with the facts of this call."""
        hint = reason.hint.format(**self._facts) if reason.hint else None
        return reason.kind(reason.message, hint=hint, **self._facts, **more)

    def answer(self, ask: Callable[[float], Mapping[str, Any]], wanted: Mapping[str, type]) -> Mapping[str, Any]:
        """Return the answer, checked for the wanted fields.

        Raises:
            KmsError, WrapBroken: there is none.
        """
        self._deadline = time.monotonic() + self._seconds
        # Neither a look-up of a name nor an answer that comes byte by byte has a time limit of its own.
        thread = threading.Thread(target=self._try, args=(ask,), name="sealrun-kms", daemon=True)
        thread.start()
        thread.join(self._seconds)
        answer, last = self._answer, self._last
        if answer is None:
            raise last or self.failure(SILENT) from None
        if any(not isinstance(answer.get(name), kind) for name, kind in wanted.items()):
            raise self.failure(NO_KMS)
        return answer

    def _try(self, ask: Callable[[float], Mapping[str, Any]]) -> None:
        pause, longest = _PAUSES
        while True:
            try:
                self._answer = ask(self._deadline - time.monotonic())
                return
            except Exception as error:  # noqa: BLE001  # it may quote what AWS or a stranger said: it ends here
                reason, facts, again = understood(error)
                self._last = self.failure(reason, **facts)
            wait = pause * (0.5 + os.urandom(1)[0] / 512)  # apart from others who were throttled at the same moment
            if not again or time.monotonic() + wait >= self._deadline:
                return
            time.sleep(wait)
            pause = min(2 * pause, longest)


# -- the client, which can be made ready before it is needed


def prepare(region: str, endpoint_url: str, network: Mapping[str, str]) -> "_Client":
    """Load what calls of this endpoint need, once in a process, for its forks to share; no connection is made.

    Raises:
        LibraryMissing: botocore is not installed.
        KmsError: the certificates to check KMS's with cannot be read.
    """
    return _client(region, endpoint_url, tuple(sorted(network.items())))


@functools.cache
def _client(region: str, endpoint_url: str, network: tuple[tuple[str, str], ...]) -> "_Client":
    return _Client(region, endpoint_url, dict(network))


class _Client:
    """botocore's client, and the connection it speaks over."""

    def __init__(self, region: str, endpoint_url: str, network: dict[str, str]) -> None:
        try:
            import botocore.session
            from botocore.awsrequest import AWSResponse
            from botocore.config import Config
        except ImportError:
            raise LibraryMissing(what="AWS KMS", library="botocore", extra="aws") from None
        session = botocore.session.Session()
        # Only what this process was given counts, not files in somebody's home.
        for variable in ("config_file", "credentials_file"):
            session.set_config_variable(variable, os.devnull)
        session.set_config_variable("ignore_configured_endpoint_urls", True)
        session.set_credentials("none", "none")
        self._signing = session.get_credentials()
        config = Config(retries={"total_max_attempts": 1}, proxies={})
        self._client = session.create_client("kms", region, endpoint_url=endpoint_url or None, config=config)
        self.endpoint = str(self._client.meta.endpoint_url)
        self._client.meta.events.register("before-send.kms", self._send)
        self._response = AWSResponse
        self._pool = _pool(self.endpoint, network)
        self._left = 0.0
        self._rehearsing = False

    def sign_with(self, credentials: Credentials) -> None:
        """Sign the following calls with these credentials."""
        self._signing.access_key = credentials.access_key
        self._signing.secret_key = credentials.secret_key
        self._signing.token = credentials.token

    def ask(self, operation: str, parameters: Mapping[str, Any], left: float) -> Mapping[str, Any]:
        """Send one request that has some seconds left, and return its answer."""
        # A little less than is left, so that urllib3's own time limit comes first and says what it waited for.
        self._left = max(left - 0.05, left / 2, 0.001)
        answer: Mapping[str, Any] = getattr(self._client, operation)(**parameters)
        return answer

    def rehearse(self) -> None:
        """Make one call with a made-up answer, to load what botocore loads at first use. Nothing is sent."""
        self._rehearsing = True
        self.ask("decrypt", {"KeyId": "none", "CiphertextBlob": b"none", "EncryptionContext": {"none": "none"}}, 1.0)
        self._rehearsing = False
        "localhost".encode("idna")  # the socket module does so with every host, and imports a table at the first

    def _send(self, request: Any, **_: Any) -> Any:
        """Send the request in botocore's place, its documented hook: it takes the return value for the answer."""
        import urllib3

        if self._rehearsing:
            nothing = urllib3.HTTPResponse(body=BytesIO(b"{}"), preload_content=False)
            return self._response(request.url, 200, nothing.headers, nothing)
        answer = self._pool.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers=dict(request.headers.items()),
            timeout=urllib3.Timeout(connect=min(_CONNECT, self._left), read=self._left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        body = answer.read(_ANSWER_LIMIT + 1)
        if len(body) > _ANSWER_LIMIT:
            answer.close()
            body = b""
        whole = urllib3.HTTPResponse(body=BytesIO(body), status=answer.status, preload_content=False)
        return self._response(request.url, answer.status, answer.headers, whole)


def _pool(endpoint: str, network: Mapping[str, str]) -> Any:
    import ssl
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

    import urllib3
    from botocore.httpsession import get_cert_path

    url = urlsplit(endpoint)
    context = None
    if url.scheme == "https":
        path = network.get("ca_bundle") or get_cert_path(True)
        try:
            context = ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError):
            raise KmsError(
                "the certificates to trust AWS KMS by cannot be read from {path}",
                path=path,
                hint="point AWS_CA_BUNDLE at a file of certificates in PEM form, or unset it",
            ) from None
    proxy = network.get(url.scheme)
    if proxy and not proxy_bypass_environment(url.hostname or "", dict(network)):
        return urllib3.ProxyManager(proxy, ssl_context=context)
    return urllib3.PoolManager(ssl_context=context)
