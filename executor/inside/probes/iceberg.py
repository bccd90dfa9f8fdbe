# /// script
# dependencies = ["pyiceberg>=0.9"]
# ///
"""Test an Iceberg REST catalog without changing anything in it."""

import time


def probe(connection):
    """List its namespaces."""
    began = time.monotonic()
    try:
        found = len(connection.load().list_namespaces())
    except Exception as error:  # noqa: BLE001  # PyIceberg raises its own, requests' and pydantic's
        return {"ok": False, "seconds": time.monotonic() - began, "said": sentence(connection, error)}
    said = f"it has {found} {'namespace' if found == 1 else 'namespaces'}"
    return {"ok": True, "seconds": time.monotonic() - began, "said": said}


def sentence(connection, error):
    """Explain an error by its type."""
    kind = type(error).__name__
    if kind in ("OAuthError", "UnauthorizedError", "AuthorizationExpiredError"):
        return f"the credentials are refused, or have expired ({kind})"
    if kind == "ForbiddenError":
        return f"the credentials may not list its namespaces ({kind})"
    if kind in ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "SSLError"):
        return f"{connection.endpoint} cannot be reached ({kind})"
    if kind in ("NoSuchWarehouseError", "NotFoundError", "NoSuchNamespaceError"):
        return f"{connection.endpoint} does not know the warehouse {connection.warehouse} ({kind})"
    return f"{connection.endpoint} did not answer as an Iceberg REST catalog does ({kind})"
