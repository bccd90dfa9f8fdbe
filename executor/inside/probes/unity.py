"""Test a Unity Catalog without changing anything in it."""

import http.client
import json
import time
import urllib.error
import urllib.request


def probe(connection):
    """List at most one catalog through the open API."""
    began = time.monotonic()
    address = f"{connection.endpoint.rstrip('/')}/api/2.1/unity-catalog/catalogs?max_results=1"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {connection.token}"})
    try:
        with urllib.request.build_opener(Here).open(request, timeout=10) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        told = {401: "the token is refused, or has expired", 403: "the token may not list catalogs"}
        said = told.get(error.code, f"{connection.endpoint} does not answer as a Unity Catalog does")
        return failed(began, f"{said} (HTTP {error.code})")
    except OSError as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or type(reason).__name__
        return failed(began, f"{connection.endpoint} cannot be reached ({why})")
    except (ValueError, http.client.HTTPException):
        return failed(began, f"{connection.endpoint} does not answer as a Unity Catalog does (no JSON)")
    return {"ok": True, "seconds": time.monotonic() - began, "said": "listed its catalogs"}


class Here(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: urllib would send the token to whatever host an answer points at."""

    def redirect_request(self, *_):
        return None


def failed(began, said):
    return {"ok": False, "seconds": time.monotonic() - began, "said": said}
