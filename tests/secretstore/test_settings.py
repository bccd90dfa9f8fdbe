"""Settings: read once, all problems together, no raw value on the screen."""

from pathlib import Path

import pytest

from secretstore.errors import SettingsProblem
from secretstore.settings import (
    STORE_SETTINGS,
    KeySpec,
    Setting,
    SettingsReading,
    parse_store_settings,
    read_store_settings,
    whole_number,
)

PORT = Setting("SEALRUN_TEST_PORT", "1", "number", "a setting of another package")


def test_the_defaults_are_private_to_the_user() -> None:
    """With nothing set, everything is under the user's data folder."""
    settings = read_store_settings({"HOME": "/home/ada"})
    assert settings.home == Path("/home/ada/.local/share/sealrun")
    assert settings.database_url == "sqlite:////home/ada/.local/share/sealrun/sealrun.db"
    assert settings.database_is_default
    assert settings.keys == "local:/home/ada/.local/share/sealrun/keys/local.key"
    assert "@" in settings.actor


@pytest.mark.parametrize(("data", "home"), [("/data", "/data"), ("data", "/h/.local/share"), ("", "/h/.local/share")])
def test_xdg_data_home_moves_the_home(data: str, home: str) -> None:
    """XDG_DATA_HOME counts when it is absolute, as its specification says."""
    assert read_store_settings({"HOME": "/h", "XDG_DATA_HOME": data}).home == Path(home, "sealrun")


def test_what_is_set_counts() -> None:
    """Each variable is taken; the defaults of the others follow SEALRUN_HOME."""
    settings = read_store_settings({"SEALRUN_HOME": "/srv/sealrun", "SEALRUN_ACTOR": "ci@build"})
    assert settings.database_url == "sqlite:////srv/sealrun/sealrun.db"
    assert settings.keys == "local:/srv/sealrun/keys/local.key"
    assert settings.actor == "ci@build"
    settings = read_store_settings({"SEALRUN_KEYS": "local:/k/a.key", "SEALRUN_DATABASE_URL": "sqlite:////srv/a.db"})
    assert (settings.keys, settings.database_url) == ("local:/k/a.key", "sqlite:////srv/a.db")
    assert not settings.database_is_default


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_get_their_driver(scheme: str) -> None:
    """The usual spellings of a PostgreSQL URL mean psycopg 3."""
    settings = read_store_settings({"SEALRUN_DATABASE_URL": f"{scheme}://ada:pw@db/shop?sslmode=require"})
    assert settings.database_url == "postgresql+psycopg://ada:pw@db/shop?sslmode=require"
    assert not settings.database_is_default


def test_a_url_can_come_from_a_file(tmp_path: Path) -> None:
    """SEALRUN_DATABASE_URL_FILE names a file that holds it, with or without a final newline."""
    file = tmp_path / "url"
    for ending in ("", "\n", "\r\n"):
        file.write_bytes(b"postgresql://ada:pw@db/shop" + ending.encode())
        settings = read_store_settings({"SEALRUN_DATABASE_URL_FILE": str(file)})
        assert settings.database_url == "postgresql+psycopg://ada:pw@db/shop"


def test_i10_all_problems_are_reported_together_and_none_is_quoted(tmp_path: Path) -> None:
    """I10: every bad setting is named with what is wrong, and what it was set to does not appear."""
    with pytest.raises(SettingsProblem) as refusal:
        read_store_settings(
            {
                "SEALRUN_HOME": "canary/relative",
                "SEALRUN_DATABASE_URL": "mysql://ada:canary@db/shop",
                "SEALRUN_KEYS": "canary",
                "SEALRUN_ACTOR": "canary\n",
            }
        )
    assert [problem.split()[0] for problem in refusal.value.problems] == [
        "SEALRUN_HOME",
        "SEALRUN_DATABASE_URL",
        "SEALRUN_KEYS",
        "SEALRUN_ACTOR",
    ]
    assert str(refusal.value).startswith("the settings cannot be used:\n  SEALRUN_HOME is not an absolute path\n")
    assert "canary" not in str(refusal.value) + repr(refusal.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"SEALRUN_DATABASE_URL": "sqlite:///relative.db"},
        {"SEALRUN_DATABASE_URL": "sqlite://"},
        {"SEALRUN_DATABASE_URL": ""},
        {"SEALRUN_DATABASE_URL": "postgresql"},
        {"SEALRUN_DATABASE_URL": "sqlite:////a", "SEALRUN_DATABASE_URL_FILE": "/b"},
        {"SEALRUN_DATABASE_URL_FILE": "/nowhere/at/all"},
        {"SEALRUN_DATABASE_URL_FILE": "/"},
        {"SEALRUN_KEYS": "local:relative/key"},
        {"SEALRUN_KEYS": "local:"},
        {"SEALRUN_KEYS": "aws-kms:"},
        {"SEALRUN_HOME": ""},
        {"SEALRUN_ACTOR": "x" * 256},
    ],
)
def test_what_would_mean_something_else_is_refused(environ: dict[str, str]) -> None:
    """Relative, empty, doubled or unreadable settings are problems, and never a silent default."""
    with pytest.raises(SettingsProblem) as refusal:
        read_store_settings({"HOME": "/h"} | environ)
    assert len(refusal.value.problems) == 1


ARN = "arn:aws:kms:eu-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NOT_A_URL = "has an endpoint_url that is not an http:// or https:// URL"


@pytest.mark.parametrize(
    ("text", "environ", "found"),
    [
        (f"aws-kms:{ARN}", {}, KeySpec("aws-kms", ARN, "eu-north-1")),
        (f"aws-kms:{ARN}", {"AWS_REGION": "us-east-1"}, KeySpec("aws-kms", ARN, "eu-north-1")),
        ("aws-kms:alias/a?region=us-east-1", {"AWS_REGION": "x"}, KeySpec("aws-kms", "alias/a", "us-east-1")),
        ("aws-kms:alias/a", {"AWS_DEFAULT_REGION": "eu-west-1"}, KeySpec("aws-kms", "alias/a", "eu-west-1")),
        ("aws-kms:mrk-1", {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, KeySpec("aws-kms", "mrk-1", "a")),
        (
            "aws-kms:k?endpoint_url=http%3A%2F%2F127.0.0.1%3A5000&region=r",
            {},
            KeySpec("aws-kms", "k", "r", "http://127.0.0.1:5000"),
        ),
        ("local:/a,b/c,d", {}, KeySpec("local", "/a,b/c,d")),
    ],
)
def test_a_key_service_is_parsed_whole(text: str, environ: dict[str, str], found: KeySpec) -> None:
    """What only this environment knows is filled in, so that a process without one finds the same service."""
    settings = read_store_settings({"HOME": "/h", "SEALRUN_KEYS": text, **environ})
    assert settings.key_specs == (found,)
    assert read_store_settings({"HOME": "/h", "SEALRUN_KEYS": settings.keys}).key_specs == (found,)
    assert settings.uses_kms == (found.kind == "aws-kms")


def test_the_profile_may_say_the_region(tmp_path: Path) -> None:
    """As for AWS's own programs: `~/.aws/config`, AWS_CONFIG_FILE, AWS_PROFILE; a file that is none says nothing."""
    config = tmp_path / ".aws" / "config"
    config.parent.mkdir()
    config.write_text("[default]\nregion = eu-west-1\n[profile other]\nregion = eu-west-2\n")
    given = {"HOME": str(tmp_path), "SEALRUN_KEYS": "aws-kms:alias/a"}
    assert read_store_settings(given).key_specs[0].region == "eu-west-1"
    assert read_store_settings({**given, "AWS_PROFILE": "other"}).key_specs[0].region == "eu-west-2"
    config.rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsProblem, match="does not say the KMS key's region: give its ARN, add"):
        read_store_settings(given)
    assert read_store_settings({**given, "AWS_CONFIG_FILE": str(tmp_path / "elsewhere")}).key_specs[0].region
    config.write_bytes(b"\xff canary")
    with pytest.raises(SettingsProblem) as refusal:
        read_store_settings(given)
    assert "canary" not in str(refusal.value)


def test_several_key_services_are_parted_by_commas() -> None:
    """The first wraps; local files among them are what no run may read."""
    text = f"aws-kms:{ARN},local:/k/a,b.key,aws-kms:alias/x?region=r,local:/k/c"
    settings = read_store_settings({"HOME": "/h", "SEALRUN_KEYS": text})
    assert [spec.place for spec in settings.key_specs] == [ARN, "/k/a,b.key", "alias/x", "/k/c"]
    assert settings.key_files == (Path("/k/a,b.key"), Path("/k/c"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("canary", "is not a key service: give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"),
        ("aws-kms:", "is not a key service: give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"),
        ("aws-kms:can ary?region=r", "has no valid KMS key after aws-kms: give its id, alias/NAME or ARN"),
        ("aws-kms:arn:aws:s3:::canary?region=r", "has no valid KMS key after aws-kms: give its id, alias/NAME or ARN"),
        (f"aws-kms:{ARN}/canary", "has no valid KMS key after aws-kms: give its id, alias/NAME or ARN"),
        ("aws-kms:k?region=canary!", "has no valid AWS region after region="),
        (f"aws-kms:{ARN}?region=canary", "gives another region than the KMS key's ARN has"),
        ("aws-kms:k", "does not say the KMS key's region: give its ARN, add ?region=…, or set AWS_REGION"),
        ("aws-kms:k?canary", "has something after ? that is not NAME=VALUE, separated by &"),
        ("aws-kms:k?region=r&canary=1", "may have region= and endpoint_url= after ?, each once, and nothing else"),
        ("aws-kms:k?region=r&region=canary", "may have region= and endpoint_url= after ?, each once, and nothing else"),
        ("aws-kms:k?region=r&endpoint_url=canary", NOT_A_URL),
        ("aws-kms:k?region=r&endpoint_url=ftp://canary", NOT_A_URL),
        ("aws-kms:k?region=r&endpoint_url=http://canary:x", NOT_A_URL),
        ("aws-kms:k?region=r&endpoint_url=http://[canary", NOT_A_URL),
        (
            "aws-kms:k?region=r&endpoint_url=https://ada:canary@kms",
            "has an endpoint_url with a user in it: KMS takes signatures, and the URL is shown",
        ),
        ("local:/k,aws-kms:", "is not a key service: give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"),
    ],
)
def test_i10_each_mistake_in_a_key_service_has_its_sentence(text: str, sentence: str) -> None:
    """I10: told at the door, and what was set is not quoted."""
    with pytest.raises(SettingsProblem) as refusal:
        read_store_settings({"HOME": "/nowhere", "SEALRUN_KEYS": text})
    assert refusal.value.problems == [f"SEALRUN_KEYS {sentence}"]


def test_a_file_that_is_no_url_is_not_quoted(tmp_path: Path) -> None:
    """Too long or not text: the problem says so and shows none of it."""
    for content in (b"\xff\xfecanary", b"canary" * 20_000):
        (tmp_path / "url").write_bytes(content)
        with pytest.raises(SettingsProblem) as refusal:
            read_store_settings({"SEALRUN_DATABASE_URL_FILE": str(tmp_path / "url")})
        assert "canary" not in str(refusal.value)


def test_another_package_reads_its_settings_in_the_same_pass() -> None:
    """The problems of both packages are reported together."""
    reading = SettingsReading({"SEALRUN_HOME": "x", "SEALRUN_TEST_PORT": "99999"})
    parse_store_settings(reading)
    reading.value(PORT, whole_number(1, 65535), 1)
    with pytest.raises(SettingsProblem) as refusal:
        reading.finish()
    assert refusal.value.problems == [
        "SEALRUN_HOME is not an absolute path",
        "SEALRUN_TEST_PORT is not a whole number from 1 to 65535",
    ]


@pytest.mark.parametrize("text", ["0", "65536", "-1", "1.0", "", "1 ", "\uff11", "0x10", "9" * 5000])
def test_whole_numbers_have_limits(text: str) -> None:
    """What is no plain decimal number within the limits is a problem."""
    reading = SettingsReading({"SEALRUN_TEST_PORT": text})
    assert reading.value(PORT, whole_number(1, 65535), 80) == 80
    assert len(reading.problems) == 1


def test_the_url_is_not_in_the_repr() -> None:
    """I10: settings can be printed; the password in the URL cannot."""
    settings = read_store_settings({"SEALRUN_DATABASE_URL": "postgresql://ada:canary@db/shop"})
    assert "canary" not in repr(settings)


def test_every_setting_is_documented() -> None:
    """Each row has a name of ours, a default, a unit and a reason for the page of settings."""
    for setting in STORE_SETTINGS:
        assert setting.name.startswith("SEALRUN_")
        assert setting.default_text and setting.unit and setting.reason
