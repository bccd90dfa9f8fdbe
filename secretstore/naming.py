"""Which names secrets, variables, projects, environments and connections may have; a refusal gives its reason."""

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
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_secret_name(name: str) -> None:
    """Refuse a name that a secret cannot have.

    Raises:
        NameRefused: it has other characters than letters, digits, `-`, `_` and `.`, when it is sealrun's
            own, or when a loader, an interpreter or a shell would act on it.
    """
    _check_key_name(name)


def check_variable_name(name: str) -> None:
    """Refuse a name that a variable cannot have; the rule is that of secrets.

    Raises:
        NameRefused: as `check_secret_name`.
    """
    _check_key_name(name)


def check_project_name(name: str) -> None:
    """Refuse a project name that is not 1 to 63 of `a-z`, `0-9` and `-`, a letter or digit first.

    Raises:
        NameRefused: it is anything else.
    """
    if not _PROJECT_NAME.fullmatch(name):
        why = "a project name has 1 to 63 lower-case letters, digits and -, a letter or digit first"
        raise NameRefused(name=_shown(name), why=why)


def check_environment_name(name: str) -> None:
    """Refuse an environment name that is not 1 to 63 of `a-z`, `0-9`, `-` and `_`, a letter or digit first.

    Raises:
        NameRefused: it is anything else.
    """
    if not _ENVIRONMENT_NAME.fullmatch(name):
        why = "an environment name has 1 to 63 lower-case letters, digits, - and _, a letter or digit first"
        raise NameRefused(name=_shown(name), why=why)


def check_queue_name(name: str) -> None:
    """Refuse a queue's name that is not 1 to 63 letters, digits, `.`, `-` and `_`, a letter or digit first.

    Raises:
        NameRefused: it is anything else.
    """
    if not _QUEUE_NAME.fullmatch(name):
        why = "a queue's name has 1 to 63 letters, digits, ., - and _, a letter or digit first"
        raise NameRefused(name=_shown(name), why=why)


def check_connection_name(name: str) -> None:
    """Refuse a name of a data source or catalog that is not 1 to 63 of `a-z`, `0-9` and `-`, a letter first.

    Raises:
        NameRefused: it is anything else.
    """
    if not is_connection_name(name):
        why = "a source's or catalog's name has 1 to 63 lower-case letters, digits and -, a letter first"
        raise NameRefused(name=_shown(name), why=why)


def is_connection_name(text: str) -> bool:
    """Whether a data source or catalog could have this name."""
    return _CONNECTION_NAME.fullmatch(text) is not None


def has_form_of_name(text: str) -> bool:
    """Whether a text could be the name of a secret or variable, refused or not; what could not is never shown."""
    return _KEY_NAME.fullmatch(text) is not None


def alias_for(name: str) -> str | None:
    """Return the upper-case underscore form of a name that shells cannot hold, as `API_KEY` for `api.key`.

    None when the name needs none, or when the alias itself would be refused.
    """
    if _SHELL_NAME.fullmatch(name):
        return None
    alias = re.sub(r"[.-]", "_", name).upper()
    if alias[:1].isdigit():
        alias = f"_{alias}"
    return None if _refusal(alias) else alias


def aliases(names: Collection[str]) -> dict[str, str]:
    """Return the alias of each name that gets one.

    Two names that would share an alias get none, and neither does one whose alias is another name.
    """
    wanted = {name: alias for name in names if (alias := alias_for(name))}
    shared = Counter(wanted.values())
    return {name: alias for name, alias in wanted.items() if shared[alias] == 1 and alias not in names}


def shell_note(name: str) -> str | None:
    """Return a sentence for names that some shells drop, and None for all others."""
    if _SHELL_NAME.fullmatch(name):
        return None
    alias = alias_for(name)
    also = f"; the run also gets it as {alias}" if alias else ""
    return f'"{name}" is no name of a shell variable: Debian\'s /bin/sh drops it{also}'


def _check_key_name(name: str) -> None:
    if why := _refusal(name):
        raise NameRefused(name=_shown(name), why=why)


def _refusal(name: str) -> str | None:
    if not _KEY_NAME.fullmatch(name):
        return "a name has 1 to 255 letters, digits, -, _ and ."
    if name.startswith(RESERVED_PREFIX):
        return f"names that begin with {RESERVED_PREFIX} are sealrun's own"
    return REFUSED_NAMES.get(name)


def _shown(name: str) -> str:
    """A value pasted in the place of a name must not come back in full on a screen or in a log."""
    return name if _KEY_NAME.fullmatch(name) else f"{ascii(name[:16])[1:-1]}{'…' if len(name) > 16 else ''}"
