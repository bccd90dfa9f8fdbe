"""Names: the rule, the exact refusals with their reasons, and the aliases shells can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretstore.errors import NameRefused
from secretstore.naming import (
    alias_for,
    aliases,
    check_environment_name,
    check_project_name,
    check_secret_name,
    check_variable_name,
    is_named_like_a_secret,
    shell_note,
)

NAMES = st.text("abAB01._-", min_size=1, max_size=12)


@pytest.mark.parametrize(
    "name",
    [
        *("DATABASE_URL", "api.key", "2fa", "x", "-", "a-b", "x" * 255, "LD_ACCESS_TOKEN", "AWS_PROFILE"),
        *("AWS_SECRET_ACCESS_KEY", "PYTHON_TOKEN", "NODE_ENV", "path", "ld_preload", "sealrun_token"),
        *("SEALRUNNER", "TZ", "GIT_TOKEN"),
    ],
)
def test_ordinary_names_are_taken(name: str) -> None:
    """Names that merely look like a refused one are fine."""
    check_secret_name(name)
    check_variable_name(name)


@pytest.mark.parametrize("name", ["", "x" * 256, "a b", "a=b", "ä", "a\n", "a\0", "a/b", "A%%", "\uff11"])
def test_names_of_another_form_are_refused(name: str) -> None:
    """Letters, digits, `-`, `_` and `.`, 1 to 255 of them, in ASCII."""
    for check in (check_secret_name, check_variable_name):
        with pytest.raises(NameRefused, match="1 to 255 letters, digits"):
            check(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LD_PRELOAD", "the dynamic loader acts on it"),
        ("LD_LIBRARY_PATH", "the dynamic loader acts on it"),
        ("LD_AUDIT", "the dynamic loader acts on it"),
        ("GLIBC_TUNABLES", "the C library acts on it"),
        ("GCONV_PATH", "the C library acts on it"),
        ("HOSTALIASES", "the C library acts on it"),
        ("PYTHONPATH", "the Python interpreter acts on it"),
        ("PYTHONSTARTUP", "the Python interpreter acts on it"),
        ("BASH_ENV", "shells act on it"),
        ("IFS", "shells act on it"),
        ("PERL5OPT", "Perl acts on it"),
        ("RUBYOPT", "Ruby acts on it"),
        ("PATH", "the environment that sealrun builds"),
        ("HOME", "the environment that sealrun builds"),
        ("TMPDIR", "the environment that sealrun builds"),
        ("SEALRUN_RUN_ID", "reserved for sealrun"),
        ("SEALRUN_", "reserved for sealrun"),
    ],
)
def test_names_that_something_acts_on_are_refused_with_the_reason(name: str, why: str) -> None:
    """The error says who would act on the name."""
    for check in (check_secret_name, check_variable_name):
        with pytest.raises(NameRefused, match=why) as refusal:
            check(name)
        assert f'the name "{name}" is refused' in str(refusal.value)


def test_i10_a_value_in_the_place_of_a_name_is_cut() -> None:
    """I10: who pastes a value where the name belongs does not see all of it come back."""
    with pytest.raises(NameRefused) as refusal:
        check_secret_name("-----BEGIN KEY-----\ncanary-0123456789")
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("name", ["shop", "a", "0", "web-2", "x" * 63])
def test_project_names(name: str) -> None:
    """A project name is lower case, and starts with a letter or digit."""
    check_project_name(name)
    check_environment_name(name)


@pytest.mark.parametrize("name", ["", "Shop", "-a", "a.b", "x" * 64, "a b", "ä", "a\n", "_a"])
def test_refused_project_names(name: str) -> None:
    """Anything else is refused, for environments as well."""
    for check in (check_project_name, check_environment_name):
        with pytest.raises(NameRefused):
            check(name)


def test_only_environments_may_have_underscores() -> None:
    """`eu_west` is an environment's name and no project's."""
    check_environment_name("eu_west")
    with pytest.raises(NameRefused):
        check_project_name("eu_west")


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("api.key", "API_KEY"),
        ("api-key", "API_KEY"),
        ("2fa", "_2FA"),
        ("a.b-c", "A_B_C"),
        ("API_KEY", None),
        ("api_key", None),
        ("ld.preload", None),
        ("git.ssh-command", None),
        ("node.options", None),
        ("sealrun.run-id", None),
        (".", None),
    ],
)
def test_an_alias_is_the_upper_case_underscore_form(name: str, alias: str | None) -> None:
    """Only names shells cannot hold get one, and only one that would not be refused itself."""
    assert alias_for(name) == alias


def test_a_shared_alias_is_nobodys() -> None:
    """Two names with one alias get none, and an alias never hides another name."""
    assert aliases(["api.key", "api-key", "db.url"]) == {"db.url": "DB_URL"}
    assert aliases(["api.key", "API_KEY", "db.url"]) == {"db.url": "DB_URL"}
    assert aliases(["A", "b"]) == {}


@given(names=st.sets(NAMES, max_size=8))
def test_aliases_never_collide(names: set[str]) -> None:
    """Names and aliases together are distinct, and every alias is a name that could be set."""
    given_out = aliases(names)
    assert len(set(given_out.values()) | names) == len(given_out) + len(names)
    for alias in given_out.values():
        check_secret_name(alias)
        assert shell_note(alias) is None


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD", "DB_PASSWORD", "dbPassword", "PGPASSWORD", "MYSQLPASSWORD", "PASSWORD_SALT", "db_pass", "DBPASS",
        "dbPass", "PWD2", "REDSHIFT_PWD", "API_KEY", "apiKey", "APIKEY", "ACCESSKEYS", "api.key",
        "AWS_ACCESS_KEY_ID", "VAPID_PUBLIC_KEY", "api-key-2", "MyAPIKey", "TOKEN", "accessToken", "ACCESSTOKEN",
        "TOKENS", "X-Token", "SECRET", "clientSecret", "SECRETKEYBASE", "CREDENTIALS",
        "GOOGLE_APPLICATION_CREDENTIALS", "LOGIN_PIN", "OTP_CODE", "github_pat", "LDAP_PW", "SENTRY_DSN",
        "BASIC_AUTH", "BEARER", "PRIVATE_PEM", "WALLET_MNEMONIC", "SQL_CONNECTION_STRING", "DB_CONNSTR",
        "PASSWORD_MIN_LENGTH", "AUTH_URL",
    ],
)  # fmt: skip
def test_names_that_say_secret(name: str) -> None:
    """As a word of the name, or at the end of words that are run together."""
    assert is_named_like_a_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "KEYCLOAK_URL", "KEYCLOAK", "MONKEY", "MONKEYS", "TURKEY", "HOTKEYS", "KEYBOARD_LAYOUT",
        "CASSANDRA_KEYSPACE", "KEYWORDS", "KEYVAULT_URL", "TOKENIZERS_PARALLELISM", "SECRETARY_NAME", "BYPASS",
        "COMPASS_URL", "PASSENGER_APP_ENV", "PASSPORT_HOST", "PATH_PREFIX", "PATTERN", "AUTHOR", "OAUTHLIB_RELAX",
        "PINNED", "SALTSTACK", "PRIVATELINK", "DSNAME", "DB_CONNECTION", "HOST", "PORT",
    ],
)  # fmt: skip
def test_names_that_only_have_the_letters_of_one(name: str) -> None:
    """Within another word they say nothing."""
    assert not is_named_like_a_secret(name)


def test_the_note_names_shell_and_alias() -> None:
    """It says who drops the name, and under which other one the run gets it."""
    assert shell_note("DATABASE_URL") is None
    assert shell_note("api.key") == (
        '"api.key" cannot be a shell variable: Debian\'s /bin/sh drops it; the run also gets it as API_KEY'
    )
    assert str(shell_note("ld.preload")).endswith("drops it")
