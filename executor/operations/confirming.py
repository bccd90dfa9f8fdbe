"""Names by which installers choose packages: they are stored once that is confirmed."""

from executor.errors import NeedsYes
from secretstore.naming import why_asked


def question(name: str) -> str | None:
    """Return the act to confirm before something is stored under a name; None for names that need no word."""
    why = why_asked(name)
    return f"set {name} ({why})" if why else None


def require_confirmed(name: str, confirmed: bool) -> None:
    """Refuse to store under a name that has to be confirmed.

    Raises:
        NeedsYes: it was not.
    """
    if not confirmed and (act := question(name)):
        raise NeedsYes(
            "{act}: this has to be confirmed",
            act=act,
            hint="add --yes; whoever is given it will run what is fetched so",
        )
