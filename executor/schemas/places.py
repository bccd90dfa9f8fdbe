"""Which project or environment an operation is about, and what is said of what it has deleted."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

_DEEPEST = 100
_LARGEST = 1 << 62  # above any number of bytes, and within what both databases and their drivers count with


class Input(BaseModel):
    """The base of what goes into an operation: an unknown field is refused, and nothing changes it afterwards.

    What is refused is named by its field and not quoted: a value may stand there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    json_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that are kept as JSON, in which any text may stand."""

    texts_apart: ClassVar[bool] = False
    """Whether `submission.texts` looks at its texts, one by one, and says what is wrong with which."""

    @field_validator("*", mode="after")
    @classmethod
    def _is_storable(cls, value: Any, field: ValidationInfo) -> Any:
        look = _is_json if field.field_name in cls.json_fields else _fits
        fits = look(value, cls.texts_apart)
        if not fits:
            raise PydanticCustomError("not_storable", "this is no text, number or moment that a database holds")
        return value


def _fits(value: Any, any_text: bool) -> bool:
    """Whether a database holds this: no NUL in a text, no number without end, no moment beyond the calendar in UTC."""
    match value:
        case str():
            return any_text or "\0" not in value
        case float():
            return isfinite(value) and abs(value) < _LARGEST
        case int():
            return abs(value) < _LARGEST
        case datetime():
            return _is_moment(value)
        case Mapping():
            return all(_fits(name, any_text) and _fits(member, any_text) for name, member in value.items())
        case Collection() if isinstance(value, list | tuple | set | frozenset):
            return all(_fits(member, any_text) for member in value)
        case _:
            return True


def _is_json(value: Any, any_text: bool, depth: int = 0) -> bool:
    """Whether this can be kept as JSON: texts that are Unicode, and nothing that is nested without end."""
    if isinstance(value, str):
        return any_text or value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, Mapping | list | tuple) and depth == _DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(_is_json(name, any_text) and _is_json(member, any_text, depth + 1) for name, member in value.items())
    return not isinstance(value, list | tuple) or all(_is_json(member, any_text, depth + 1) for member in value)


def _is_moment(value: datetime) -> bool:
    try:
        return value.tzinfo is not None and value.astimezone(UTC) is not None
    except (OverflowError, ValueError):
        return False


class Output(BaseModel):
    """The base of what an operation puts together from several views."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class InProject(Input):
    """What is in a project: in one environment of it, or in all."""

    project: str
    environment: str | None = None


class InEnvironment(Input):
    """What is in an environment."""

    project: str
    environment: str


class InEnvironments(Input):
    """Several environments of a project."""

    project: str
    environments: tuple[str, ...]

    def places(self) -> "InEnvironments":
        """The project and the environments alone."""
        return InEnvironments(project=self.project, environments=self.environments)


class Named(InEnvironment):
    """One thing of an environment, by its name."""

    name: str


class Deleted(Output):
    """What was deleted, and what that means for what is left."""

    deleted: Literal["project", "environment", "secret", "variable", "source", "catalog"]
    project: str
    environment: str | None = None
    name: str
    notes: tuple[str, ...] = ()
