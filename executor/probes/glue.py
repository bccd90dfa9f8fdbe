# /// script
# dependencies = ["pyiceberg[glue]>=0.9"]
# ///
"""One look into a Glue data catalog, which changes nothing in it."""

import time

import s3


def probe(connection):
    """Ask for its databases."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    began = time.monotonic()
    try:
        found = len(connection.load().list_namespaces())
    except ClientError as error:
        return s3.failed(began, sentence(error))
    except NoCredentialsError:
        return s3.failed(began, "it has no keys: name a secret with them, or a source that does (NoCredentialsError)")
    except BotoCoreError as error:
        return s3.failed(began, s3.unreached(connection, error))
    said = f"it has {found} {'database' if found == 1 else 'databases'}"
    return {"ok": True, "seconds": time.monotonic() - began, "said": said}


def sentence(error):
    """What the service answered, by its code."""
    code = str(error.response.get("Error", {}).get("Code", "?"))
    if code in ("UnrecognizedClientException", "InvalidSignatureException", *s3.REFUSED):
        return f"the credentials are refused ({code})"
    if code == "ExpiredTokenException":
        return f"the session token has expired ({code})"
    if code == "AccessDeniedException":
        return f"the credentials may not list databases ({code})"
    return f"the service answered {code}"
