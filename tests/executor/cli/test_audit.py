"""`sealrun audit`, and what receipts answer: which runs saw a version, what a run saw, when a secret was last used."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.executor.cli.conftest import CHECKOUT, Cli

DOCUMENT = CHECKOUT / "docs" / "reference" / "audit.md"


@pytest.fixture(scope="module")
def used(shop: Cli) -> Cli:
    """Two runs that were given API_KEY, one of them version 2, and one that was given nothing."""
    shop.ok("run", "--secret", "API_KEY", "--", "true")
    shop.ok("secret", "set", "API_KEY", stdin="hunter2-second-key")
    shop.ok("run", "--secret", "API_KEY", "--", "true")
    shop.ok("run", "--no-secrets", "--", "true")
    return shop


def execute(cli: Cli, *statements: str) -> None:
    """Change rows behind the product's back."""
    with closing(sqlite3.connect(cli.home / "sealrun.db", timeout=10)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


class TestReceipts:
    def test_a_run_says_what_it_saw(self, used: Cli) -> None:
        """Secrets with versions, the key pair, and when they were opened and dropped."""
        run = used.json("runs", "list", "--json")[1]["id"]
        shown = used.ok("runs", "show", run)
        assert "  secrets  API_KEY version 2\n" in shown
        assert re.search(r"^  key      generation 1, [0-9a-f]{16}, local:", shown, re.MULTILINE)
        assert re.search(r"^  opened   20\d\d-", shown, re.MULTILINE) and "  dropped  20" in shown
        (attempt,) = used.json("runs", "show", run, "--json")["attempts"]
        (receipt,) = attempt["receipts"]
        assert (receipt["phase"], receipt["status"], receipt["generation"]) == ("run", "closed", 1)
        assert len(receipt["fingerprint"]) == 64 and receipt["may_have_been_opened"] is False

    def test_an_attempt_it_did_not_have_is_refused(self, used: Cli) -> None:
        """With how many there were."""
        assert used.ok("runs", "show", "@last", "--attempt", "1") == used.ok("runs", "show", "@last")
        refused = used("runs", "show", "@last", "--attempt", "2", code=2)
        assert "has no attempt 2: it had 1" in refused.stderr

    def test_a_version_says_which_runs_saw_it(self, used: Cli) -> None:
        """How many and the latest, per version; and each of them."""
        latest, earlier = [run["id"] for run in used.json("runs", "list", "--json")[1:3]]
        versions = used.json("secret", "history", "API_KEY", "--json")
        assert [(one["version"], one["kept"], one["runs"], one["last_run"]) for one in versions] == [
            (2, True, 1, latest),
            (1, True, 1, earlier),
        ]
        assert re.search(rf"^1\t.*\t1\t{earlier[:8]}\t20", used.ok("secret", "history", "API_KEY"), re.MULTILINE)
        (line,) = used.ok("secret", "history", "API_KEY", "--version", "1").splitlines()
        assert line.startswith(f"{earlier[:8]}\tsucceeded\t20") and line.endswith("\topened")
        told = used.json("secret", "history", "API_KEY", "--version", "1", "--json")
        assert told["kept"] is True and [run["id"] for run in told["runs"]] == [earlier]
        assert "API_KEY has no version 9" in used("secret", "history", "API_KEY", "--version", "9", code=0).stderr

    def test_a_destroyed_version_still_says_who_saw_it(self, used: Cli) -> None:
        """Receipts outlive versions, and the answer says that this one is no longer kept."""
        execute(used, "UPDATE executor_receipt_secret SET version = 77 WHERE version = 1 AND name = 'API_KEY'")
        try:
            assert used.ok("secret", "history", "API_KEY").splitlines()[-1].startswith("77\t\t\t1\t")
            seen = used("secret", "history", "API_KEY", "--version", "77", code=0)
            assert "version 77 of API_KEY is no longer kept" in seen.stderr and "\tsucceeded\t" in seen.stdout
            assert used.json("secret", "history", "API_KEY", "--json")[-1]["kept"] is False
        finally:
            execute(used, "UPDATE executor_receipt_secret SET version = 1 WHERE version = 77")

    def test_a_receipt_left_open_says_so(self, used: Cli) -> None:
        """In the run, in the history of what it was given, and in JSON."""
        run = used.json("runs", "list", "--json")[1]["id"]
        before = "opened_at, dropped_at FROM executor_receipt"
        execute(used, f"CREATE TABLE kept AS SELECT run_id, {before}")
        execute(used, "UPDATE executor_receipt SET status = 'opening', opened_at = NULL, dropped_at = NULL")
        try:
            assert "  opened   may have been opened" in used.ok("runs", "show", run)
            assert used.json("runs", "show", run, "--json")["receipt"]["may_have_been_opened"] is True
            assert used.ok("secret", "history", "API_KEY", "--version", "2").endswith("\tmay have been opened\n")
        finally:
            back = "(SELECT {0} FROM kept k WHERE k.run_id = executor_receipt.run_id)"
            moments = ", ".join(f"{name} = {back.format(name)}" for name in ("opened_at", "dropped_at"))
            execute(used, f"UPDATE executor_receipt SET status = 'closed', {moments}", "DROP TABLE kept")

    def test_an_expired_secret_is_marked(self, used: Cli) -> None:
        """With how long it had been expired when it was given."""
        run = used.json("runs", "list", "--json")[1]["id"]
        expired = "strftime('%Y-%m-%dT%H:%M:%f000+00:00', given_at, '-73 hours')"
        execute(used, f"UPDATE executor_receipt_secret SET expires_at = {expired} WHERE run_id = '{run}'")
        assert "API_KEY version 2, expired 3 days before\n" in used.ok("runs", "show", run)

    def test_secrets_say_when_they_were_last_used(self, used: Cli) -> None:
        """A moment, or never."""
        listed = {one["name"]: one["last_used_at"] for one in used.json("secret", "list", "--json")}
        assert str(listed["API_KEY"]).startswith("20") and listed["DATABASE_URL"] is None
        lines = used.ok("secret", "list").splitlines()
        assert lines[0].split("\t")[5].startswith("20") and lines[1].split("\t")[5] == "never"


class TestAudit:
    def test_a_runs_opening_is_listed_with_the_acts(self, used: Cli) -> None:
        """Who submitted it, by way of which worker, to which environment, how it ended; filters choose."""
        events = used.json("audit", "list", "--json", "--action", "secrets.*")
        assert [(event["action"], event["outcome"]) for event in events] == [
            ("secrets.open", "begun"),
            ("secrets.close", "done"),
        ] * 2
        assert all(event["origin"].startswith("worker ") and event["subject"] == "default" for event in events)
        assert len(used.ok("audit", "list", "--subject", "default/*", "--since", "1h").splitlines()) == 3
        assert used.ok("audit", "list", "--since", "2100-01-01") == ""
        assert len(used.ok("audit", "list", "-L", "2", "--actor", events[0]["actor"]).splitlines()) == 2
        assert "a day as 2026-01-31" in used("audit", "list", "--since", "yesterday", code=2).stderr

    def test_the_documents_script_verifies_an_export(self, used: Cli) -> None:
        """The canonical form is as docs/reference/audit.md says: its script finds the same head in a real export."""
        (script,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        assert len(script.splitlines()) <= 22
        exported = used.ok("audit", "list", "--json", "-L", "1000000")

        def verify(text: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run([sys.executable, "-I", "-c", script], input=text, capture_output=True, text=True)

        head = used.json("audit", "verify", "--json")["head"]
        verified = verify(exported)
        assert verified.returncode == 0, verified.stderr
        assert verified.stdout.split()[1] == head
        for field in ("actor", "detail", "at", "previous_hash", "hash"):
            events = json.loads(exported)
            events[2][field] += "x"
            assert verify(json.dumps(events)).returncode == 1, field

    def test_a_head_that_was_kept_finds_a_cut_tail(self, used: Cli) -> None:
        """The chain alone verifies; against the head it does not, and the sentence says what happened."""
        head = re.search(r"head (\d+:[0-9a-f]{64})$", used.ok("audit", "verify").strip())
        assert head is not None
        assert used.json("audit", "verify", "--expect-head", head[1], "--json")["ok"] is True
        last = int(head[1].partition(":")[0])
        row = f"FROM secretstore_audit_event WHERE sequence = {last} AND project = 'shop'"
        execute(used, f"CREATE TABLE cut AS SELECT * {row}", f"DELETE {row}")
        try:
            used.ok("audit", "verify")
            cut = used("audit", "verify", "--expect-head", head[1], code=1)
            assert f"event {last} was expected: its end was cut off, or the database is an older one" in cut.stdout
        finally:
            execute(used, "INSERT INTO secretstore_audit_event SELECT * FROM cut", "DROP TABLE cut")
        assert used("audit", "verify", "--expect-head", "12:nothing", code=2).stderr.startswith("sealrun: ")

    def test_an_edited_event_is_named(self, used: Cli) -> None:
        """By its place, with what is wrong."""
        where = "WHERE project = 'shop' AND sequence = 2"
        execute(used, f"UPDATE secretstore_audit_event SET actor = actor || 'x' {where}")
        try:
            found = used("audit", "verify", code=1)
            assert found.stdout.startswith("event 2 was changed, or moved")
        finally:
            execute(used, f"UPDATE secretstore_audit_event SET actor = substr(actor, 1, length(actor) - 1) {where}")
        used.ok("audit", "verify")
