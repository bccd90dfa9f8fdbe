"""The options of a run as keyword arguments. Generated from RunRequest by scripts/run_keywords.py."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class RunKeywords(TypedDict, total=False):
    """What `Client.run` takes beside what is to run. None is as good as not given."""

    project: str | None
    """The project (else SEALRUN_PROJECT, else .sealrun.toml)."""

    environment: str | None
    """The environment (else SEALRUN_ENV, else "default")."""

    secrets: Sequence[str] | None
    """Give this secret only (else all of them)."""

    variables: Mapping[str, str] | None
    """A plain variable for this run, never masked."""

    sources: Mapping[str, str] | None
    """A parameter of the function that is a data source."""

    catalogs: Mapping[str, str] | None
    """A parameter of the function that is a catalog."""

    connections: bool | None
    """Give all sources and catalogs of the environment, or those alone that parameters are."""

    timeout: float | None
    """End the run after so many seconds."""

    python: str | None
    """A version, an interpreter or a virtual environment (else .venv, else PATH)."""

    packages: Sequence[str] | None
    """A package for the run's own Python environment."""

    requirements_file: str | None
    """Build the run's own Python environment from this file."""

    setup_secrets: Sequence[str] | None
    """Give this secret to the installer."""

    bundle: bool | None
    """Upload the source root, or run from it on machines that see it."""

    retries: int | None
    """Try again so often after a failure."""

    retry_on: Sequence[str] | None
    """Try again after this reason only."""

    queue_timeout: float | None
    """Give up after so many seconds in which no worker can take it."""

    output_limit: Literal["end", "drop"] | None
    """End a run that prints more than its project keeps, or drop what is beyond."""

    memory: int | str | None
    """At most so much memory, as in 512M or 2G (else what its project says)."""

    cpus: float | str | None
    """At most so many CPUs, as in 1.5 (else what its project says)."""

    pids: int | str | None
    """At most so many processes and threads at once (else what its project says)."""

    disk: int | str | None
    """At most so much written in its own folders at once (else what its project says)."""

    network: Literal["full", "none"] | None
    """The network that it has, not more than its project's (else that)."""

    collect: Sequence[str] | None
    """Keep these of the files that it writes beside its source: *.db anywhere, ./*.db at the top."""

    idempotency_key: str | None
    """Submitting again with this key returns the first run of the project."""
