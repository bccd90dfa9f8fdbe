"""Rows as views."""

from secretstore.models import Secret, Variable
from secretstore.views import SecretView, VariableView


def secret_view(secret: Secret, environment: str) -> SecretView:
    """Return what is shown of a secret, with its environment's name."""
    return SecretView(
        id=secret.id,
        name=secret.name,
        environment=environment,
        version=secret.current_version,
        maskable=secret.maskable,
        created_at=secret.created_at,
        created_by=secret.created_by,
        updated_at=secret.updated_at,
        updated_by=secret.updated_by,
        expires_at=secret.expires_at,
        as_file=secret.as_file,
    )


def variable_view(variable: Variable, environment: str) -> VariableView:
    """Return what is shown of a variable, with its environment's name."""
    return VariableView(
        id=variable.id,
        name=variable.name,
        environment=environment,
        value=variable.value,
        created_at=variable.created_at,
        created_by=variable.created_by,
        updated_at=variable.updated_at,
        updated_by=variable.updated_by,
    )
