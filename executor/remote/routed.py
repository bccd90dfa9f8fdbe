"""An operation by the table of routes: its input into path, query or body, and the answer into what it returns."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_origin
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from executor.api.routes import ROUTES, Route, taken_and_returned
from executor.errors import OperatorsOnly, RequestUnclear, ServerUnusable, UnknownRun
from executor.schemas.places import Input
from secretstore.errors import UnknownProject

if TYPE_CHECKING:
    from executor.remote.server import Server

KEY = "idempotency-key"
"""The header of a request that is carried out once, however often it is sent."""

_MOST = 1_000  # items of a page


def ask(server: "Server", name: str, asked: Input | None = None, **more: Any) -> Any:
    """Have an operation carried out; what it is told of meanwhile (`tell`) is told by its answer.

    Raises:
        OperatorsOnly: no route leads to it.
        SealrunError: as of `Server.request`.
    """
    route = route_for(name, asked)
    if route is None:
        raise OperatorsOnly(what=f"`{name.rstrip('_')}`", server=server.origin)
    headers, sealed = more.pop("headers", None), more.pop("sealed", None)
    more.pop("tell", None)
    assert not more, f"{name} is asked for with what no request says: {sorted(more)}"
    path, rest = placed(route, asked, sealed)
    _, returned = taken_and_returned(name)
    in_query = route.method in ("GET", "DELETE")
    if not _is_many(returned):
        answer = server.request(
            route.method, path, query=_query(rest) if in_query else None, sent=None if in_query else rest,
            headers=headers, again=route.method == "GET" or bool(headers and KEY in headers),
        )  # fmt: skip
        return None if returned is type(None) else parsed(server.origin, returned, answer)
    return _all_pages(server, route, path, _query(rest), returned)


def carrying_out(name: str) -> Callable[..., Any]:
    """What asks for this operation."""

    def carry_out(server: "Server", *asked: Any, **more: Any) -> Any:
        return ask(server, name, *asked, **more)

    return carry_out


def route_for(name: str, asked: Input | None) -> Route | None:
    """The route of an operation; None where there is none."""
    for route in ROUTES:
        if route.operation == name and all(
            getattr(asked, field, None) == value for field, value in route.fixed.items()
        ):
            return route
    return None


def placed(route: Route, asked: Input | None, said: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """The path of what is asked for, and what of it is left to say; `said` is that as JSON, where it is known."""
    if asked is None:
        return route.path, {}
    path, in_path = route.path, set(route.fixed)
    for field in type(asked).model_fields:
        for shape, safe in ((f"{{{field}}}", ""), (f"{{{field}:path}}", "/")):
            if shape in path:
                path = path.replace(shape, _in_path(field, str(getattr(asked, field)), safe))
                in_path.add(field)
    if said is not None:
        return path, {name: value for name, value in said.items() if name not in in_path}
    return path, {name: plain(getattr(asked, name)) for name in asked.model_fields_set - in_path}


def _in_path(field: str, text: str, safe: str) -> str:
    """A name, as a part of a path.

    Raises:
        UnknownRun, UnknownProject, RequestUnclear: nothing can have this name, and it would be another path.
    """
    parts = text.split("/") if safe else [text]
    if all(part not in ("", ".", "..") and "/" not in part for part in parts):
        return quote(text, safe=safe)
    if field == "run":
        raise UnknownRun(reference=text)
    if field == "project":
        raise UnknownProject(project=text)
    raise RequestUnclear("{text!r} is the {field} of nothing", text=text, field=field)


def plain(value: Any) -> Any:
    """A value of an input, as JSON has it. Bytes are no part of any: a secret's value goes nowhere as it is."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("a server is sent no bytes")
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in value.model_fields_set}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(member) for member in value]
    return value if isinstance(value, str | int | float | None) else to_jsonable_python(value)


def _query(rest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rest.items() if value is not None}


def _all_pages(server: "Server", route: Route, path: str, query: dict[str, Any], returned: Any) -> Any:
    items: list[Any] = []
    (of,) = get_args(returned)[:1]
    query |= {"limit": _MOST} if route.by else {}
    sent = None if route.method in ("GET", "DELETE") else query
    while True:
        asked = None if sent is not None else query
        answer = server.request(route.method, path, query=asked, sent=sent, again=route.method == "GET")
        page = parsed(server.origin, dict[str, Any], answer)
        items += parsed(server.origin, list[of], json.dumps(page.get("items")).encode())  # type: ignore[valid-type]
        if page.get("next") is None or sent is not None:
            break
        query["cursor"] = page["next"]
    return tuple(items) if get_origin(returned) is tuple else items


def _is_many(returned: Any) -> bool:
    return get_origin(returned) in (tuple, list, Sequence)


def parsed(where: str, kind: Any, answer: bytes) -> Any:
    try:
        return _adapter(kind).validate_json(answer)
    except ValidationError:
        why = "its answer has another form: it may be of another version"
        raise ServerUnusable(server=where, why=why) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
