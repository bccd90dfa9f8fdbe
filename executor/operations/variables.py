"""Variables: plain configuration, shown openly and never masked."""

from collections.abc import Sequence

from executor.operations import environments
from executor.operations.deployment import Deployment
from executor.schemas.places import Deleted, InProject, Named
from executor.schemas.variables import NewVariable, SetVariable
from secretstore import vault
from secretstore.audit import Actor
from secretstore.naming import is_named_like_a_secret
from secretstore.plain_values import has_login, why_plain
from secretstore.views import VariableView


def set_(at: Deployment, who: Actor, asked: NewVariable) -> SetVariable:
    """Set a variable in each of the environments, or in none.

    Raises:
        NameRefused, ValueRefused: it cannot be a variable.
        NeedsYes: installers act on its name, and nobody confirmed it.
        UnknownProject, UnknownEnvironment: there is no such place, and none was to be made.
    """
    entries = [vault.NewVariable(name, asked.name, asked.value) for name in asked.environments]
    for entry in entries:
        vault.check(entry)  # before an environment is made for it
    asked.require_confirmed()
    made = environments.ensure(at, who, asked.places()) if asked.create_environments else ()
    stored = vault.store(at.db, asked.project, entries, actor=who, pins=at.pins)
    return SetVariable(
        variables=tuple(view for view in stored if isinstance(view, VariableView)),
        created_environments=made,
        notes=_notes(asked),
    )


def list_(at: Deployment, who: Actor, asked: InProject) -> Sequence[VariableView]:
    """The variables of an environment, or of all of a project's, by environment and name.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return vault.list_variables(at.db, asked.project, asked.environment)


def delete(at: Deployment, who: Actor, asked: Named) -> Deleted:
    """Delete a variable.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownVariable: there is none of this name.
    """
    vault.delete_variable(at.db, asked.project, asked.environment, asked.name, actor=who)
    return Deleted(deleted="variable", project=asked.project, environment=asked.environment, name=asked.name)


def _notes(asked: NewVariable) -> tuple[str, ...]:
    if not asked.value:
        return (f"the value of {asked.name} is empty",)
    if is_named_like_a_secret(asked.name) and why_plain(asked.name, asked.value) is None:
        return (f"{asked.name} is named like a secret, and anyone who may list sees its value",)
    if has_login(asked.value):
        return (f"{asked.name} has a URL with a password in it, and anyone who may list sees its value",)
    return ()
