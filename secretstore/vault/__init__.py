"""The vault: projects, environments, secrets and variables. It can only seal.

Nothing here takes a key service or opens a value; what is stored comes out through `secretstore.reveal`
alone.
"""

from secretstore.audit import Actor
from secretstore.vault.connections import connection_plan
from secretstore.vault.environments import (
    create_environment,
    delete_environment,
    get_environment,
    list_environments,
    set_environment,
)
from secretstore.vault.keys import (
    InUse,
    PlacedKey,
    Rotation,
    add_resealed,
    add_successor,
    destroy_unused_keys,
    discard_successor,
    flip,
    keys_to_rewrap,
    list_keys,
    replace_wrapping,
    sealing_key,
    trust_key,
    unresealed,
)
from secretstore.vault.outline import Outline, outline
from secretstore.vault.places import Birth, RefuseIf
from secretstore.vault.projects import create_project, delete_project, get_project, list_projects, set_project
from secretstore.vault.sealed import sealed_bundle
from secretstore.vault.secrets import (
    delete_secret,
    due_secrets,
    file_secrets,
    history,
    list_secrets,
    require_secrets,
    rollback,
    secret_id,
    secrets_among,
    secrets_like,
)
from secretstore.vault.storing import NewSecret, NewVariable, check, put, set_variable, store
from secretstore.vault.variables import delete_variable, list_variables, plain_variables
from secretstore.vault.views import (
    DueView,
    EnvironmentView,
    KeyPairView,
    ProjectView,
    SecretView,
    VariableView,
    VersionView,
)

__all__ = [
    "Actor",
    "Birth",
    "DueView",
    "EnvironmentView",
    "InUse",
    "KeyPairView",
    "NewSecret",
    "NewVariable",
    "Outline",
    "PlacedKey",
    "ProjectView",
    "RefuseIf",
    "Rotation",
    "SecretView",
    "VariableView",
    "VersionView",
    "add_resealed",
    "add_successor",
    "check",
    "connection_plan",
    "create_environment",
    "create_project",
    "delete_environment",
    "delete_project",
    "delete_secret",
    "delete_variable",
    "destroy_unused_keys",
    "discard_successor",
    "due_secrets",
    "file_secrets",
    "flip",
    "get_environment",
    "get_project",
    "history",
    "keys_to_rewrap",
    "list_environments",
    "list_keys",
    "list_projects",
    "list_secrets",
    "list_variables",
    "outline",
    "plain_variables",
    "put",
    "replace_wrapping",
    "require_secrets",
    "rollback",
    "sealed_bundle",
    "sealing_key",
    "secret_id",
    "secrets_among",
    "secrets_like",
    "set_environment",
    "set_project",
    "set_variable",
    "store",
    "trust_key",
    "unresealed",
]
