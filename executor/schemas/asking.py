"""From what a caller gave to an operation's input; what does not fit is told by name and type, never by value."""

from typing import Any, TypeVar

from pydantic import ValidationError

from executor.errors import RequestUnclear
from executor.schemas.places import Input

T = TypeVar("T", bound=Input)

_FITS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number of seconds",  # nothing else that is asked for is a fraction
    "bool_type": "True or False",
    "sequence_str": "a list of words",
    "is_instance_of": "a list of words",
    "dict_type": "a mapping of names to texts",
}
"""What should have been there, by pydantic's word for what is wrong."""

_NUMBERS = ("int", "float")
_BYTES = "a whole number of bytes, or a text as '2G'"
_EITHER = {
    "memory": _BYTES,
    "disk": _BYTES,
    "pids": "a whole number, or a text as '256'",
    "cpus": "a number, or a text as '1.5'",
}
"""What may be a number or a text."""


def asked(kind: type[T], /, **given: Any) -> T:
    """The input of an operation.

    Raises:
        RequestUnclear: a field is unknown, missing, or of another type.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
    if not first["loc"]:  # of several fields together: a sentence of our own
        raise RequestUnclear("{why}", why=first["msg"].removeprefix("Value error, ")) from None
    name, *within = map(str, first["loc"])
    if first["type"] == "extra_forbidden":
        raise RequestUnclear("there is no option {name}", name=name) from None
    if first["type"] == "missing":
        raise RequestUnclear("{name} is missing", name=name) from None
    if first["type"] == "not_storable":
        message = (
            "{name} holds what cannot be stored: a NUL or half a character, a number that is too large, "
            "a time that is none in UTC, or what is nested without end"
        )
        raise RequestUnclear(message, name=name) from None
    fits, of = _FITS.get(first["type"], "of another form"), type(first["input"]).__name__
    if first["type"] == "literal_error":  # the words that there are, and no value
        raise RequestUnclear("{name} is {fits}", name=name, fits=first["ctx"]["expected"].replace("'", "")) from None
    if not within and first["type"] == "sequence_str":
        message = "{name} is a list of words, and this is one word: write {name}=[…]"
        raise RequestUnclear(message, name=name) from None
    if within and within[0] in _NUMBERS:  # of what may be a number or a text, no matter which was tried first
        within, fits = [], _EITHER.get(name, "a number or a text")
    if within and isinstance(first["loc"][1], int):
        raise RequestUnclear("{name}[{place}] is not {fits}", name=name, place=within[0], fits=fits) from None
    if within:
        raise RequestUnclear("in {name}, {member} is not {fits}", name=name, member=within[0], fits=fits) from None
    raise RequestUnclear(
        "{name} is {fits}, and this is of the type {of}", name=name, fits=fits, of=of
    ) from None  # pydantic's own error quotes what was given
