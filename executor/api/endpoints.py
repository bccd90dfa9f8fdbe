"""FastAPI's endpoints, made of the table of routes: parse, admit, carry out, answer."""

import functools
import inspect
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from fastapi import APIRouter, Body, Path, Query, Request
from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_jsonable_python
from starlette.responses import Response

from executor.api import asking, once, paging
from executor.api.problems import PROBLEMS
from executor.api.routes import BY_HAND, ROUTES, Route, operation_of, taken_and_returned
from executor.operations import admission
from executor.operations.deployment import Deployment
from executor.schemas.asking import asked as asked_for
from executor.schemas.places import Input


@dataclass(frozen=True)
class Parsed:
    """Where each field of an operation's input comes from."""

    kind: type[Input] | None
    path: tuple[str, ...]
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    paged: bool

    def asked(self, route: Route, given: Mapping[str, Any]) -> Input | None:
        """The input, of what FastAPI has read.

        Raises:
            RequestUnclear: a field does not fit.
        """
        if self.kind is None:
            return None
        fields: dict[str, Any] = {**route.fixed, **{name: given[name] for name in self.path}}
        for part in (given.get("query"), given.get("body")):
            if part is not None:
                sent = part.model_fields_set & self.kind.model_fields.keys()
                fields |= {name: getattr(part, name) for name in sent}
        return asked_for(self.kind, **fields)


def router(at: Deployment) -> APIRouter:
    """Every route of the table."""
    made = APIRouter()
    for route in ROUTES:
        if route.operation not in BY_HAND:
            _add(made, route, at)
    return made


def parsed(route: Route) -> Parsed:
    """How the input of a route's operation is read from a request."""
    kind, returned = taken_and_returned(route.operation)
    in_path = tuple(part[1:-1] for part in route.path.split("/") if part.startswith("{"))
    paged = is_many(returned)
    fields = dict(kind.model_fields) if kind is not None else {}
    left = {name: field for name, field in fields.items() if name not in in_path and name not in route.fixed}
    in_query = route.method in ("GET", "DELETE")
    extra: dict[str, Any] = {}
    if paged and route.by:
        extra = {
            "limit": (int, Query(default=paging.LIMIT, ge=1, le=paging.MOST, description="Items of a page.")),
            "cursor": (
                str | None,
                Query(default=None, min_length=1, max_length=1_000, description="The `next` of the page before."),
            ),
        }
    label = "".join(part.title() for part in route.name.replace("_", ".").split("."))
    query = _model(label + "Query", left if in_query else {}, extra) if (left and in_query) or extra else None
    body = _model(label + "Body", left, {}) if left and not in_query else None
    return Parsed(kind, in_path, query, body, paged)


def is_many(returned: Any) -> bool:
    """Whether an operation returns a listing."""
    return get_origin(returned) in (tuple, list, Sequence)


def dumped(answers: TypeAdapter[Any], found: Any) -> bytes:
    """An answer as JSON. A word of a command line may be of any bytes: what is no text becomes a question mark."""
    try:
        return answers.dump_json(found)
    except PydanticSerializationError:
        return json.dumps(_as_text(answers.dump_python(found))).encode()


def _as_text(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {_as_text(name): _as_text(member) for name, member in value.items()}
        case list() | tuple():
            return [_as_text(member) for member in value]
    return to_jsonable_python(value)


def _add(to: APIRouter, route: Route, at: Deployment) -> None:
    reads, operation = parsed(route), operation_of(route.operation)
    _, returned = taken_and_returned(route.operation)

    def endpoint(request: Request, **given: Any) -> Any:
        who, asked = asking.admit(at, request, route, reads.asked(route, given))

        def act() -> Any:
            query, more = given.get("query"), {}
            limit, cursor = getattr(query, "limit", 0), getattr(query, "cursor", None)
            if route.operation in paging.IN_PARTS:
                more["part"] = paging.part(route.by, limit, cursor)
            found = operation(at, who, *(() if asked is None else (asked,)), **more)
            if not reads.paged:
                return found
            return paging.page(admission.visible(at, who, route.operation, asked, found), route.by, limit, cursor)

        if (key := request.headers.get(once.HEADER)) is not None and route.repeatable:
            return once.answered(at.db, who.principal.id, route, key, asked, lambda: dumped(answers, act()))
        found = act()
        if returned is type(None):
            return Response(status_code=204)
        return Response(dumped(answers, found), media_type="application/json")

    endpoint.__signature__ = inspect.Signature(list(_parameters(reads)))  # type: ignore[attr-defined]  # FastAPI reads it
    summary, _, rest = (inspect.getdoc(operation) or "").partition("\n")
    nothing = returned is type(None)
    model: Any = None if nothing else returned
    if reads.paged:
        model = paging.Page.__class_getitem__(get_args(returned)[0])
    answers: TypeAdapter[Any] = TypeAdapter(model)
    to.add_api_route(
        route.path,
        endpoint,
        methods=[route.method],
        name=route.name,
        operation_id=route.name,
        tags=[route.operation.partition(".")[0]],
        summary=summary,
        description=rest.partition("Raises:")[0].strip() or None,
        response_model=model,
        status_code=204 if nothing else 200,
        responses=dict(PROBLEMS),
    )


def _parameters(reads: Parsed) -> Iterator[inspect.Parameter]:
    """What FastAPI is to read of a request, by name and type."""
    one = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    yield one("request", annotation=Request)
    for name in reads.path:
        field = reads.kind.model_fields[name] if reads.kind is not None else FieldInfo()
        yield one(name, annotation=_shown(field.annotation), default=Path(description=field.description))
    if reads.query is not None:
        yield one("query", annotation=reads.query, default=Query())
    if reads.body is not None:
        yield one("body", annotation=reads.body, default=Body())


def _model(name: str, fields: Mapping[str, FieldInfo], extra: Mapping[str, Any]) -> type[BaseModel]:
    """What is left of an input in a query or a body; an unknown field is refused."""
    own = {field: (_shown(about.annotation), about) for field, about in fields.items()}
    config = ConfigDict(extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)
    made: type[BaseModel] = create_model(name, __config__=config, **{**own, **extra})
    return made


def _shown(kind: Any) -> Any:
    """The type by which a field is read."""
    if any(get_origin(one) is Collection for one in (kind, *get_args(kind))):
        return list[str] | None
    return kind
