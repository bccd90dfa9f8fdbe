"""The vault: projects, environments, secrets and variables. It can only seal.

Nothing here takes a key service or opens a value; what is stored comes out through `secretstore.reveal`
alone.
"""

from secretstore.audit import Actor
from secretstore.vault.environments import (
    create_environment,
    delete_environment,
    get_environment,
    list_environments,
)
from secretstore.vault.places import Birth
from secretstore.vault.projects import create_project, delete_project, get_project, list_projects, set_project
from secretstore.vault.sealed import sealed_bundle
from secretstore.vault.secrets import delete_secret, history, list_secrets, put
from secretstore.vault.variables import delete_variable, list_variables, plain_variables, set_variable
from secretstore.vault.views import EnvironmentView, ProjectView, SecretView, VariableView, VersionView

__all__ = [
    "Actor",
    "Birth",
    "EnvironmentView",
    "ProjectView",
    "SecretView",
    "VariableView",
    "VersionView",
    "create_environment",
    "create_project",
    "delete_environment",
    "delete_project",
    "delete_secret",
    "delete_variable",
    "get_environment",
    "get_project",
    "history",
    "list_environments",
    "list_projects",
    "list_secrets",
    "list_variables",
    "plain_variables",
    "put",
    "sealed_bundle",
    "set_project",
    "set_variable",
]
