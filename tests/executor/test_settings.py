"""The executor's settings: read once, all problems at once, and never a raw value on the screen."""

import os
import socket
from pathlib import Path

import pytest

import executor.settings
import secretstore.settings
from executor.keys.signing import create_signing_key
from executor.sandbox import folders as open_folders
from executor.settings import ALL_SETTINGS, EXECUTOR_SETTINGS, Settings, read_here, read_settings
from secretstore.errors import SettingsProblem
from secretstore.settings import STORE_SETTINGS, Setting

HOME = {"SEALRUN_HOME": "/srv/sealrun"}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsProblem) as caught:
        read_settings({**HOME, **environ})
    return caught.value.problems


def test_nothing_set_is_one_machine_with_its_own_broker() -> None:
    """The defaults are the documented ones."""
    settings = read_settings(HOME)
    assert settings.embedded and settings.broker_url is None and settings.project is None
    assert (settings.environment, settings.lease, settings.int_grace, settings.term_grace) == (None, 30, 5, 10)
    assert settings.host == socket.gethostname()
    assert (settings.result_bytes, settings.output_bytes) == (1 << 20, 64 << 20)
    assert (settings.source_bytes, settings.cache_bytes, settings.host_is_default) == (64 << 20, 10 << 30, True)
    assert settings.run_uids == range(60706, 61184)
    assert f"sealrun-runs-{os.geteuid()}-" in settings.workspaces.name


def test_pins_are_listed() -> None:
    """For an environment or for all; what is no pin is not quoted."""
    pin = f"{'1' * 32}:{'2' * 32}:3:{'0f' * 32}"
    first, second = read_settings({**HOME, "SEALRUN_PIN": f"prod={pin}, {pin}"}).pins
    assert (first.environment, second.environment, str(second.pin)) == ("prod", None, pin)
    (problem,) = problems({"SEALRUN_PIN": f"{pin},hunter2"})
    assert problem.startswith("SEALRUN_PIN is no list of [ENV=]PIN: it is not PROJECT_ID:") and "hunter2" not in problem


def test_what_is_set_is_taken() -> None:
    """Sizes become bytes; a broker or a database that is configured is not embedded."""
    settings = read_settings(
        {
            **HOME,
            "SEALRUN_BROKER_URL": "rediss://:pw@broker/0",
            "SEALRUN_LEASE_SECONDS": "60",
            "SEALRUN_RESULT_LIMIT_KIB": "3",
            "SEALRUN_OUTPUT_LIMIT_MIB": "0",
            "SEALRUN_SOURCE_LIMIT_MIB": "5",
            "SEALRUN_CACHE_LIMIT_GIB": "4",
            "SEALRUN_RUN_UIDS": "70000",
            "SEALRUN_WORKSPACES": "/srv/runs",
            "SEALRUN_PROJECT": "shop",
            "SEALRUN_ENV": "staging",
            "SEALRUN_HOST": "mill of the north",
        }
    )
    assert not settings.embedded
    assert (settings.lease, settings.result_bytes, settings.output_bytes) == (60, 3 << 10, 0)
    assert (settings.run_uids, settings.workspaces) == (range(70000, 70001), Path("/srv/runs"))
    assert (settings.source_bytes, settings.cache_bytes, settings.host_is_default) == (5 << 20, 4 << 30, False)
    assert (settings.project, settings.environment, settings.host) == ("shop", "staging", "mill of the north")
    assert not read_settings({**HOME, "SEALRUN_DATABASE_URL": "postgresql://h/d"}).embedded


def test_all_problems_are_told_at_once_without_a_value() -> None:
    """I10: one look shows everything there is to mend, and a password put in the wrong place is not repeated."""
    wrong = {setting.name: f"hunter2-{setting.name}" for setting in ALL_SETTINGS}
    wrong["SEALRUN_ACTOR"] = wrong["SEALRUN_HOST"] = "hunter2\n"
    named = problems(wrong)
    fine = {"SEALRUN_PROJECT", "SEALRUN_ENV"}  # any text is a name here; the store says which exist
    assert {problem.split()[0] for problem in named} == {setting.name for setting in ALL_SETTINGS} - fine
    assert "hunter2" not in "\n".join(named)


@pytest.mark.parametrize(
    "uids", ["", "0-5", "5-4", "-5", "5-", "a-b", "1-2-3", "²", "1-²", "٣", "9" * 5000, "2147483648", " 5"]
)
def test_user_ids_that_cannot_be_lent_are_refused(uids: str) -> None:
    """Root is never lent, and whatever was typed is a sentence and no error of ours."""
    (problem,) = problems({"SEALRUN_RUN_UIDS": uids})
    assert problem.startswith("SEALRUN_RUN_UIDS ")


@pytest.mark.parametrize("host", ["", "mill\n", "mi\tll", "mi\0ll", "\u202emill", "x" * 256])
def test_a_host_name_that_nobody_could_read_is_refused(host: str) -> None:
    """Two names that look the same and are not would leave a run waiting for ever."""
    (problem,) = problems({"SEALRUN_HOST": host})
    assert problem.startswith("SEALRUN_HOST ")
    assert read_settings({**HOME, "SEALRUN_HOST": "x" * 255}).host == "x" * 255


@pytest.mark.parametrize("broker", ["http://x", "redis", "sqla+sqlite:///x", "filesystem://", "memory://", "//x"])
def test_a_broker_that_is_no_doorbell_is_refused(broker: str) -> None:
    """Only the transports sealrun is tested with."""
    (problem,) = problems({"SEALRUN_BROKER_URL": broker})
    assert problem.startswith("SEALRUN_BROKER_URL ") and "redis://" in problem


@pytest.mark.parametrize(
    "url",
    [
        "redis://:a/b@127.0.0.1:6401/0",
        "redis://:12/b@127.0.0.1:6401/0",
        "redis://:a#b@127.0.0.1:6401/0",
        "redis://:a?b@127.0.0.1:6401/0",
        "redis://:a[b@127.0.0.1:6401/0",
        "redis://:a;b@127.0.0.1:6401/0",
        "redis://127.0.0.1:99999/0",
        "redis://127.0.0.1/first",
        "amqp://ada:12/b@127.0.0.1:5672//",
        "amqp://ada:pw@127.0.0.1:port//",
    ],
)
def test_a_broker_url_that_leads_nowhere_is_refused(url: str) -> None:
    """Most often because of a password's special characters, so that is the hint; its own text is not quoted (I10)."""
    (problem,) = problems({"SEALRUN_BROKER_URL": url})
    assert problem.startswith("SEALRUN_BROKER_URL ") and "%2F" in problem and "b@" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "redis://h/", "redis:///1", "redis://:p%2Fw@[::1]:6379/15", "redis+socket:///run/x.sock?virtual_host=1",
        "rediss://u:p:w@h/0?ssl_cert_reqs=CERT_NONE", "amqp://u:p@h//", "amqp://h", "amqps://u:p@h:5671/a%2Fb",
        "amqp://u:p@one//;amqp://u:p@two//",
    ],
)  # fmt: skip
def test_a_broker_url_in_order_is_taken(url: str) -> None:
    """Each as kombu reads it."""
    assert read_settings({**HOME, "SEALRUN_BROKER_URL": url}).broker_url == url


def test_workspaces_do_not_lie_beneath_the_home(tmp_path: Path) -> None:
    """No run may reach into SEALRUN_HOME, so its own place cannot be there: not by `..`, nor by a link."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    for place in (home, home / "runs", tmp_path / "x" / ".." / "home" / "runs", tmp_path / "link" / "runs"):
        (problem,) = problems({"SEALRUN_HOME": str(home), "SEALRUN_WORKSPACES": str(place)})
        assert problem.startswith("SEALRUN_WORKSPACES ")
    (tmp_path / "home2").mkdir()
    read_settings({"SEALRUN_HOME": str(home), "SEALRUN_WORKSPACES": str(tmp_path / "home2")})


def test_each_home_has_workspaces_of_its_own() -> None:
    """A janitor clears what no worker of its own home holds, so two homes must not share a folder."""
    places = {read_settings({"SEALRUN_HOME": home}).workspaces for home in ("/srv/a", "/srv/b")}
    assert len(places) == 2


def test_no_setting_is_left_out_of_the_list() -> None:
    """The list is what the page of settings is made of."""
    for module, listed in ((executor.settings, EXECUTOR_SETTINGS), (secretstore.settings, STORE_SETTINGS)):
        defined = {value for value in vars(module).values() if isinstance(value, Setting)}
        assert defined == set(listed), module


def test_urls_with_passwords_stay_out_of_the_repr() -> None:
    """I10: a settings object in a traceback shows neither broker nor database."""
    settings = read_settings(
        {**HOME, "SEALRUN_BROKER_URL": "redis://:hunter2@h", "SEALRUN_DATABASE_URL": "postgresql://u:hunter2@h/d"}
    )
    assert "hunter2" not in repr(settings)


def test_a_broker_url_may_come_from_a_file(tmp_path: Path) -> None:
    """As container platforms hand out secrets."""
    file = tmp_path / "broker"
    file.write_text("redis://:pw@broker/0\n")
    assert read_settings({**HOME, "SEALRUN_BROKER_URL_FILE": str(file)}).broker_url == "redis://:pw@broker/0"


def test_the_process_environment_is_read_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """`read_here` is the one reader of os.environ."""
    monkeypatch.setenv("SEALRUN_HOME", "/srv/from-here")
    settings: Settings = read_here()
    assert settings.store.home == Path("/srv/from-here")


def test_an_operator_opens_folders_to_all_runs_or_to_those_of_a_project() -> None:
    """Each with its projects before it, several with commas; a path may have a `=` of its own."""
    settings = read_settings(
        {
            **HOME,
            "SEALRUN_READABLE": "/data/models:shop=/data/shop:shop,crm=/data/a=b",
            "SEALRUN_WRITABLE": "shop=/data/out",
        }
    )
    assert [(str(one.path), one.projects) for one in settings.readable] == [
        ("/data/models", ()),
        ("/data/shop", ("shop",)),
        ("/data/a=b", ("shop", "crm")),
    ]
    assert [one.is_for("shop") for one in settings.readable] == [True, True, True]
    assert [one.is_for("crm") for one in (*settings.readable, *settings.writable)] == [True, False, True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("models", "is not a list of absolute paths"),
        ("/data/a::/data/b", "is not a list of absolute paths"),
        ("shop=models", "is not a list of absolute paths"),
        ("Shop!=/data", "names a project that cannot be one"),
        ("=/data", "names a project that cannot be one"),
        *(
            (f"/data:shop={path}", "cannot open its folder number 2 to runs: it ")
            for path in ("/", "/run", "/run/user/0", "/var/run", "/proc", "HOME", "HOME/keys", "ABOVE", "LINK", "KEY")
        ),
        ("shop=ADA", "cannot open its folder number 1 to runs: it is or holds a home folder"),
        ("shop=ADA/..", "cannot open its folder number 1 to runs: it is or holds a home folder"),
        ("shop=WORK", "cannot open its folder number 1"),
        ("shop=CACHE/x", "cannot open its folder number 1"),
        ("shop=DB", "cannot open its folder number 1"),
    ],
)
@pytest.mark.parametrize("name", ["SEALRUN_READABLE", "SEALRUN_WRITABLE"])
def test_what_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str) -> None:
    """I3: what holds or lies in sealrun's own, /run, or a home as a whole; by `..`, nor by a link."""
    monkeypatch.setattr(open_folders, "_homes", lambda: frozenset([tmp_path / "users/ada"]))
    for folder in ("top/sealrun/keys", "users/ada", "work", "cache/x", "keys", "db"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "top/sealrun")
    places = {"HOME": "top/sealrun", "ABOVE": "top", "LINK": "link", "KEY": "keys", "ADA": "users/ada", "WORK": "work"}
    for word, place in {**places, "CACHE": "cache", "DB": "db"}.items():
        text = text.replace(word, str(tmp_path / place))
    environ = {
        "SEALRUN_HOME": str(tmp_path / "top/sealrun"),
        "SEALRUN_KEYS": f"local:{tmp_path}/keys/local.key",
        "SEALRUN_WORKSPACES": str(tmp_path / "work"),
        "SEALRUN_CACHE": str(tmp_path / "cache"),
        "SEALRUN_DATABASE_URL": f"sqlite:///{tmp_path}/db/sealrun.db",
    }
    found = problems({**environ, name: text})
    assert any(problem.startswith(f"{name} {said}") for problem in found), found
    assert read_settings({**environ, name: f"shop={tmp_path}/users/ada/models"})


def test_a_folder_to_be_changed_names_its_projects() -> None:
    """What one run leaves there the next one finds: not for every project."""
    (problem,) = problems({"SEALRUN_WRITABLE": "shop=/data/a:/data/b"})
    assert problem.startswith("SEALRUN_WRITABLE has to name who may change its folder number 2")


def test_the_examples_of_a_time_suit_the_setting() -> None:
    """Days for what is kept for days."""
    (problem,) = problems({"SEALRUN_KEEP_RUNS_DAYS": "soon"})
    assert problem.endswith("from 0 to 36500 days, as in 90, 12w or 1.5d"), problem


def test_a_time_may_be_set_with_its_units() -> None:
    """Every setting that takes one; a number alone is in the unit of the setting's name."""
    times = {
        "SEALRUN_LEASE_SECONDS": "1m30s",
        "SEALRUN_TERM_GRACE_SECONDS": "2m",
        "SEALRUN_STOP_GRACE_SECONDS": "4h",
        "SEALRUN_SETUP_TIMEOUT_SECONDS": "1h",
        "SEALRUN_QUEUE_TIMEOUT_SECONDS": "2d",
        "SEALRUN_KEEP_RUNS_DAYS": "6w",
        "SEALRUN_KMS_TIMEOUT_SECONDS": "20s",
        "SEALRUN_WARM_SECONDS": "10m",
    }
    assert times.keys() == {setting.name for setting in ALL_SETTINGS if setting.unit in ("seconds", "days")}
    settings = read_settings({**HOME, **times})
    assert (settings.lease, settings.term_grace, settings.setup_timeout) == (90, 120, 3600)
    assert (settings.queue_timeout, settings.keep_runs) == (2 * 86400, 42 * 86400)
    assert (settings.store.kms_timeout, settings.stop_grace, settings.warm) == (20, 4 * 3600, 600)
    assert read_settings({**HOME, "SEALRUN_KEEP_RUNS_DAYS": "7"}).keep_runs == 7 * 86400
    assert problems({**HOME, "SEALRUN_LEASE_SECONDS": "2h"}) == [
        "SEALRUN_LEASE_SECONDS is not a length of time from 3 to 3600 seconds, as in 90, 5m, 1h30m or 90d"
    ]
    assert problems({**HOME, "SEALRUN_LEASE_SECONDS": "3.5"}) != []


def test_what_is_counted_is_told_on_loopback_unless_more_is_said() -> None:
    """Whoever reaches the address reads it: an open one has to be meant."""
    name = "SEALRUN_METRICS_LISTEN"
    assert read_settings(HOME).metrics_listen is None
    for text, address in {
        "127.0.0.1:9464": ("127.0.0.1", 9464),
        "[::1]:9464": ("::1", 9464),
        "open:0.0.0.0:9464": ("0.0.0.0", 9464),
        "open:[::]:80": ("::", 80),
    }.items():
        assert read_settings({**HOME, name: text}).metrics_listen == address
    for text in ("0.0.0.0:9464", "10.0.0.1:9464", "[::]:9464"):
        (problem,) = problems({**HOME, name: text})
        assert problem.startswith(f"{name} is not a loopback address") and "write open: before it" in problem
    for text in ("9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:a", "::1"):
        (problem,) = problems({**HOME, name: text})
        assert problem.startswith((f"{name} is not an address with a port", f"{name} needs a port from 1 to 65535"))


def test_doors_are_shut_with_keys_or_not_at_all(tmp_path: Path) -> None:
    """A worker that is to insist on signatures has to know whose; keys alone change nothing, and any typo is told."""
    signers = [create_signing_key(tmp_path / name) for name in "ab"]
    listed = f"{signers[0]}, {signers[1]}"
    shut = read_settings({**HOME, "SEALRUN_DOORS": "api", "SEALRUN_SIGNERS": listed})
    assert shut.signers == tuple(signers)
    assert read_settings({**HOME, "SEALRUN_SIGNERS": listed}).signers == ()
    (problem,) = problems({"SEALRUN_DOORS": "api"})
    assert problem == "SEALRUN_DOORS is api, and SEALRUN_SIGNERS names no server whose plans count"
    for wrong in ("x", listed + ",", listed[:-1], ","):
        (problem,) = problems({"SEALRUN_DOORS": "api", "SEALRUN_SIGNERS": wrong})
        assert problem.startswith("SEALRUN_SIGNERS is not a list of public keys")
    assert len(problems({"SEALRUN_DOORS": "API"})) == 1


def test_no_run_reaches_the_signing_key(tmp_path: Path) -> None:
    """Not even in a folder that is open to runs."""
    key = tmp_path / "signing.pem"
    assert key in read_settings({**HOME, "SEALRUN_SIGNING_KEY": str(key)}).closed
