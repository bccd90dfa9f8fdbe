"""Which project or environment an operation is about."""

from pydantic import BaseModel, ConfigDict


class Input(BaseModel):
    """The base of what goes into an operation: an unknown field is refused, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class InProject(Input):
    """What is in a project: in one environment of it, or in all."""

    project: str
    environment: str | None = None


class InEnvironment(Input):
    """What is in an environment."""

    project: str
    environment: str


class Named(InEnvironment):
    """One thing of an environment, by its name."""

    name: str
