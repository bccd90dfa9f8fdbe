"""Variables: plain configuration."""

from executor.schemas.places import Input


class NewVariable(Input):
    """A variable to set, in one environment or in several at once."""

    project: str
    environments: tuple[str, ...]
    name: str
    value: str
