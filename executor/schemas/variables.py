"""Variables: plain configuration."""

from executor.schemas.places import Input


class NewVariable(Input):
    """A variable to set, in one environment or in several at once.

    With `create_environments`, an environment that the project has not got is made.
    """

    project: str
    environments: tuple[str, ...]
    name: str
    value: str
    create_environments: bool = False
