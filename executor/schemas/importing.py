"""Bringing in a file of names and values: what was read of it, what is asked, and what would change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import Field

from executor.schemas.places import InEnvironment, Output
from secretstore.pin import GivenPin
from secretstore.run_connection import RunConnection

Kind = Literal["secret", "variable"]
Change = Literal["new", "version", "changed", "unchanged"]


@dataclass(frozen=True)
class Pair:
    """A name, its value, and where it stands: `line 3`, or `$.NAME`."""

    name: str
    value: str = field(repr=False)
    place: str


@dataclass(frozen=True)
class Problem:
    """Why something cannot be taken, and where it stands; a name where one is meant that may be shown."""

    place: str
    why: str
    name: str | None = None
    refused_name: bool = False
    """Whether it is that no secret or variable may have this name, and nothing else."""

    def __str__(self) -> str:
        named = f"{self.place}: " if self.place else ""
        return f"{named}{self.why}"


@dataclass(frozen=True)
class Reading:
    """What was found, in the order of the file; a name may stand in it more than once."""

    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...]

    def unexpanded(self) -> list[str]:
        """The names whose values hold a `${…}`, which stands for itself and which other readers would expand."""
        return list(dict.fromkeys(pair.name for pair in self.pairs if "${" in pair.value))


class Import(InEnvironment):
    """A file's names and values, and what whoever imports has decided: names by kind, all of them, short values."""

    reading: Reading
    secrets: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    all_secret: bool = False
    allow_short: bool = False
    skip_refused: bool = False
    """Whether names that no secret may have are left out, and the rest imported."""
    pins: tuple[GivenPin, ...] = ()
    """Key pairs that must be the environment's one, beside the one that is known."""


@dataclass(frozen=True)
class KnownSecret:
    """A secret that is there: its newest version, and when the one that runs get expires."""

    last_version: int
    expires_at: datetime | None


class There(Output):
    """What an environment has: secrets by name, variables with their values, and its data sources and catalogs."""

    secrets: Mapping[str, KnownSecret]
    variables: Mapping[str, str] = Field(repr=False)
    connections: tuple[RunConnection, ...]


class PlannedEntry(Output):
    """What becomes of one name. `version` is the secret's new one; `reason` says why it is a variable.

    `value` is a variable's; None for secrets, and for what is named like one and may be one.
    """

    name: str
    kind: Kind
    change: Change
    version: int | None = None
    reason: str | None = None
    value: str | None = Field(default=None, repr=False)


class ImportPlan(Output):
    """What an import would do to one environment. With a problem it does nothing at all.

    The entries of a plan with problems are left out: what looks like a name in a broken file may be part of a value.
    `skipped` are the refused names that were to be left out, and secrets that have no value yet, each with where it
    stands and why.
    """

    project: str
    environment: str
    entries: tuple[PlannedEntry, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    skipped: tuple[Problem, ...] = ()
