"""What every page has: its template, its headers, and the person whose browser asks."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from executor.api import cookies
from executor.api.middleware.identifying import require_same_origin
from executor.errors import RequestUnclear, Unauthenticated
from executor.people import sessions
from executor.people.principal import Principal
from secretstore.database import Database

FOLDER = Path(__file__).parent
_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, auto_reload=False
)
_LONGEST = 4096  # characters of a field
_FIELDS = 20

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'{also}; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def page(
    template: str, title: str, status: int = 200, refused: Exception | None = None, form_action: str = "", **more: Any
) -> Response:
    """A page. `form_action` is where else its form may lead."""
    body = _TEMPLATES.get_template(template).render(title=title, refused=refused, **more)
    also = f" {form_action}" if form_action else ""
    return HTMLResponse(body, status, {"content-security-policy": POLICY.format(also=also)})


def go(path: str, **query: str) -> Response:
    """Send the browser on with a GET."""
    return RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), 303)


async def person(request: Request, db: Database) -> Principal | None:
    """Whose browser asks; None where nobody is logged in."""
    try:
        return await run_in_threadpool(
            sessions.authenticate_session, db, cookies.read(request.headers, cookies.SESSION)
        )
    except Unauthenticated:
        return None


async def form(request: Request, origin: str) -> FormData:
    """The fields of a form that a page of this server has sent.

    Raises:
        Forbidden: another page has sent it.
        RequestUnclear: it is no form, or has fields without end.
    """
    require_same_origin(request.headers, origin)
    found = await request.form(max_fields=_FIELDS, max_files=0)
    if any(not isinstance(value, str) or len(value) > _LONGEST for value in found.values()):
        raise RequestUnclear("a field of the form is too long")
    return found


def text(fields: FormData, name: str) -> str:
    """A field of a form; empty where it is not there."""
    found = fields.get(name, "")
    return found if isinstance(found, str) else ""


def address(request: Request) -> str:
    """From where a request comes, as far as the server can know."""
    return request.client.host if request.client is not None else ""
