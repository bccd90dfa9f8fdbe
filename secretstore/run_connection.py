"""A data source or catalog on its way to a run's processes: settings that refer to secrets by name, without values.

It imports the standard library only: the opener and the supervisor have no more.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

SOURCE, CATALOG = "source", "catalog"
KEY, FIELD, OPTIONAL = "$secret", "field", "optional"


@dataclass(frozen=True)
class Reference:
    """A place in the settings that a secret fills: the whole value, or one field of its JSON."""

    place: str
    secret: str
    field: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class RunConnection:
    """A data source or catalog as a run gets it.

    `settings` may hold references at any depth: `{"$secret": NAME}`, or `{"$secret": NAME, "field": F}` for one field
    of a JSON secret, with `"optional": true` if that field may be missing. `refused` is the reason not to give it.
    """

    role: str
    name: str
    kind: str
    settings: dict[str, Any]
    refused: str | None = None

    @property
    def label(self) -> str:
        """Its name on screen: `source lake`."""
        return f"{self.role} {self.name}"

    @property
    def key(self) -> str:
        """Its key among both roles: `source/lake`."""
        return f"{self.role}/{self.name}"

    def references(self) -> list[Reference]:
        """Return every reference in its settings."""
        return list(_references(self.settings, ""))

    def secrets(self) -> set[str]:
        """Return the names of the secrets that it needs."""
        return {reference.secret for reference in self.references()}

    @property
    def assumes_role(self) -> bool:
        """Whether the run gets short-lived credentials instead of its long-lived ones."""
        return self.settings.get("assume_role") is not None

    def to_json(self) -> dict[str, Any]:
        """Return it for the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "RunConnection":
        """Read what `to_json` wrote."""
        return cls(**document)


def is_reference(value: Any) -> bool:
    """Whether a value in settings refers to a secret."""
    return isinstance(value, dict) and KEY in value


def _references(value: Any, place: str) -> Iterator[Reference]:
    if is_reference(value):
        yield Reference(place, value[KEY], value.get(FIELD), value.get(OPTIONAL, False))
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _references(member, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from _references(member, f"{place}[{number}]")
