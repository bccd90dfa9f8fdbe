"""The cookies of a browser: its session, and what a log-in is bound to before there is one."""

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response

SESSION = "__Host-sealrun"
"""The browser's session: for this host alone, and not for scripts."""
BEFORE = "__Host-sealrun-before"
"""What a log-in by a provider is bound to, for as long as it takes."""


def read(headers: Headers, name: str) -> str:
    """A cookie's value; empty where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def give(answer: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie; without `seconds` it ends with the browser, and its row before that."""
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def take_away(answer: Response, name: str) -> None:
    """End a cookie."""
    answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
