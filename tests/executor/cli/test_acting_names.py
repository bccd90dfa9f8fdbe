"""Names that something acts on, at every door: what is stored, what is submitted, what installers act on."""

import json
import sqlite3
from collections.abc import Iterator

import pytest

from tests.executor.cli.conftest import Cli

INDEX = "https://user:canary@packages.example.com/simple?t=canary"


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Iterator[Cli]:
    """An empty project."""
    cli.ok("project", "create", "shop")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    yield cli


def last_event(cli: Cli, subject: str) -> dict[str, object]:
    """The latest entry of the audit log about a subject, without its time and hashes."""
    found = cli.json("audit", "list", "--json", "--subject", subject, "-L", "1")
    return {"action": found[-1]["action"], **json.loads(found[-1]["detail"])}


def test_nothing_stores_them(shop: Cli) -> None:
    """`secret set`, `variable set`, `secret import`: refused before a value is read, with what to do instead."""
    for words in (("secret", "set", "GIT_SSH_COMMAND"), ("variable", "set", "GIT_SSH_COMMAND", "ssh -v")):
        said = shop(*words, stdin="canary-value", code=2).stderr
        assert said.startswith('sealrun: the name "GIT_SSH_COMMAND" is refused: git and other version control run')
        assert said.splitlines()[1].startswith("hint: set it in the job's own code, or for one run with run --env")
    said = shop("secret", "import", "-", "--yes", stdin="NODE_OPTIONS=--require=/x.js\n", code=1).stderr
    assert 'line 1: the name "NODE_OPTIONS" is refused: Node.js acts on it, unless it says sizes of memory' in said
    assert shop.ok("secret", "list") == shop.ok("variable", "list") == ""
    refused = shop("variable", "set", "NODE_OPTIONS", "--max-old-space-size=64", code=2).stderr
    assert "a value that begins with - behind --: sealrun variable set -p PROJECT NAME -- VALUE" in refused
    shop.ok("variable", "set", "NODE_OPTIONS", "--", "--max-old-space-size=64")
    shop.ok("variable", "delete", "NODE_OPTIONS", "--yes")


@pytest.mark.parametrize("option", ["--env", "--env-file"])
def test_who_submits_may_set_them_for_the_run(shop: Cli, option: str) -> None:
    """The code is theirs; what acts before it is refused all the same, and `explain` says the same."""
    shown = "import os; print(os.environ['PAGER'])"
    given = {"PAGER": "less -R", "LD_PRELOAD": "/x.so"}
    for name, value in given.items():
        (shop.jobs / f"{name}.env").write_text(f"{name}='{value}'\n")
    words = {name: f"{name}={value}" if option == "--env" else f"{name}.env" for name, value in given.items()}
    assert shop.ok("run", option, words["PAGER"], "--", "python3", "-c", shown) == "less -R\n"
    shop("secret", "explain", option, words["PAGER"], "--", "true", code=0)
    for command in (("run",), ("secret", "explain")):
        said = shop(*command, option, words["LD_PRELOAD"], "--", "true", code=2 if command == ("run",) else 1).stderr
        assert 'the name "LD_PRELOAD" is refused: the dynamic loader acts on it' in said


def test_a_row_that_was_put_into_the_database_acts_in_no_run(shop: Cli) -> None:
    """I9: the run is refused by the process that builds its environment; the submission's own value is given."""
    shop.ok("variable", "set", "EDITED", "/bin/evil.sh")
    with sqlite3.connect(shop.home / "sealrun.db") as database:
        database.execute("UPDATE secretstore_variable SET name = 'GIT_PAGER' WHERE name = 'EDITED'")
    try:
        said = shop("run", "--", "true", code=125).stderr
        assert 'the name "GIT_PAGER" is refused: programs run it to show pages of text' in said
        assert 'the name "GIT_PAGER" is refused' in shop("secret", "explain", "--", "true", code=1).stderr
        shop.ok("run", "--env", "GIT_PAGER=less", "--", "sh", "-c", 'test "$GIT_PAGER" = less')
    finally:
        shop.ok("variable", "delete", "GIT_PAGER", "--yes")


class TestInstallers:
    def test_a_script_says_yes_and_the_audit_log_has_old_and_new(self, shop: Cli) -> None:
        """A password in them is left out, since the log keeps what it is told."""
        said = shop("variable", "set", "PIP_INDEX_URL", "https://example.com/simple", code=2).stderr
        assert said.startswith("sealrun: set PIP_INDEX_URL (installers act on it: it decides from where packages come)")
        assert said.endswith("hint: add --yes\n")
        assert shop.ok("variable", "list") == ""

        shop.ok("variable", "set", "PIP_INDEX_URL", "https://example.com/simple", "--yes")
        said = shop("variable", "set", "PIP_INDEX_URL", INDEX, "-y", code=0).stderr
        assert "has a URL with a password in it, and anyone who may list sees its value" in said
        why = "installers act on it: it decides from where packages come"
        told = {"old": "https://example.com/simple", "new": "https://***@packages.example.com/simple?***"}
        assert last_event(shop, "default/PIP_INDEX_URL") == {"action": "variable.set", "confirmed": why, **told}
        shop.ok("variable", "delete", "PIP_INDEX_URL", "--yes")
        gone = {"action": "variable.delete", "confirmed": why, "old": told["new"]}
        assert last_event(shop, "default/PIP_INDEX_URL") == gone
        shop.ok("variable", "set", "PLAIN", "x")
        assert last_event(shop, "default/PLAIN") == {"action": "variable.set"}

    def test_of_a_secret_the_log_has_that_it_was_confirmed_and_no_value(self, shop: Cli) -> None:
        """I10. Its alias counts; credentials of an index need no word."""
        for name in ("UV_INDEX", "pip.index-url"):
            assert "hint: add --yes" in shop("secret", "set", name, stdin=INDEX, code=2).stderr
            shop.ok("secret", "set", name, "--yes", stdin=INDEX)
            event = last_event(shop, f"default/{name}")
            assert str(event["confirmed"]).startswith("installers act on it")
            assert event.keys() == {"action", "confirmed", "secret_id", "version"}
        shop.ok("secret", "set", "UV_INDEX_OWN_PASSWORD", stdin="canary-password")
        assert "confirmed" not in last_event(shop, "default/UV_INDEX_OWN_PASSWORD")
        with sqlite3.connect(shop.home / "sealrun.db") as database:
            assert "canary" not in str(database.execute("SELECT detail FROM secretstore_audit_event").fetchall())

    def test_on_a_terminal_it_asks(self, shop: Cli) -> None:
        """Before the value is asked for."""
        screen = shop.terminal("secret", "set", "HTTPS_PROXY")
        screen.until("set HTTPS_PROXY (installers reach package indexes through it")
        screen.until("[y/N]")
        screen.type("n\n")
        assert screen.ended() == 1
        assert "nothing was done" in screen.shown
        assert "HTTPS_PROXY" not in shop.ok("secret", "list")

    def test_an_import_says_so_before_it_asks(self, shop: Cli) -> None:
        """The question of an import is the confirmation, and the log has it."""
        given = "UV_DEFAULT_INDEX=https://packages.example.com/simple\n"
        said = shop("secret", "import", "-", "--yes", stdin=given, code=0).stderr
        assert "note: UV_DEFAULT_INDEX: installers act on it: it decides from where packages come\n" in said
        assert last_event(shop, "default/UV_DEFAULT_INDEX")["new"] == "https://packages.example.com/simple"
