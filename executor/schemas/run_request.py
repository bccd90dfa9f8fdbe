"""What somebody wants to run. Each option is declared here, once: name, type, how it is typed, and what it does.

The command line makes its options of these fields (`executor.cli.typed.run_options`), the Python API its keyword
arguments (`executor.schemas.run_keywords`, which is generated).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from executor.schemas.places import Input
from executor.schemas.target import Target


class Typed(NamedTuple):
    """How the command line takes an option.

    `values` stands for its value in the help. What is `explained` changes the names that a run finds, so that
    `secret explain` takes it, too.
    """

    flags: tuple[str, ...]
    values: str | None = None
    explained: bool = False
    least: int | None = None
    most: int | None = None


class RunRequest(Input):
    """What somebody wants to run, as it was typed, called or posted: nothing is looked up yet. Times in seconds."""

    model_config = ConfigDict(strict=True)

    @field_validator("*", mode="after")
    @classmethod
    def _is_storable(cls, value: Any, field: ValidationInfo) -> Any:
        """It is not sent as it is: each text and number is looked at, with a sentence of its own, where it is used."""
        return value

    target: Target
    text: Mapping[str, str] = Field(default={}, description="A function's arguments by name, as text to be converted.")
    values: Mapping[str, Any] = Field(default={}, description="A function's arguments by name, as JSON.")
    positional: Sequence[Any] = Field(default=(), description="JSON values for a function's first parameters.")
    folder: Path | None = Field(default=None, description="Where relative paths begin (else the current folder).")
    search_path: str | None = Field(default=None, description="Where an interpreter is looked for (else PATH).")

    project: Annotated[str | None, Typed(("-p", "--project"), "PROJECT", explained=True)] = Field(
        default=None, description="The project (else SEALRUN_PROJECT, else .sealrun.toml)."
    )
    environment: Annotated[str | None, Typed(("-e", "--environment"), "ENV", explained=True)] = Field(
        default=None, description='The environment (else SEALRUN_ENV, else "default").'
    )
    secrets: Annotated[Sequence[str] | None, Typed(("--secret",), "NAME", explained=True)] = Field(
        default=None, description="Give this secret only (else all of them)."
    )
    variables: Annotated[Mapping[str, str], Typed(("--env",), "K=V", explained=True)] = Field(
        default={}, description="A plain variable for this run, never masked."
    )
    sources: Annotated[Mapping[str, str], Typed(("--source",), "PARAM=NAME", explained=True)] = Field(
        default={}, description="A parameter of the function that is a data source."
    )
    catalogs: Annotated[Mapping[str, str], Typed(("--catalog",), "PARAM=NAME", explained=True)] = Field(
        default={}, description="A parameter of the function that is a catalog."
    )
    connections: Annotated[bool, Typed(("--connections/--no-connections",), explained=True)] = Field(
        default=True,
        description="Give all sources and catalogs of the environment, or those alone that parameters are.",
    )
    timeout: Annotated[float | None, Typed(("--timeout",), "TIME")] = Field(
        default=None, description="End the run after so many seconds."
    )
    python: Annotated[str | None, Typed(("--python",), "X.Y|PATH", explained=True)] = Field(
        default=None, description="A version, an interpreter or a virtual environment (else .venv, else PATH)."
    )
    packages: Annotated[Sequence[str], Typed(("--with",), "PKG")] = Field(
        default=(), description="A package for the run's own Python environment."
    )
    requirements_file: Annotated[str | None, Typed(("--requirements",), "FILE")] = Field(
        default=None, description="Build the run's own Python environment from this file."
    )
    setup_secrets: Annotated[Sequence[str], Typed(("--setup-secret",), "NAME")] = Field(
        default=(), description="Give this secret to the installer."
    )
    bundle: Annotated[bool | None, Typed(("--bundle/--no-bundle",), explained=True)] = Field(
        default=None, description="Upload the source root, or run from it on machines that see it."
    )
    retries: Annotated[int, Typed(("--retries",), "N", least=0, most=9)] = Field(
        default=0, description="Try again so often after a failure."
    )
    retry_on: Annotated[Sequence[str] | None, Typed(("--retry-on",), "REASON")] = Field(
        default=None, description="Try again after this reason only."
    )
    queue_timeout: Annotated[float | None, Typed(("--queue-timeout",), "TIME")] = Field(
        default=None, description="Give up after so many seconds in which no worker can take it."
    )
    output_limit: Annotated[Literal["end", "drop"], Typed(("--output-limit",))] = Field(
        default="end", description="End a run that prints more than its project keeps, or drop what is beyond."
    )
    memory: Annotated[int | str | None, Typed(("--memory",), "SIZE")] = Field(
        default=None, description="At most so much memory, as in 512M or 2G (else what its project says)."
    )
    cpus: Annotated[float | str | None, Typed(("--cpus",), "N")] = Field(
        default=None, description="At most so many CPUs, as in 1.5 (else what its project says)."
    )
    pids: Annotated[int | str | None, Typed(("--pids",), "N")] = Field(
        default=None, description="At most so many processes and threads at once (else what its project says)."
    )
    disk: Annotated[int | str | None, Typed(("--disk",), "SIZE")] = Field(
        default=None, description="At most so much written in its own folders at once (else what its project says)."
    )
    network: Annotated[Literal["full", "none"] | None, Typed(("--network",))] = Field(
        default=None, description="The network that it has, not more than its project's (else that)."
    )
    collect: Annotated[Sequence[str], Typed(("--collect",), "GLOB")] = Field(
        default=(),
        description="Keep these of the files that it writes beside its source: *.db anywhere, ./*.db at the top.",
    )
    idempotency_key: Annotated[str | None, Typed(("--idempotency-key",), "KEY")] = Field(
        default=None, description="Submitting again with this key returns the first run of the project."
    )


def options() -> Mapping[str, tuple[Typed, Any]]:
    """The fields that are options, each with how it is typed and with pydantic's description of it."""
    return {
        name: (typed, field)
        for name, field in RunRequest.model_fields.items()
        for typed in field.metadata
        if isinstance(typed, Typed)
    }
