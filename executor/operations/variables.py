"""Variables: plain configuration, shown openly and never masked."""

from collections.abc import Sequence

from executor.operations.deployment import Deployment
from executor.schemas.places import InProject, Named
from executor.schemas.variables import NewVariable
from secretstore import vault
from secretstore.audit import Actor
from secretstore.naming import check_variable_name
from secretstore.views import VariableView


def set_(at: Deployment, who: Actor, asked: NewVariable) -> Sequence[VariableView]:
    """Set a variable in each of the environments, or in none.

    Raises:
        NameRefused, ValueRefused: it cannot be a variable.
        UnknownProject, UnknownEnvironment: there is no such place, and none was to be made.
    """
    check_variable_name(asked.name)
    entries = [vault.NewVariable(name, asked.name, asked.value) for name in asked.environments]
    stored = vault.store(at.db, asked.project, entries, actor=who, pins=at.pins)
    return [view for view in stored if isinstance(view, VariableView)]


def list_(at: Deployment, who: Actor, asked: InProject) -> Sequence[VariableView]:
    """The variables of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.list_variables(at.db, asked.project, asked.environment)


def delete(at: Deployment, who: Actor, asked: Named) -> None:
    """Delete a variable.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownVariable: there is none of this name.
    """
    vault.delete_variable(at.db, asked.project, asked.environment, asked.name, actor=who)
