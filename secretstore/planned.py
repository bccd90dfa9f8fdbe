"""What travels of data sources and catalogs to a run's processes: settings with secrets by name, and no value.

It imports the standard library alone: the opener and the supervisor have no more.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

SOURCE, CATALOG = "source", "catalog"
KEY, FIELD, OPTIONAL = "$secret", "field", "optional"


@dataclass(frozen=True)
class Reference:
    """A place in the settings that a secret fills in: the whole value, or one field of its JSON."""

    place: str
    secret: str
    field: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Planned:
    """A data source or catalog as a run is given it.

    In `settings`, at any depth, stands `{"$secret": NAME}`, or `{"$secret": NAME, "field": F}` for one field of a JSON
    secret, with `"optional": true` where that field may be missing. `refused` says why it cannot be given at all.
    """

    role: str
    name: str
    kind: str
    settings: dict[str, Any]
    refused: str | None = None

    @property
    def label(self) -> str:
        """As it is called on screen: `source lake`."""
        return f"{self.role} {self.name}"

    @property
    def key(self) -> str:
        """What it is found by among both roles: `source/lake`."""
        return f"{self.role}/{self.name}"

    def references(self) -> list[Reference]:
        """Every reference in its settings."""
        return list(_references(self.settings, ""))

    def secrets(self) -> set[str]:
        """The names of the secrets that it needs."""
        return {reference.secret for reference in self.references()}

    @property
    def assumes_role(self) -> bool:
        """Whether the run gets short-lived credentials in the place of its long-lived ones."""
        return self.settings.get("assume_role") is not None

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Planned":
        """From the wire."""
        return cls(**document)


def is_reference(value: Any) -> bool:
    """Whether a value in settings stands for a secret's."""
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
