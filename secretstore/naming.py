"""The names that secrets, variables, projects, environments and connections may have; checks raise `NameRefused`."""

import re
from collections import Counter
from collections.abc import Collection

from secretstore.errors import NameRefused
from secretstore.refused_names import REFUSED_NAMES

RESERVED_PREFIX = "SEALRUN_"

_KEY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENVIRONMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CONNECTION_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAMED_LIKE_A_SECRET = re.compile(
    r"pass|pwd|secret|token|key|credential|private|(?:^|[_.-])(?:pin|auth)(?:$|[_.-])", re.IGNORECASE
)
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_secret_name(name: str) -> None:
    """Refuse a name that a secret cannot have.

    Raises:
        NameRefused: it has characters other than letters, digits, `-`, `_` and `.`, is reserved for sealrun, or a
            loader, an interpreter or a shell would act on it.
    """
    if why := _refusal(name):
        raise NameRefused(name=_shown(name), why=why)


check_variable_name = check_secret_name  # one rule for both: a run gets both in its environment


def check_project_name(name: str) -> None:
    """Refuse a project name that is not 1 to 63 of `a-z`, `0-9` and `-`, a letter or digit first."""
    _check(_PROJECT_NAME, name, "a project name has 1 to 63 lower-case letters, digits and -, a letter or digit first")


def check_environment_name(name: str) -> None:
    """Refuse an environment name that is not 1 to 63 of `a-z`, `0-9`, `-` and `_`, a letter or digit first."""
    why = "an environment name has 1 to 63 lower-case letters, digits, - and _, a letter or digit first"
    _check(_ENVIRONMENT_NAME, name, why)


def check_queue_name(name: str) -> None:
    """Refuse a queue name that is not 1 to 63 letters, digits, `.`, `-` and `_`, a letter or digit first."""
    _check(_QUEUE_NAME, name, "a queue name has 1 to 63 letters, digits, ., - and _, a letter or digit first")


def check_connection_name(name: str) -> None:
    """Refuse a name of a data source or catalog that is not 1 to 63 of `a-z`, `0-9` and `-`, a letter first."""
    why = "the name of a source or catalog has 1 to 63 lower-case letters, digits and -, a letter first"
    _check(_CONNECTION_NAME, name, why)


def is_connection_name(text: str) -> bool:
    """Whether a data source or catalog could have this name."""
    return _CONNECTION_NAME.fullmatch(text) is not None


def has_form_of_name(text: str) -> bool:
    """Whether a text could be the name of a secret or variable, refused or not; any other text is never shown."""
    return _KEY_NAME.fullmatch(text) is not None


def alias_for(name: str) -> str | None:
    """Return the upper-case underscore form of a name that shells cannot hold, as `API_KEY` for `api.key`.

    None if the name needs no alias, or the alias itself would be refused.
    """
    if _SHELL_NAME.fullmatch(name):
        return None
    alias = re.sub(r"[.-]", "_", name).upper()
    if alias[:1].isdigit():
        alias = f"_{alias}"
    return None if _refusal(alias) else alias


def aliases(names: Collection[str]) -> dict[str, str]:
    """Return the aliases. Two names that would share one get none, nor does a name whose alias is another name."""
    wanted = {name: alias for name in names if (alias := alias_for(name))}
    shared = Counter(wanted.values())
    return {name: alias for name, alias in wanted.items() if shared[alias] == 1 and alias not in names}


def shell_note(name: str) -> str | None:
    """Return a warning for names that some shells drop, None for all others."""
    if _SHELL_NAME.fullmatch(name):
        return None
    alias = alias_for(name)
    also = f"; the run also gets it as {alias}" if alias else ""
    return f'"{name}" cannot be a shell variable: Debian\'s /bin/sh drops it{also}'


def is_named_like_a_secret(name: str) -> bool:
    """Whether a name suggests a secret: its value is then not shown unasked."""
    return _NAMED_LIKE_A_SECRET.search(name) is not None


def _check(form: re.Pattern[str], name: str, why: str) -> None:
    if not form.fullmatch(name):
        raise NameRefused(name=_shown(name), why=why)


def _refusal(name: str) -> str | None:
    if not _KEY_NAME.fullmatch(name):
        return "a name has 1 to 255 letters, digits, -, _ and ."
    if name.startswith(RESERVED_PREFIX):
        return f"names that begin with {RESERVED_PREFIX} are reserved for sealrun"
    return REFUSED_NAMES.get(name)


def _shown(name: str) -> str:
    """Cut short a text that cannot be a name: it may be a value pasted by mistake."""
    return name if _KEY_NAME.fullmatch(name) else f"{ascii(name[:16])[1:-1]}{'…' if len(name) > 16 else ''}"
