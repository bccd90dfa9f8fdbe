"""Why a call of AWS KMS failed: AWS's error codes and the network's failures, with the words for each.

AWS's own words are never quoted: they may repeat what was sent.
"""

import os
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from secretstore.errors import (
    KmsAccessDenied,
    KmsCredentialsUnusable,
    KmsError,
    KmsKeyUnusable,
    KmsUnavailable,
    SecretStoreError,
    WrapBroken,
)


class Reason(NamedTuple):
    """Why a call failed: the class by what a caller can do, and the words; without words, the class's own."""

    kind: type[SecretStoreError]
    message: str | None = None
    hint: str | None = None


DENIED = Reason(KmsAccessDenied)
DISABLED = Reason(
    KmsKeyUnusable,
    "AWS refused {action}: the KMS key {key} is disabled ({answer})",
    "enable it: aws kms enable-key --key-id KEY",
)
IN_NO_STATE = Reason(
    KmsKeyUnusable,
    "AWS refused {action}: the KMS key {key} is pending deletion or in another unusable state ({answer})",
    "check its state; while there is time: aws kms cancel-key-deletion --key-id KEY, then enable it",
)
NOT_FOUND = Reason(
    KmsKeyUnusable,
    "AWS refused {action}: no KMS key {key} in {region} ({answer})",
    "check SEALRUN_KEYS and its region; nobody can open what a deleted key has wrapped",
)
UNFIT = Reason(
    KmsKeyUnusable,
    "AWS refused {action}: the KMS key {key} has another usage ({answer})",
    "use a symmetric key for encryption and decryption: aws kms create-key",
)
INCORRECT = Reason(
    KmsKeyUnusable,
    "AWS refused {action}: the private key was wrapped under another KMS key than {key} ({answer})",
    "add the key that it was wrapped under to SEALRUN_KEYS by its ARN, after a comma",
)
NO_CREDENTIALS = Reason(KmsCredentialsUnusable)
INVALID = Reason(
    KmsCredentialsUnusable,
    "AWS does not accept the credentials for {action} with the key {key} ({answer})",
    "check the access key, its secret and its session token, and this machine's clock",
)
EXPIRED = Reason(
    KmsCredentialsUnusable,
    "the AWS credentials for {action} with the key {key} have expired ({answer})",
    "renew them and restart the process that has them: only a role or a profile renews itself",
)
UNTRUSTED = Reason(
    KmsError,
    "AWS KMS at {endpoint} was not called for {action} with the key {key}: its certificate is not trusted",
    "if a proxy of yours intercepts TLS, set AWS_CA_BUNDLE to its certificates",
)
NO_KMS = Reason(
    KmsError,
    "the server that answered {action} with the key {key} at {endpoint} is not AWS KMS",
    "check endpoint_url in SEALRUN_KEYS, and any proxy before {endpoint}",
)
REFUSED = Reason(
    KmsError,
    "AWS KMS refused {action} with the key {key} ({answer})",
    "look the code up in the KMS API reference, and the request in CloudTrail",
)
THROTTLING = Reason(
    KmsUnavailable,
    "AWS throttled {action} with the key {key} for {seconds} seconds ({answer})",
    "raise the account's KMS request quota, start fewer runs at a time, or raise SEALRUN_KMS_TIMEOUT_SECONDS",
)
FAULTY = Reason(
    KmsUnavailable,
    "AWS KMS failed at {action} with the key {key} for {seconds} seconds ({answer})",
    "try again; AWS's health page says whether KMS has a problem",
)
UNREACHABLE = Reason(KmsUnavailable)
SILENT = Reason(
    KmsUnavailable,
    "AWS KMS at {endpoint} did not answer {action} with the key {key} in full within {seconds} seconds",
    "check the network between this machine and {endpoint}, or raise SEALRUN_KMS_TIMEOUT_SECONDS",
)

BROKEN = Reason(WrapBroken)

# https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and the errors of Encrypt, Decrypt, ReEncrypt.
# Codes come with and without "Exception", as services and their proxies spell them.
_CODES = {
    BROKEN: "InvalidCiphertext",
    DENIED: "AccessDenied NotAuthorized OptInRequired UnauthorizedOperation",
    DISABLED: "Disabled",
    IN_NO_STATE: "KMSInvalidState",
    NOT_FOUND: "NotFound",
    UNFIT: "InvalidKeyUsage",
    INCORRECT: "IncorrectKey",
    INVALID: "UnrecognizedClient InvalidSignature SignatureDoesNotMatch IncompleteSignature InvalidClientTokenId "
    "InvalidAccessKeyId MissingAuthenticationToken",
    EXPIRED: "ExpiredToken RequestExpired",
    THROTTLING: "Throttling Throttled RequestLimitExceeded TooManyRequests LimitExceeded",
    FAULTY: "KMSInternal DependencyTimeout KeyUnavailable InternalFailure ServiceUnavailable Internal",
}
REASONS = {code: reason for reason, codes in _CODES.items() for code in codes.split()}
_PASSING = (THROTTLING, FAULTY)
_PRINTABLE = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def understood(error: Exception) -> tuple[Reason, dict[str, str], bool]:
    """Return the reason for an error of botocore or urllib3, facts for its words, and whether to try again."""
    import ssl

    import urllib3.exceptions as transport
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _refusal(error.response)
    if isinstance(error, transport.ProxyError):
        return UNREACHABLE, {"why": "the proxy did not let the connection through"}, True
    if isinstance(error, transport.SSLError):
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
            return UNTRUSTED, {}, False
        return UNREACHABLE, {"why": "the TLS handshake failed"}, True
    if isinstance(error, transport.ReadTimeoutError):
        return SILENT, {}, True
    # A NewConnectionError is a ConnectTimeoutError too, but says more.
    if isinstance(error, transport.ConnectTimeoutError) and not isinstance(error, transport.NewConnectionError):
        return UNREACHABLE, {"why": "no server answers there"}, True
    if isinstance(error, transport.HTTPError):
        return UNREACHABLE, {"why": _why(error)}, True
    return NO_KMS, {}, False


def _refusal(response: Mapping[str, Any]) -> tuple[Reason, dict[str, str], bool]:
    code = str(response.get("Error", {}).get("Code", ""))
    about = response.get("ResponseMetadata", {})
    status, request = about.get("HTTPStatusCode", 0), str(about.get("RequestId", ""))
    answer = code if _PRINTABLE.fullmatch(code) else f"status {status}"
    if _PRINTABLE.fullmatch(request):
        answer += f", request {request}"
    reason = REASONS.get(code.removesuffix("Exception"))
    if reason is None and status == 429:
        reason = THROTTLING
    elif reason is None and status >= 500:
        reason = FAULTY
    elif reason is None:
        reason = NO_KMS if code.isdigit() else REFUSED  # botocore takes the status where it finds no code
    return reason, {"answer": answer}, reason in _PASSING


def _causes(error: BaseException | None) -> list[BaseException]:
    """Return an error with all its causes."""
    found: list[BaseException] = []
    left = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            left += [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
    return found


def _why(error: Exception) -> str:
    causes = _causes(error)
    if any(isinstance(one, socket.gaierror) for one in causes):
        return "its name is unknown"
    if any(type(one).__name__ in ("BadStatusLine", "LineTooLong") for one in causes):  # of http.client
        return "the server there does not speak HTTP"
    for one in causes:
        if isinstance(one, OSError) and one.errno:
            return os.strerror(one.errno).lower()
    return "the connection was closed"
