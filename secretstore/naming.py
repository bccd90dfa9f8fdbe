"""The names that secrets, variables, projects, environments and connections may have; checks raise `NameRefused`."""

import re
from collections import Counter
from collections.abc import Collection

from secretstore.acting_names import Group, Rule, group_of
from secretstore.errors import NameRefused

RESERVED_PREFIX = "SEALRUN_"

_KEY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENVIRONMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CONNECTION_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SAYS_SECRET = re.compile(
    r".*(?:password|passwd|passphrase|passcode|credential|mnemonic|secret(?!ar)|conn(?:ection)?str(?:ing)?).*"
    r"|.*(?<!by)(?<!com)(?:pass|pwd)|.*(?:token|(?<!mon)(?<!don)(?<!tur)(?<!hoc)(?<!joc)(?<!hot)(?<!whis)key)s?"
    r"|pin|otp|pat|pw|dsn|salt|creds?|bearer|private"
)
"""Of a word in lower case. What is run together counts, as in PGPASSWORD and APIKEY; a MONKEY or KEYCLOAK does not."""
_CONNECTION_STRING = re.compile(r"conn(?:ection)?_str(?:ing)?", re.IGNORECASE)
_SAYS_LOGIN = "auth"
_INSTEAD = {
    Rule.NEVER: "the job's own code can set it for what it starts",
    Rule.SUBMITTER: "set it in the job's own code, or for one run with run --env: stored, it would act in everybody's",
}
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_secret_name(name: str, value: str | bytes | None = None) -> None:
    """Refuse a name that a secret cannot have; with its value where that is known, since some do no harm.

    Raises:
        NameRefused: it has characters other than letters, digits, `-`, `_` and `.`, is reserved for sealrun, or
            something would act on it, see `secretstore.acting_names`.
    """
    group = group_of(name)
    if group is not None and group.harmless is not None and (value is None or _is_harmless(group, value)):
        return
    _refuse(name, _refusal(name, group))


check_variable_name = check_secret_name  # one rule for both: a run gets both in its environment


def check_submitted_name(name: str) -> None:
    """Refuse a name that whoever submits a run cannot give it by `--env`: the code that would run is theirs anyway.

    Raises:
        NameRefused: as `check_secret_name`, but for what acts on nothing before the run's own code.
    """
    group = group_of(name)
    _refuse(name, _refusal(name, None if group is not None and group.rule is Rule.SUBMITTER else group))


def why_asked(name: str) -> str | None:
    """Return why storing under this name has to be confirmed, None where it has not; its alias counts, too."""
    for given in filter(None, (name, alias_for(name))):
        group = group_of(given)
        if group is not None and group.rule is Rule.ASKED:
            return group.reason if given == name else f"{group.reason}, as {given}"
    return None


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
    return None if _refusal(alias, group_of(alias)) else alias  # whatever its value: aliases are found by name alone


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
    """Whether a name suggests a secret: its value is then sealed, and not shown unasked."""
    return says_secret(name) or _SAYS_LOGIN in words_of(name)


def says_secret(name: str) -> bool:
    """Whether a word of a name says password, token, secret, key or the like; AUTH alone may be somebody's address."""
    return any(map(_SAYS_SECRET.fullmatch, words_of(name))) or _CONNECTION_STRING.search(name) is not None


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: `DB_HOST` and `dbHost` have two, `HOST_1` has one."""
    return [word.lower() for word in _WORD.findall(name)]


def _check(form: re.Pattern[str], name: str, why: str) -> None:
    if not form.fullmatch(name):
        raise NameRefused(name=_shown(name), why=why)


def _refusal(name: str, group: Group | None) -> tuple[str, str | None] | None:
    """Return why a name is refused, and what to do instead."""
    if not _KEY_NAME.fullmatch(name):
        return "a name has 1 to 255 letters, digits, -, _ and .", None
    if name.startswith(RESERVED_PREFIX):
        return f"names that begin with {RESERVED_PREFIX} are reserved for sealrun", None
    if group is None or group.rule is Rule.ASKED:
        return None
    why = f"{group.reason}, unless {group.unless}" if group.unless else group.reason
    return why, _INSTEAD[group.rule]


def _refuse(name: str, refusal: tuple[str, str | None] | None) -> None:
    if refusal is not None:
        raise NameRefused(name=_shown(name), why=refusal[0], hint=refusal[1])


def _is_harmless(group: Group, value: str | bytes) -> bool:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return group.harmless is not None and group.harmless.fullmatch(text) is not None


def _shown(name: str) -> str:
    """Cut short a text that cannot be a name: it may be a value pasted by mistake."""
    return name if _KEY_NAME.fullmatch(name) else f"{ascii(name[:16])[1:-1]}{'…' if len(name) > 16 else ''}"
