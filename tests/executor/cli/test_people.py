"""`sealrun user`, `member`, `token`, `role`: names as people know them, and no password or token where others read."""

import json

import pytest

from tests.executor.cli.conftest import Cli

PASSWORD = "correct horse battery"


def test_from_the_first_admin_to_a_token_that_is_revoked(cli: Cli) -> None:
    """One person's walk; the token is on stdout alone, and the password nowhere."""
    cli.ok("project", "create", "shop", "-e", "dev")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    made = cli("user", "create", "ada", "--admin", stdin=PASSWORD + "\n", code=0)
    assert "created person ada, an admin" in made.stderr and PASSWORD not in made.stdout + made.stderr
    assert "sealrun member add deploy" in cli("user", "create", "deploy", "--service", code=0).stderr
    given = cli("member", "add", "deploy", "--role", "runner", "-e", "dev", code=0).stderr
    assert "running code is reading: deploy can now read every secret that runs of shop/dev are given" in given
    assert "running" not in cli("member", "add", "ada", "--role", "viewer", code=0).stderr
    token = cli("token", "create", "ci", "--role", "runner", "-e", "dev", "--owner", "deploy", code=0)
    text = token.stdout.strip()
    assert text.startswith("srn_s") and text not in token.stderr
    for listed in (cli.ok("token", "list"), cli.ok("token", "list", "--json"), cli.ok("audit", "list")):
        assert "ci" in listed and text not in listed
    members = [line.split("\t")[:4] for line in cli.ok("member", "list").splitlines()]
    assert ["deploy", "service", "runner", "shop/dev"] in members and [
        "ada",
        "person",
        "admin",
        "the installation",
    ] in members
    cli.ok("member", "remove", "ada", "--role", "viewer")
    cli.ok("token", "revoke", "ci", "--yes")
    assert cli.ok("token", "list") == "" and "revoked" in cli.ok("token", "list", "--ended")
    assert "user.create" in cli.ok("audit", "list", "--installation")
    assert "as it was written" in cli.ok("audit", "verify", "--installation")
    assert [one["name"] for one in cli.json("user", "list", "--json")] == ["ada", "deploy"]
    cli.ok("user", "password", "ada", stdin="another correct horse")
    cli.ok("user", "disable", "deploy")
    assert "disabled" in cli.ok("user", "list")
    assert json.loads(cli.ok("user", "delete", "deploy", "--yes", "--json")) == {"deleted": "service", "name": "deploy"}
    last = cli("user", "delete", "ada", "--yes", code=2).stderr
    assert "ada is the last admin" in last and "Traceback" not in last


def test_a_mistake_is_a_sentence(cli: Cli) -> None:
    """With what there is, or what to do."""
    assert "fewer than 12 characters" in cli("user", "create", "eve", stdin="short", code=2).stderr
    assert "no password on stdin" in cli("user", "create", "eve", code=2).stderr
    assert "there are viewer, follower" in cli("member", "add", "x", "--role", "boss", "--installation", code=2).stderr
    assert "sealrun user list" in cli("member", "add", "x", "--role", "viewer", "--installation", code=2).stderr
    both = cli("member", "list", "--installation", "-p", "shop", code=2).stderr
    assert "leave out -p and -e" in both
    shown = cli("token", "revoke", "srn_" + "x" * 37, "--yes", code=2).stderr
    assert "that is the token itself" in shown and "srn_x" not in shown
    assert [one["name"] for one in cli.json("role", "list", "--json")][:2] == ["viewer", "follower"]


@pytest.mark.long
def test_a_password_is_asked_for_twice_on_a_terminal_and_not_shown(cli: Cli) -> None:
    """And never taken from the command line, which every process can read."""
    terminal = cli.terminal("user", "create", "bob")
    terminal.until("password of bob")
    terminal.type(PASSWORD + "\n")
    terminal.until("Repeat")
    terminal.type(PASSWORD + "\n")
    assert terminal.ended() == 0
    assert "created person bob" in terminal.shown and PASSWORD not in terminal.shown
