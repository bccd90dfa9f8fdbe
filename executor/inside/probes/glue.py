# /// script
# dependencies = ["boto3>=1.34"]
# ///
"""Test a Glue data catalog without changing anything in it."""

import time

import s3


def probe(connection):
    """Ask for at most one database, with PyIceberg's properties."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    told = connection.properties
    began = time.monotonic()
    try:
        client = boto3.Session(
            aws_access_key_id=told.get("glue.access-key-id"),
            aws_secret_access_key=told.get("glue.secret-access-key"),
            aws_session_token=told.get("glue.session-token"),
            region_name=told.get("glue.region"),
        ).client(
            "glue",
            endpoint_url=told.get("glue.endpoint"),
            config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2}),
        )
        client.get_databases(MaxResults=1, **({"CatalogId": told["glue.id"]} if "glue.id" in told else {}))
    except ClientError as error:
        return s3.failed(began, sentence(error))
    except NoCredentialsError:
        return s3.failed(began, "it has no keys: name a secret that has them, or a source (NoCredentialsError)")
    except BotoCoreError as error:
        return s3.failed(began, s3.unreached(connection, error))
    return {"ok": True, "seconds": time.monotonic() - began, "said": "asked for its databases"}


def sentence(error):
    """Explain the service's answer by its code."""
    code = str(error.response.get("Error", {}).get("Code", "?"))
    if code in ("UnrecognizedClientException", "InvalidSignatureException", *s3.REFUSED):
        return f"the credentials are refused ({code})"
    if code == "ExpiredTokenException":
        return f"the session token has expired ({code})"
    if code == "AccessDeniedException":
        return f"the credentials may not list databases ({code})"
    return f"the service answered {code}"
