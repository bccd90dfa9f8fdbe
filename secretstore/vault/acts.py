"""What the audit log is told of storing: names, ids and numbers, and of some variables what they were and are."""

from secretstore.audit import Act
from secretstore.models import Secret
from secretstore.naming import is_named_like_a_secret, why_asked
from secretstore.plain_values import without_login

_TOLD = 500  # characters of a variable's value


def act_on(secret: Secret, environment: str, action: str, **more: object) -> Act:
    """Return the audit entry of an act on a secret: names, ids and numbers."""
    detail = {"secret_id": secret.id, "version": secret.current_version, **more}
    if secret.as_file:
        detail["as_file"] = True
    if why := why_asked(secret.name):
        detail["confirmed"] = why
    if secret.expires_at is not None:
        detail["expires_at"] = secret.expires_at.isoformat()
    return Act(action, f"{environment}/{secret.name}", detail)


def act_on_variable(action: str, environment: str, name: str, old: str | None, new: str | None) -> Act:
    """Return the audit entry of an act on a variable; of one that had to be confirmed with what it was and is.

    A variable is shown openly, but the audit log keeps for good what it is told: a password in it is left out.
    """
    detail: dict[str, object] = {}
    if why := why_asked(name):
        detail = {"confirmed": why}
        if not is_named_like_a_secret(name):
            told = {"old": old, "new": new}
            detail |= {key: without_login(value)[:_TOLD] for key, value in told.items() if value is not None}
    return Act(action, f"{environment}/{name}", detail)
