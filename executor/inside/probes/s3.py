# /// script
# dependencies = ["boto3>=1.34"]
# ///
"""Test a bucket without changing anything in it."""

import time

REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "InvalidToken"}


def probe(connection):
    """List at most one object below the source's prefix."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    began = time.monotonic()
    try:
        limits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        client = connection.boto3_session().client("s3", config=limits)
        client.list_objects_v2(Bucket=connection.bucket, Prefix=connection.prefix or "", MaxKeys=1)
    except ClientError as error:
        return failed(began, sentence(connection, error))
    except BotoCoreError as error:
        return failed(began, unreached(connection, error))
    return {"ok": True, "seconds": time.monotonic() - began, "said": f"listed {connection.url}"}


def failed(began, said):
    return {"ok": False, "seconds": time.monotonic() - began, "said": said}


def sentence(connection, error):
    """Explain the service's answer; its codes quote nothing."""
    told = error.response.get("Error", {})
    code = str(told.get("Code", "")) or str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?"))
    if code in REFUSED:
        return f"the credentials are refused ({code})"
    if code in ("ExpiredToken", "TokenRefreshRequired", "RequestExpired"):
        return f"the session token has expired ({code})"
    if code == "NoSuchBucket":
        return f"there is no bucket {connection.bucket} ({code})"
    if code in ("AccessDenied", "AllAccessDisabled", "403"):
        return f"the credentials may not list bucket {connection.bucket} ({code})"
    if code in ("PermanentRedirect", "301", "IllegalLocationConstraintException"):
        return f"bucket {connection.bucket} is in another region than {connection.region} ({code})"
    return f"the service answered {code}"


def unreached(connection, error):
    """Explain why there was no answer."""
    where = connection.endpoint or "AWS"
    kind = type(error).__name__
    if kind in ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"):
        return f"{where} cannot be reached ({kind})"
    if kind in ("SSLError", "ProxyConnectionError"):
        return f"{where} cannot be reached ({kind}): its certificate, or a proxy on the way"
    return f"the request could not be made ({kind})"
