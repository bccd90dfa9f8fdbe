"""Which project or environment an operation is about, and what is said of what it has deleted."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict


class Input(BaseModel):
    """The base of what goes into an operation: an unknown field is refused, and nothing changes it afterwards.

    What is refused is named by its field and not quoted: a value may stand there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    json_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that are kept as JSON, in which any text may stand."""


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
