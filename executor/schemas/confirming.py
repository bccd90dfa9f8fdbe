"""Names by which installers choose packages: something is stored under one once that is confirmed."""

from executor.errors import NeedsYes
from executor.schemas.places import InEnvironments
from secretstore.naming import why_asked


class Naming(InEnvironments):
    """Something to store under a name, in one environment or in several at once."""

    name: str
    confirmed: bool = False
    """Whether whoever asks knows that installers act on the name, where they do."""

    def require_confirmed(self) -> None:
        """Refuse a name that has to be confirmed.

        Raises:
            NeedsYes: it was not.
        """
        require_confirmed(self.name, self.confirmed)


def require_confirmed(name: str, confirmed: bool) -> None:
    """Refuse a name that has to be confirmed and was not.

    Raises:
        NeedsYes: it was not.
    """
    if not confirmed and (act := question(name)):
        hint = "add --yes: runs execute what is fetched so"
        raise NeedsYes("{act}: this has to be confirmed", act=act, hint=hint)


def question(name: str) -> str | None:
    """Return the act to confirm before something is stored under a name; None for names that need no word."""
    why = why_asked(name)
    return f"set {name} ({why})" if why else None
