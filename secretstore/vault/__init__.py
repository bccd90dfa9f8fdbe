"""The vault: projects, environments, secrets and variables. It can only seal.

Nothing here takes a key service or opens a value; stored values come out through `secretstore.reveal` only.
"""

from secretstore.audit import Actor
from secretstore.vault.connections import (
    create_connection,
    create_connections,
    delete_connection,
    get_connection,
    list_connections,
    record_test,
)
from secretstore.vault.entries import NewSecret, NewVariable, check
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
    destroy_unused_keys,
    keys_to_rewrap,
    list_keys,
    replace_wrapping,
    trust_key,
)
from secretstore.vault.lookup import Birth, RefuseIf
from secretstore.vault.projects import create_project, delete_project, get_project, list_projects, set_project
from secretstore.vault.references import connection_plan, dangling, require_unnamed
from secretstore.vault.rotation import (
    Rotation,
    add_resealed,
    add_successor,
    discard_successor,
    flip,
    sealing_key,
    unresealed,
)
from secretstore.vault.sealed import sealed_bundle
from secretstore.vault.secrets import (
    SecretSummary,
    delete_secret,
    due_secrets,
    history,
    list_secrets,
    require_secrets,
    rollback,
    secret_id,
    secrets_among,
    secrets_like,
    summarize_secrets,
)
from secretstore.vault.storing import put, set_variable, store
from secretstore.vault.variables import delete_variable, list_variables, plain_variables
from secretstore.views import (
    ConnectionView,
    Dangling,
    DueView,
    EnvironmentView,
    KeyPairView,
    Missing,
    ProjectView,
    SecretView,
    VariableView,
    VersionView,
)

__all__ = [
    "Actor",
    "Birth",
    "ConnectionView",
    "Dangling",
    "DueView",
    "EnvironmentView",
    "InUse",
    "KeyPairView",
    "Missing",
    "NewSecret",
    "NewVariable",
    "PlacedKey",
    "ProjectView",
    "RefuseIf",
    "Rotation",
    "SecretSummary",
    "SecretView",
    "VariableView",
    "VersionView",
    "add_resealed",
    "add_successor",
    "check",
    "connection_plan",
    "create_connection",
    "create_connections",
    "create_environment",
    "create_project",
    "dangling",
    "delete_connection",
    "delete_environment",
    "delete_project",
    "delete_secret",
    "delete_variable",
    "destroy_unused_keys",
    "discard_successor",
    "due_secrets",
    "flip",
    "get_connection",
    "get_environment",
    "get_project",
    "history",
    "keys_to_rewrap",
    "list_connections",
    "list_environments",
    "list_keys",
    "list_projects",
    "list_secrets",
    "list_variables",
    "plain_variables",
    "put",
    "record_test",
    "replace_wrapping",
    "require_secrets",
    "require_unnamed",
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
    "summarize_secrets",
    "trust_key",
    "unresealed",
]
