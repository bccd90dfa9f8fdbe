"""A run that is asked for, with all that its submitter's files say of it: what is sent to where the database is.

It is JSON throughout. Whoever receives it looks up the rest, and checks again what a sender of ours has checked.
"""

from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NotRequired,  # pydantic takes those of typing from Python 3.12 on
)

from pydantic import ConfigDict, Field, model_validator, with_config
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from executor.schemas.places import InEnvironment, Input
from executor.schemas.refusal import Refused
from secretstore.errors import SealrunError

_CLOSED = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


@with_config(_CLOSED)
class TextArgument(TypedDict):
    """An argument by position, as a text to be converted."""

    text: str


@with_config(_CLOSED)
class JsonArgument(TypedDict):
    """An argument by position, as JSON."""

    json: Any


@with_config(_CLOSED)
class FileTarget(TypedDict):
    """A Python file; `typed` is its path as it was typed, where that is another text for the same file."""

    kind: Literal["file"]
    path: str
    argv: list[str]
    typed: NotRequired[str]


@with_config(_CLOSED)
class FunctionTarget(TypedDict):
    """A function of a file, its arguments by position and by name, and parameters that are sources and catalogs."""

    kind: Literal["function"]
    path: str
    function: str
    args: list[TextArgument | JsonArgument]
    text: dict[str, str]
    json: dict[str, Any]
    sources: NotRequired[dict[str, str]]
    catalogs: NotRequired[dict[str, str]]


@with_config(_CLOSED)
class NotebookTarget(TypedDict):
    """A notebook, and its parameters by name."""

    kind: Literal["notebook"]
    path: str
    text: dict[str, str]
    json: dict[str, Any]


@with_config(_CLOSED)
class ModuleTarget(TypedDict):
    """A module."""

    kind: Literal["module"]
    module: str
    argv: list[str]


@with_config(_CLOSED)
class CommandTarget(TypedDict):
    """A command; `programs` is where its program is on the submitter's machine, where workers see that."""

    kind: Literal["command"]
    argv: Annotated[list[str], Field(min_length=1)]
    programs: NotRequired[list[str]]


AnyTarget = Annotated[
    FileTarget | FunctionTarget | NotebookTarget | ModuleTarget | CommandTarget, Field(discriminator="kind")
]


Requirements = TypedDict(
    "Requirements",
    {
        "kind": Literal["list", "requirements", "pyproject.toml", "uv.lock"],
        "files": dict[str, str],
        "entry": str | None,
        "with": list[str],
        "requires_python": str | None,
        "hashed": bool,
    },
)
"""What a Python environment is built of: the texts of files, and `with`, packages beside them."""
with_config(_CLOSED)(Requirements)


@with_config(_CLOSED)
class Package(TypedDict):
    """What a source root installs as a package: see `executor.source.package`."""

    name: str | None
    version: str
    folders: list[str]
    entry_points: dict[str, dict[str, str]]


@with_config(_CLOSED)
class Narrowed(TypedDict, total=False):
    """What a run asks for itself, by the columns of a run, of what its project gives."""

    memory_bytes: int
    cpus: float
    pids: int
    disk_bytes: int
    network: Literal["full", "none"]


class Wanted(InEnvironment):
    """What a run wants of its place: names that are looked up there. None for `secrets` is all of them."""

    model_config = ConfigDict(strict=True)
    json_fields: ClassVar[frozenset[str]] = frozenset({"target", "requirements", "package"})

    secrets: Sequence[str] | None = None
    setup_secrets: Sequence[str] = ()
    sources: Mapping[str, str] = {}
    catalogs: Mapping[str, str] = {}
    connections: bool = True
    variables: Mapping[str, str] = {}
    narrowed: Narrowed = Field(default_factory=Narrowed)


class Order(Wanted):
    """A run that is asked for. Times in seconds.

    Its source is the uploaded `bundle`, or the folder `source_root` on machines of the name `host`; one of the two is
    given. What it leaves out of times and limits is as its place has it.
    """

    texts_apart: ClassVar[bool] = True

    target: AnyTarget
    source_root: str
    host: str | None = None
    bundle: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    source_commit: str | None = None
    source_dirty: bool | None = None
    python: str | None = None
    python_version: str | None = None
    requirements: Requirements | None = None
    package: Package | None = None
    timeout: float | None = None
    queue_timeout: float | None = None
    retries: int = 0
    retry_on: Sequence[str] | None = None
    output_limit: Literal["end", "drop"] = "end"
    collect: Sequence[str] = ()
    idempotency_key: str | None = None
    followed: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> "Order":
        target = self.target
        named = (target.get("sources", {}), target.get("catalogs", {})) if target["kind"] == "function" else ({}, {})
        if named != (dict(self.sources), dict(self.catalogs)):
            raise ValueError("sources and catalogs are those of its target")
        return self


class Orders(Input):
    """Several runs, submitted in one transaction: all of them or none."""

    items: Sequence[Order]


@dataclass(frozen=True)
class Staged:
    """Why a run would be refused, and where among other reasons this one stands: `Stage` in `submission.ordering`."""

    stage: int
    refused: Refused

    @classmethod
    def by(cls, refusal: tuple[int, SealrunError]) -> "Staged":
        """As it was found."""
        return cls(int(refusal[0]), Refused.by(refusal[1]))


@dataclass(frozen=True)
class LookedUp:
    """What was found of what a run wants: why it would be refused, if it would."""

    refusals: tuple[Staged, ...] = ()


class Upload(InEnvironment):
    """A source that is uploaded for runs of an environment: the SHA-256 of its bytes, in hex, and how many."""

    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Uploaded:
    """A source that is kept for the runs of who has sent it."""

    digest: str
