"""Variables: plain configuration."""

from executor.schemas.confirming import Naming
from executor.schemas.places import Output
from secretstore.views import VariableView


class NewVariable(Naming):
    """A variable to set, in one environment or in several at once."""

    value: str
    create_environments: bool = False
    """Whether environments that are not there are made."""


class SetVariable(Output):
    """A variable as it was set in each environment, the environments that were made for it, and what to note."""

    variables: tuple[VariableView, ...]
    created_environments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
