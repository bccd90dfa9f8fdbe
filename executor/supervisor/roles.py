"""Short-lived credentials of an S3 source: the opener calls AWS STS's AssumeRole with the long-lived ones.

botocore signs and sends; it is imported only here, and only for a run with such a source.
"""

import io
import json
import math
import string
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from executor.environment.assumed import Assumed
from executor.environment.references import filled
from executor.environment.values import Unusable
from secretstore.errors import installing
from secretstore.run_connection import RunConnection

MARK = "/source/"  # prefix of a source's name among the names of secrets, which have no slash

_CONNECT, _READ = 3.0, 10.0  # seconds for one try to connect, and for an answer
_ONE, _ALTOGETHER = 20.0, 60.0  # seconds for one role, and for all roles of a run: its supervisor waits for 120
_SHORTEST, _LONGEST = 900, 43_200  # seconds that a session of AWS may last
_WITHOUT_END = 3600  # seconds, if the run has no time-out
_BEYOND = 60  # seconds that a session outlasts the run's time-out, for stopping the run
_LARGEST = 1 << 20  # bytes of an answer; STS sends some thousand
_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")
_WANTED = (*_CREDENTIALS, "assume_role", "external_id", "sts_endpoint", "region", "bucket", "prefix")
_SESSION_NAME = frozenset(string.ascii_letters + string.digits + "_=,.@-")

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and CommonErrors.html beside it. Codes come
# with and without "Exception", as servers other than AWS's spell them.
_REFUSALS = {
    "AccessDenied": "its credentials may not assume its role, or the role does not trust them or the external id",
    "InvalidClientTokenId": "STS does not know its access key",
    "InvalidAccessKeyId": "STS does not know its access key",
    "UnrecognizedClient": "STS does not know its access key",
    "SignatureDoesNotMatch": "its secret access key does not match its access key, or the worker's clock is wrong",
    "InvalidSignature": "its secret access key does not match its access key, or the worker's clock is wrong",
    "RequestTimeTooSkewed": "the worker's clock is wrong",
    "ExpiredToken": "its own credentials have expired",
    "ValidationError": "the role does not allow sessions of {seconds} seconds, or its ARN or external id is invalid;"
    " raise the role's maximum session duration, or give the run a shorter --timeout",
    "MalformedPolicyDocument": "STS rejects the policy for its bucket and prefix",
    "PackedPolicyTooLarge": "the policy for its bucket and prefix is too large for STS",
    "RegionDisabled": "STS is not enabled in the region {region}",
}


def assume_roles(
    plan: Sequence[RunConnection], secrets: Mapping[str, bytes], timeout: float | None, run: str
) -> dict[str, Assumed | str]:
    """Get short-lived credentials for each source that assumes a role, or a message on why there are none.

    Args:
        plan: sources and catalogs; those that assume no role are skipped.
        secrets: the opened values, including the long-lived credentials.
        timeout: seconds that the run may take.
        run: its id, for the session's name.
    """
    until = time.monotonic() + _ALTOGETHER
    answers: dict[str, Assumed | str] = {}
    for planned in plan:
        if planned.assumes_role:
            try:
                answers[planned.name] = _assumed(_Request.of(planned, secrets, timeout, run), until)
            except Unusable as why:
                answers[planned.name] = str(why)
    return answers


def to_values(answers: Mapping[str, Assumed | str]) -> dict[str, bytes]:
    """Encode the answers as values for the supervisor, under names that no secret can have."""
    return {
        MARK + name: json.dumps({"problem": answer} if isinstance(answer, str) else asdict(answer)).encode()
        for name, answer in answers.items()
    }


def from_values(values: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, Assumed | str]]:
    """Split the opener's values into secrets and, by source, the answers for assumed roles."""
    secrets: dict[str, bytes] = {}
    assumed: dict[str, Assumed | str] = {}
    for name, value in values.items():
        if not name.startswith(MARK):
            secrets[name] = value
            continue
        answer = json.loads(value)
        assumed[name.removeprefix(MARK)] = answer["problem"] if "problem" in answer else Assumed(**answer)
    return secrets, assumed


@dataclass(frozen=True)
class _Request:
    """One call of AssumeRole."""

    credentials: Mapping[str, str] = field(repr=False)
    role: str
    external_id: str | None = field(repr=False)
    endpoint: str | None
    region: str
    policy: str
    seconds: int
    session: str

    @classmethod
    def of(cls, planned: RunConnection, secrets: Mapping[str, bytes], timeout: float | None, run: str) -> "_Request":
        given = {name: planned.settings[name] for name in _WANTED if planned.settings.get(name) is not None}
        filled_in = {name: filled(value, name, secrets, {}) for name, value in given.items()}
        texts = {name: text for name, text in filled_in.items() if text is not None}
        for name in ("access_key_id", "secret_access_key", "bucket"):
            if name not in texts:
                raise Unusable(f"it needs {name} to assume its role")
        if not all(isinstance(text, str) for text in texts.values()):
            raise Unusable("one of its settings is not text")
        endpoint = texts.get("sts_endpoint")
        if endpoint is not None and not endpoint.startswith(("https://", "http://")):
            raise Unusable("its sts_endpoint is not a URL")
        return cls(
            credentials={name: texts[name] for name in _CREDENTIALS if name in texts},
            role=texts["assume_role"],
            external_id=texts.get("external_id"),
            endpoint=endpoint,
            region=texts.get("region", "us-east-1"),
            policy=json.dumps(
                session_policy(texts["assume_role"], texts["bucket"], texts.get("prefix", ""), aws=endpoint is None),
                separators=(",", ":"),
            ),
            seconds=session_seconds(timeout),
            session="".join(c if c in _SESSION_NAME else "-" for c in f"sealrun-{run}")[:64],
        )


def session_seconds(timeout: float | None) -> int:
    """Return how many seconds a session lasts for a run with this time-out in seconds."""
    if timeout is None:
        return _WITHOUT_END
    return max(_SHORTEST, min(_LONGEST, math.ceil(timeout) + _BEYOND))


def session_policy(role: str, bucket: str, prefix: str, *, aws: bool) -> dict[str, Any]:
    """Limit a session, whatever its role allows, to reading and writing beneath a prefix of a bucket.

    Args:
        role: its ARN, which names the partition.
        bucket: the bucket's name.
        prefix: a folder; empty for the whole bucket.
        aws: whether this is AWS, where buckets may have KMS keys; other servers reject actions that they do not know.
    """
    parts = role.split(":")
    place = f"arn:{parts[1] if len(parts) > 1 else 'aws'}:s3:::{_literal(bucket)}"
    folder = _literal(f"{prefix.strip('/')}/") if prefix.strip("/") else ""
    beneath = [f"{place}/{folder}*"]
    listing: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": place}
    if folder:
        listing["Condition"] = {"StringLike": {"s3:prefix": f"{folder}*"}}
        # The folder's own name, too: libraries first check that no object has that name.
        beneath = [f"{place}/{folder.rstrip('/')}", *beneath]
    objects = ["GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListMultipartUploadParts"]
    statements = [
        {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": place},
        listing,
        {"Effect": "Allow", "Action": [f"s3:{name}" for name in objects], "Resource": beneath},
    ]
    if aws:
        through_s3 = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
        keys = ["kms:Decrypt", "kms:GenerateDataKey"]
        statements.append({"Effect": "Allow", "Action": keys, "Resource": "*", "Condition": through_s3})
    return {"Version": "2012-10-17", "Statement": statements}


def _literal(text: str) -> str:
    """Escape wildcards and variables of a policy."""
    return "".join(f"${{{character}}}" if character in "*?$" else character for character in text)


def _assumed(request: _Request, until: float) -> Assumed:
    try:
        import botocore.session  # noqa: F401  # here, so that the thread's time limit does not include it
    except ImportError:
        why = f"its role needs botocore, which this worker does not have; {installing('aws')}"
        raise Unusable(why) from None
    seconds = min(_ONE, until - time.monotonic())
    answer: list[Assumed | str] = []
    # A thread, as neither a name look-up nor an answer that comes byte by byte has a time limit.
    thread = threading.Thread(target=_ask, args=(request, answer.append), name="sealrun-sts", daemon=True)
    if seconds > 0:
        thread.start()
        thread.join(seconds)
    if not answer:
        raise Unusable(f"{_sts(request)} does not answer")
    if isinstance(answer[0], str):
        raise Unusable(answer[0])
    return answer[0]


def _ask(request: _Request, tell: Callable[[Assumed | str], None]) -> None:
    try:
        tell(_answer(request))
    except Exception as error:  # noqa: BLE001  # it may quote what a server said: it ends here
        tell(_reason(error, request))


def _answer(request: _Request) -> Assumed:
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    # Only what this process is given counts, no file in somebody's home.
    for variable in ("config_file", "credentials_file"):
        session.set_config_variable(variable, "/dev/null")
    session.set_config_variable("ignore_configured_endpoint_urls", True)
    client = session.create_client(
        "sts",
        request.region,
        endpoint_url=request.endpoint,
        aws_access_key_id=request.credentials["access_key_id"],
        aws_secret_access_key=request.credentials["secret_access_key"],
        aws_session_token=request.credentials.get("session_token"),
        config=Config(connect_timeout=_CONNECT, read_timeout=_READ, retries={"total_max_attempts": 2}, proxies={}),
    )
    client.meta.events.register("before-send.sts", _sent)
    parameters: dict[str, Any] = {"RoleArn": request.role, "RoleSessionName": request.session}
    parameters |= {"DurationSeconds": request.seconds, "Policy": request.policy}
    if request.external_id is not None:
        parameters["ExternalId"] = request.external_id
    given = client.assume_role(**parameters)["Credentials"]
    expires: datetime = given["Expiration"]
    return Assumed(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], expires.astimezone(UTC).isoformat()
    )


def _sent(request: Any, **_: Any) -> Any:
    """Send a request as botocore does, but limit the answer: an endless one would take all memory."""
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
    from botocore.httpsession import URLLib3Session
    from urllib3 import HTTPResponse
    from urllib3.exceptions import ProtocolError
    from urllib3.exceptions import ReadTimeoutError as SlowAnswer

    request.stream_output = True
    answer = URLLib3Session(timeout=(_CONNECT, _READ), proxies={}).send(request)
    try:
        body = answer.raw.read(_LARGEST + 1)
    except SlowAnswer as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
    except ProtocolError as error:
        raise ConnectionClosedError(endpoint_url=request.url, error=error) from None
    if len(body) > _LARGEST:
        raise ValueError("the answer is too long")
    kept = HTTPResponse(io.BytesIO(body), preload_content=False)
    return AWSResponse(answer.url, answer.status_code, answer.headers, kept)


def _reason(error: Exception, request: _Request) -> str:
    """Return what went wrong in our own words: those of a library or a server may quote a value."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _refusal(error.response, request)
    if isinstance(error, exceptions.ParamValidationError):
        return "its role's ARN or external id does not have the form that AWS wants"
    if isinstance(error, exceptions.SSLError):
        return f"{_sts(request)} cannot be trusted: this worker does not know its certificate"
    if isinstance(error, exceptions.ReadTimeoutError):
        return f"{_sts(request)} does not answer"
    if isinstance(error, (exceptions.HTTPClientError, exceptions.EndpointConnectionError)):
        return f"{_sts(request)} cannot be reached"
    if isinstance(error, (exceptions.InvalidRegionError, exceptions.NoRegionError)):
        return "its region does not exist in AWS"
    return f"{_sts(request)} did not answer as STS does"


def _refusal(response: Mapping[str, Any], request: _Request) -> str:
    code = str(response.get("Error", {}).get("Code", ""))
    word = code.removesuffix("Exception")
    if word in _REFUSALS:
        return f"{_REFUSALS[word].format(seconds=request.seconds, region=request.region)} ({code})"
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    known = code if code.isascii() and code.isalnum() and len(code) <= 64 else f"status {status}"
    return f"{_sts(request)} did not let it assume its role ({known})"


def _sts(request: _Request) -> str:
    return f"STS at {request.endpoint}" if request.endpoint else f"AWS STS in {request.region}"
