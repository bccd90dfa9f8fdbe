"""What a run would see, by name."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic.dataclasses import dataclass

from executor.schemas.order import Staged, Wanted
from executor.schemas.places import Input
from executor.schemas.refusal import Refused
from executor.schemas.run_request import RunRequest

NOT_ASKED_FOR = "not asked for"


class Explain(Input):
    """A run that somebody has in mind; `layers` are its plain variables by where they were typed."""

    run: RunRequest
    layers: Sequence[tuple[str, Mapping[str, str]]] = ()


class Foresee(Input):
    """The same for where the database is: what the run wants of its place, and its plain variables."""

    wanted: Wanted
    layers: Sequence[tuple[str, Mapping[str, str]]] = ()


@dataclass(frozen=True)
class Seen:
    """A name that a run would see.

    `origin` is `sealrun`, the environment, `--env-file` or `--env`; of an alias, the secret it stands for; of a
    connection, which one: `source lake`. `over` are the origins whose value of this name is not the one.
    What is a `file` is given as one: the variable is its path. `perhaps` it is there: where the secret has a field that
    it need not have.
    """

    name: str
    kind: Literal["sealrun", "variable", "secret", "alias", "connection"]
    origin: str
    over: tuple[str, ...] = ()
    version: int | None = None
    maskable: bool | None = None
    expires_at: datetime | None = None
    expired: bool = False
    alias: str | None = None
    no_alias: str | None = None
    file: str | None = None
    perhaps: bool = False


@dataclass(frozen=True)
class SeenConnection:
    """A data source or catalog of the environment, the parameters that are it, and why a run would be without it."""

    role: str
    name: str
    kind: str
    secrets: tuple[str, ...]
    assumes_role: bool
    parameters: tuple[str, ...]
    left_out: str | None

    @property
    def label(self) -> str:
        """As it is called on screen: `source lake`."""
        return f"{self.role} {self.name}"


@dataclass(frozen=True)
class Explanation:
    """Where a run would be, the names it would see, the secrets it would not be given, and what refuses it.

    `for_connections` are secrets that are opened for data sources and catalogs alone; `with_opener` those that go no
    further than the process that exchanges them for short-lived credentials. `limits` is what the project's runs may
    have at most, in words.
    """

    project: str
    environment: str
    source_root: str | None
    python: str | None
    names: tuple[Seen, ...]
    left_out: tuple[str, ...]
    for_connections: tuple[str, ...]
    with_opener: tuple[str, ...]
    connections: tuple[SeenConnection, ...]
    notes: tuple[str, ...]
    refusals: tuple[Refused, ...]
    limits: str = ""


@dataclass(frozen=True)
class Foreseen:
    """What its place says of a run: an explanation without what files say, and why what it wants would be refused."""

    explanation: Explanation
    looked_up: tuple[Staged, ...]
