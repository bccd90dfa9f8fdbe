"""Variables: plain configuration."""

from executor.schemas.places import InEnvironments, Output
from secretstore.views import VariableView


class NewVariable(InEnvironments):
    """A variable to set, in one environment or in several at once."""

    name: str
    value: str
    create_environments: bool = False
    """Whether environments that are not there are made."""
    confirmed: bool = False
    """Whether whoever asks knows that installers act on the name, where they do."""


class SetVariable(Output):
    """A variable as it was set in each environment, the environments that were made for it, and what to note."""

    variables: tuple[VariableView, ...]
    created_environments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
