"""`sealrun doctor`: every finding has a mend, and something wrong is an exit code."""

import os
import re
import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu.connection import Connection

from executor.operations import doctor
from executor.schemas.doctor import Finding
from executor.settings import read_settings
from secretstore.key_files import create_local_key
from tests.executor.cli.conftest import Cli
from tests.executor.test_unguarded import redis_server


def findings(cli: Cli, code: int, **environ: str) -> dict[str, dict[str, object]]:
    """What it found, by name."""
    import json

    told = json.loads(cli("doctor", "--json", environ=environ, code=code).stdout)
    assert told["ok"] is (code == 0)
    return {finding["what"]: finding for finding in told["findings"]}


def test_a_new_home_is_in_order(new_cli: Cli) -> None:
    """Nothing is made but the folder and its database; the key file is said to come with the first project."""
    found = findings(new_cli, 0)

    assert found["key file"]["status"] == "note"
    assert found["key file"]["mend"] == "the first `sealrun project create` makes it"
    assert "embedded" in str(found["broker"]["text"])
    expected = {"packages", "python", "versions", "home", "database", "isolation", "user", "workspaces", "workers"}
    assert expected <= found.keys()
    assert sys.version.split()[0] in str(found["pythons"]["text"]), "the one that runs these tests is offered, too"


def test_folders_that_are_opened_to_runs_are_listed(shop: Cli) -> None:
    """A run goes on without one that is not there, so that is said here."""
    there = str(shop.folder)
    found = findings(shop, 1, SEALRUN_READABLE="/srv/surely-not-there", SEALRUN_WRITABLE=f"shop={there}/jobs-data")
    assert found["readable"]["text"] == "/srv/surely-not-there, to all runs, is not there"
    assert (found["writable"]["status"], found["writable"]["mend"]) == ("wrong", "make or mount it")
    (shop.folder / "jobs-data").mkdir()
    found = findings(shop, 0, SEALRUN_WRITABLE=f"shop={there}/jobs-data")
    assert found["writable"]["text"] == f"{there}/jobs-data, to runs of shop"


def test_the_rung_says_what_is_not_protected(shop: Cli) -> None:
    """At rung process the sentence is: this run could read the key file."""
    isolation = findings(shop, 0)["isolation"]
    if isolation["detail"] == {} or "rung process" in str(isolation["text"]):
        assert "this run could read the key file" in str(isolation["text"])
        assert isolation["mend"]
    else:
        assert "runs cannot read SEALRUN_HOME, the key file" in str(isolation["text"])


def test_a_key_file_that_others_can_read_is_wrong(shop: Cli) -> None:
    """With the mode it must have."""
    key_file = shop.home / "keys" / "local.key"
    key_file.chmod(0o644)
    try:
        wrong = findings(shop, 1)["key file"]
    finally:
        key_file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert wrong["status"] == "wrong"
    assert "users other than its owner can access it; chmod 600 it" in str(wrong["text"])


def test_a_key_file_that_is_gone_is_wrong(shop: Cli) -> None:
    """There are projects that need it."""
    key_file = shop.home / "keys" / "local.key"
    hidden = key_file.rename(shop.folder / "hidden.key")
    try:
        wrong = findings(shop, 1)["key file"]
    finally:
        hidden.rename(key_file)
    assert wrong["status"] == "wrong"
    assert "restore your copy" in str(wrong["mend"])


def test_servers_that_do_not_answer_are_wrong_and_their_passwords_stay_unsaid(shop: Cli) -> None:
    """Broker and database, each with a mend (I10)."""
    away = {
        "SEALRUN_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
        "SEALRUN_DATABASE_URL": "postgresql://app:hunter2@127.0.0.1:1/x",
    }
    found = findings(shop, 1, **away)
    for what in ("broker", "database"):
        assert found[what]["status"] == "wrong" and found[what]["mend"], found[what]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://mill:1/0", "redis://mill:1/0"),
        ("redis://ada@mill:1/0", "redis://ada@mill:1/0"),
        ("redis://:hunter2@mill:1/0", "redis://:**@mill:1/0"),
        ("rediss://ada:hunter2@mill:1/0", "rediss://ada:**@mill:1/0"),
        ("amqp://mill:1//", "amqp://guest@mill:1//"),
        ("amqp://ada:hunter2@mill:1//", "amqp://ada:**@mill:1//"),
    ],
)
def test_a_password_is_hidden_where_there_is_one(url: str, shown: str) -> None:
    """And no place is held for one where there is none."""
    assert doctor._without_password(Connection(url)) == shown


def test_settings_that_are_wrong_are_told(shop: Cli) -> None:
    """All of them, and none of what they hold."""
    found = findings(shop, 1, SEALRUN_LEASE_SECONDS="soon", SEALRUN_RUN_UIDS="root")
    assert "SEALRUN_LEASE_SECONDS" in str(found["settings"]["text"])
    assert "SEALRUN_RUN_UIDS" in str(found["settings"]["text"])


def test_a_workspace_folder_of_somebody_else_is_wrong(shop: Cli) -> None:
    """Runs would be given places that others can reach."""
    folder = shop.folder / "shared"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    found = findings(shop, 1, SEALRUN_WORKSPACES=str(folder))
    assert "is not a private folder of this user" in str(found["workspaces"]["text"])


def test_for_a_person_each_finding_is_a_line(shop: Cli) -> None:
    """Status first, and the mend below it."""
    shown = shop("doctor", environ={"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}, code=1).stdout
    assert re.search(r"^wrong  broker +redis://127\.0\.0\.1:1/0 does not answer", shown, re.MULTILINE), shown
    assert "mend: check SEALRUN_BROKER_URL" in shown


@pytest.mark.parametrize("package", ["executor", "secretstore"])
def test_a_package_of_our_name_that_is_not_ours_is_refused(shop: Cli, package: str) -> None:
    """Two other distributions install packages of these names: every command says so at its start."""
    foreign = shop.folder / f"foreign-{package}"
    (foreign / package).mkdir(parents=True)
    if package == "executor":
        # Installed over ours: our files beside a foreign __init__.
        source = os.path.join(shop.environ["PYTHONPATH"], "executor")
        for entry in os.listdir(source):
            if entry not in ("__init__.py", "__pycache__"):
                (foreign / package / entry).symlink_to(os.path.join(source, entry))
        (foreign / package / "__init__.py").write_text('"""Programmer friendly subprocess wrapper."""\n')
    else:
        (foreign / package / "__init__.py").write_text('"""Another store."""\n')
    path = {"PYTHONPATH": f"{foreign}:{shop.environ['PYTHONPATH']}"}

    refused = shop("project", "list", environ=path, code=1)

    assert f'"import {package}" finds {foreign}' in refused.stderr
    assert "install sealrun in an environment of its own" in refused.stderr


def test_a_key_file_of_another_key_is_wrong(shop: Cli) -> None:
    """It is in perfect order, and opens nothing that is sealed here."""
    key_file = shop.home / "keys" / "local.key"
    other = shop.folder / "other" / "local.key"
    create_local_key(other)
    wrong = findings(shop, 1, SEALRUN_KEYS=f"local:{other}")["wrapped keys"]
    assert wrong["status"] == "wrong"
    assert "private keys are wrapped by local:" in str(wrong["text"])
    assert findings(shop, 0)["key file"]["status"] == "ok"

    # With the public half of another key beside it, what is made next would not open.
    public = key_file.with_suffix(".pub")
    own = public.read_bytes()
    public.write_bytes(other.with_suffix(".pub").read_bytes())
    try:
        wrong = findings(shop, 1)["key file"]
    finally:
        public.write_bytes(own)
    assert wrong["status"] == "wrong" and "what that wraps would not open" in str(wrong["text"])


def test_a_public_half_alone_wraps_and_is_said_to_open_nothing(shop: Cli) -> None:
    """As a server has it: it creates environments, and which keys it could not open is not its trouble."""
    public = shop.home / "keys" / "local.pub"
    found = findings(shop, 0, SEALRUN_KEYS=f"local:{public}")
    assert "keys are wrapped with it here, and none is opened" in str(found["key file"]["text"])
    assert "wrapped keys" not in found


def test_a_home_that_cannot_be_used_is_a_sentence(new_cli: Cli) -> None:
    """It names the setting and the mend, to doctor and to every other command."""
    home = new_cli.folder / "a-file"
    home.write_text("")
    wrong = findings(new_cli, 1, SEALRUN_HOME=str(home))["home"]
    assert f"SEALRUN_HOME cannot be used: {home}" in str(wrong["text"])
    told = new_cli("project", "list", environ={"SEALRUN_HOME": str(home)}, code=1).stderr
    assert "cannot be used" in told and "hint: set SEALRUN_HOME to a folder of your own" in told


def test_a_broker_url_that_cannot_be_read_is_wrong(shop: Cli) -> None:
    """What stands behind a ? may be a password, and is not shown."""
    found = findings(shop, 1, SEALRUN_BROKER_URL="rediss://mill:1/0?password=hunter2")
    assert str(found["broker"]["text"]).startswith("SEALRUN_BROKER_URL cannot be read: TypeError")
    assert "hunter2" not in str(found)
    shop.job("report.py", "")
    refused = shop("run", "report.py", environ={"SEALRUN_BROKER_URL": "rediss://mill:1/0?password=hunter2"}, code=2)
    assert "the settings cannot be used" in refused.stderr and "hunter2" not in refused.stderr


def test_a_broker_that_refuses_the_login_is_said_to(amqp_url: str, tmp_path: Path) -> None:
    """It answers, so nobody looks whether it runs; an unknown virtual host alike. No password is told (I10)."""

    def told(url: str) -> Finding:
        return doctor._configured_broker(read_settings({"HOME": "/nonexistent", "SEALRUN_BROKER_URL": url}))

    parts = urlsplit(amqp_url)
    place = f"{parts.hostname}:{parts.port or 5672}"
    found = told(f"amqp://guest:hunter2@{place}//")
    assert found.status == "wrong" and "refuses the login" in found.text and "percent-encoded" in str(found.mend)
    assert "refuses the virtual host" in told(f"amqp://guest:{parts.password}@{place}/nowhere").text
    with redis_server(tmp_path, "requirepass hunter2-pass") as url:
        found = told(url.replace("hunter2", "hunter3"))
        assert "refuses the login" in found.text and "hunter" not in str(found)


def test_the_server_is_looked_at(cli: Cli) -> None:
    """What it may read, who can log in, and settings of its that cannot be."""
    found = {one["what"]: one for one in cli.json("doctor", "--json")["findings"]}
    assert found["server"]["status"] == "ok"
    assert "key file" in found["server's files"]["text"]
    assert (found["first admin"]["status"], "--admin" in found["first admin"]["mend"]) == ("note", True)
    told = cli("doctor", environ={"SEALRUN_LISTEN": "0.0.0.0:8741"}, code=1).stdout
    assert "SEALRUN_PUBLIC_URL is not set, and SEALRUN_LISTEN is not a loopback address" in told
    cli.ok("user", "create", "ada", "--admin", stdin="correct horse battery staple")
    assert "first admin" not in cli.ok("doctor")
