"""The input of an operation, of what was sent: it fits its description, and a database can hold it.

What is asked for on a machine of ours has looked at its texts and numbers with sentences of its own.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeVar

from pydantic import BaseModel

from executor.errors import RequestUnclear
from executor.schemas.asking import asked
from executor.schemas.places import Input

T = TypeVar("T", bound=Input)

_DEEPEST = 100
_LARGEST = 1 << 62  # above any number of bytes, and within what both databases and their drivers count with


def sent(kind: type[T], /, **given: Any) -> T:
    """The input, of the fields that were sent.

    Raises:
        RequestUnclear: a field is unknown, missing or of another type, or holds what no database does.
    """
    found = asked(kind, **given)
    for name in _unfit(found):
        raise RequestUnclear(
            "{name} holds what cannot be stored: a NUL or half a character, a number that is too large, "
            "a time that is none in UTC, or what is nested without end",
            name=name,
        )
    return found


def _unfit(model: BaseModel) -> Iterator[str]:
    """The fields that no database holds, those of inputs within it, too."""
    as_json = model.json_fields if isinstance(model, Input) else frozenset()
    for name in type(model).model_fields:
        value = getattr(model, name)
        if not (_is_json(value) if name in as_json else _fits(value)):
            yield name


def _fits(value: Any) -> bool:
    """Whether a database holds this: no NUL in a text, no number without end, no moment beyond the calendar in UTC."""
    match value:
        case str():
            return "\0" not in value
        case float():
            return isfinite(value) and abs(value) < _LARGEST
        case int():
            return abs(value) < _LARGEST
        case datetime():
            return _is_moment(value)
        case BaseModel():
            return next(_unfit(value), None) is None
        case Mapping():
            return all(_fits(name) and _fits(member) for name, member in value.items())
        case Collection() if isinstance(value, list | tuple | set | frozenset):
            return all(map(_fits, value))
        case _ if dataclasses.is_dataclass(value):
            return all(map(_fits, vars(value).values()))
        case _:
            return True


def _is_json(value: Any, depth: int = 0) -> bool:
    """Whether this can be kept as JSON: texts that are Unicode, and nothing that is nested without end."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, Mapping | list | tuple) and depth == _DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(_is_json(name) and _is_json(member, depth + 1) for name, member in value.items())
    return not isinstance(value, list | tuple) or all(_is_json(member, depth + 1) for member in value)


def _is_moment(value: datetime) -> bool:
    try:
        return value.tzinfo is not None and value.astimezone(UTC) is not None
    except (OverflowError, ValueError):
        return False
