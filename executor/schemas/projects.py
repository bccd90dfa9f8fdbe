"""Projects and their environments."""

from datetime import datetime
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from executor.schemas.places import Deleted, Input, Output
from secretstore.views import EnvironmentView, ProjectView


class NewProject(Input):
    """A project to make, with further environments beside `default`."""

    name: str
    environments: tuple[str, ...] = ()


class ProjectNamed(Input):
    """A project."""

    name: str


class ProjectDeletion(ProjectNamed):
    """A project to delete; `now` is to destroy it at once."""

    now: bool = False


class DeletedProject(Deleted):
    """A project that was deleted; `destroy_at` is until when it can be brought back, None where it is gone."""

    destroy_at: datetime | None


class DeletedEnvironment(Deleted):
    """An environment that was deleted, or is by a worker: `job` is the job's id then, and None where it is gone."""

    job: str | None = None


class ProjectChange(Input):
    """What the runs of a project, or of one environment of it, ask for; what is None stays as it is.

    `max_running` 0 takes the limit away. The most that a run may have of `memory`, `cpus`, `pids` and `disk`, in bytes
    where it is one of bytes, is as its worker has it where it is 0. `output_limit` is how many bytes of an attempt's
    stdout and stderr are kept.
    A `protected` project cannot be deleted. `queue` is the environment's, and goes with it alone.
    """

    name: str
    sandbox_min: Literal["process", "landlock", "namespace"] | None = None
    network: Literal["full", "none"] | None = None
    memory: int | None = Field(default=None, ge=0)
    cpus: float | None = Field(default=None, ge=0)
    pids: int | None = Field(default=None, ge=0)
    disk: int | None = Field(default=None, ge=0)
    max_running: int | None = Field(default=None, ge=0, le=100_000)
    output_limit: int | None = Field(default=None, ge=1 << 20, le=1 << 40)
    protected: bool | None = None
    environment: str | None = None
    queue: str | None = None


class CreatedEnvironment(Output):
    """An environment, and whether it was made now or was there."""

    environment: EnvironmentView
    created: bool


class CreatedProject(Output):
    """A project, and what of it was made now; `key_file` is the local key file that was made for it."""

    project: ProjectView
    created: bool
    environments: tuple[CreatedEnvironment, ...]
    key_file: str | None = None


class ChangedProject(Output):
    """A project as it is after a change, and the environment whose queue was changed."""

    project: ProjectView
    environment: EnvironmentView | None = None


@dataclass(frozen=True)
class ListedProject(ProjectView):
    """A project with the names of its environments."""

    environments: tuple[str, ...] = ()
