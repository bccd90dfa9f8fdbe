"""`sealrun secret explain`: what it says is what a run sees, and it says so without a key."""

import json
import sqlite3
from typing import Any

import pytest

from tests.executor.cli.conftest import Cli
from tests.executor.cli.test_main import imported

DEAD = "aws-kms:alias/sealrun?region=eu-central-1&endpoint_url=http://127.0.0.1:1"


@pytest.fixture(scope="module")
def jobs(shop: Cli) -> Cli:
    """The shop with variables, odd names, and a job that tells the names of its environment."""
    shop.job("names.py", "import json, os; print(json.dumps(sorted(os.environ)))")
    shop.ok("variable", "set", "REGION", "eu-north-1")
    shop.ok("variable", "set", "LEVEL", "debug")
    for name in ("db.password", "mail.key", "mail-key", "2fa.seed", "home"):
        shop.ok("secret", "set", name, stdin="correct-horse-battery")
    shop.ok("secret", "set", "PIN", "--allow-short", stdin="1234")
    (shop.jobs / "vars.env").write_text("REGION=us-east-1\nFROM_FILE=1\n")
    return shop


def by_name(document: Any) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in document["names"]}


class TestNames:
    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("--no-secrets",),
            ("--secret", "db.password", "--secret", "API_KEY", "--env", "DB_PASSWORD=plain"),
            ("--env", "LEVEL=info", "--env-file", "vars.env"),
        ],
    )
    def test_they_are_those_that_a_run_finds(self, jobs: Cli, options: tuple[str, ...]) -> None:
        """I3: to the last one, through a real worker; the receipt has the aliases that were told."""
        told = jobs.json("secret", "explain", "--json", *options, "names.py")

        assert told["runnable"] is True
        assert sorted(entry["name"] for entry in told["names"]) == jobs.json("run", *options, "names.py")
        given = jobs.json("runs", "show", "@last", "--json")["receipt"]["secrets"]
        secrets = [entry for entry in told["names"] if entry["kind"] == "secret"]
        assert [(one["name"], one["version"], one["alias"]) for one in secrets] == [
            (one["name"], one["version"], one["alias"]) for one in sorted(given, key=lambda one: one["name"])
        ]

    def test_each_has_its_origin_and_what_it_stands_over(self, jobs: Cli) -> None:
        """The environment's, the file's, --env: a later one over an earlier one."""
        options = ("--env-file", "vars.env", "--env", "REGION=x", "--env", "LEVEL=y")
        found = by_name(jobs.json("secret", "explain", "--json", *options, "names.py"))
        variables = {name: (one["origin"], one["over"]) for name, one in found.items() if one["kind"] == "variable"}
        assert variables == {
            "REGION": ("--env", ["--env-file", "default"]),
            "LEVEL": ("--env", ["default"]),
            "FROM_FILE": ("--env-file", []),
        }
        assert {name for name, one in found.items() if one["kind"] == "sealrun"} == {
            "PATH", "LANG", "HOME", "TMPDIR", "SEALRUN_RUN_ID", "SEALRUN_PROJECT", "SEALRUN_ENV", "SEALRUN_OUTPUT_DIR",
            "SEALRUN_METRICS",
        }  # fmt: skip

    def test_aliases_and_why_there_is_none(self, jobs: Cli) -> None:
        """Shared, taken, refused; and what cannot be masked is marked (I9)."""
        found = by_name(jobs.json("secret", "explain", "--json", "--env", "DB_PASSWORD=plain", "names.py"))
        assert found["db.password"]["no_alias"] == "DB_PASSWORD is taken"
        assert found["mail.key"]["no_alias"] == "MAIL_KEY would be mail-key too"
        assert found["2fa.seed"]["alias"] == "_2FA_SEED"
        assert (found["_2FA_SEED"]["kind"], found["_2FA_SEED"]["origin"]) == ("alias", "2fa.seed")
        assert (found["home"]["alias"], found["home"]["no_alias"]) == (None, None)  # a shell holds it as it is
        assert (found["PIN"]["maskable"], found["API_KEY"]["maskable"]) == (False, True)

    def test_expired_ones_are_marked_and_what_is_left_out_is_told(self, jobs: Cli) -> None:
        """An expiry refuses nothing."""
        with sqlite3.connect(jobs.home / "sealrun.db") as database:
            for name, year in (("API_KEY", 2020), ("PIN", 2099)):
                moment = f"{year}-01-01 00:00:00.000000"
                database.execute("UPDATE secretstore_secret SET expires_at = ? WHERE name = ?", (moment, name))
        shown = jobs("secret", "explain", "--secret", "API_KEY", "--secret", "PIN", "names.py", code=0)
        assert "API_KEY\tsecret\tdefault, version 1\texpired 2020-01-01T00:00:00.000Z\n" in shown.stdout
        assert "PIN\tsecret\tdefault, version 1\texpires 2099-01-01T00:00:00.000Z; not masked\n" in shown.stdout
        assert "left out: 2fa.seed, DATABASE_URL, db.password, home, mail-key, mail.key\n" in shown.stderr
        assert "size: at most " in shown.stderr and " of 2,000,000; the largest, " in shown.stderr

    def test_no_value_of_a_secret_is_in_it(self, jobs: Cli) -> None:
        """I10."""
        ended = jobs("secret", "explain", "--json", "names.py", code=0)
        assert not any(value in ended.stdout + ended.stderr for value in ("hunter2", "s3cr3t", "horse", "1234"))


class TestRefusals:
    def test_all_of_them_are_told_and_none_alone(self, jobs: Cli) -> None:
        """What a run would say one after the other; the exit code is 1."""
        (jobs.jobs / "broken.env").write_text("hunter2-not-a-pair\n")
        options = ("--secret", "API_KEI", "--secret", "NOPE", "--secret", "API_KEY", "--env", "API_KEY=x")
        more = ("--env", "LD_PRELOAD=x", "--env", "SEALRUN_X=x", "--env-file", "broken.env", "--python", "/nowhere")
        ended = jobs("secret", "explain", "--json", *options, *more, "missing.py", code=1)

        told = json.loads(ended.stdout)
        assert told["runnable"] is False
        assert [one["sentence"] for one in told["refusals"]] == [
            "broken.env, line 1: there is no = in it",
            'no secret "API_KEI" in shop/default',
            'no secret "NOPE" in shop/default',
            "API_KEY is both a secret and a plain variable",
            "there is no file missing.py",
            "no Python interpreter for the run: /nowhere is not an executable file",
            'the name "LD_PRELOAD" is refused: the dynamic loader acts on it before the program starts',
            'the name "SEALRUN_X" is refused: names that begin with SEALRUN_ are sealrun\'s own',
        ]
        assert told["refusals"][1]["hint"] == 'did you mean "API_KEY"?'
        assert ended.stderr.startswith("sealrun: this run would be refused:\n  broken.env, line 1: ")
        assert "hunter2" not in ended.stdout + ended.stderr

    @pytest.mark.parametrize(
        "words",
        [
            ("missing.py",),
            ("--python", "/nowhere/python3", "names.py"),
            ("--env", "LD_PRELOAD=x", "names.py"),
            ("--env", "API_KEY=x", "names.py"),
            ("--secret", "API_KEI", "names.py"),
        ],
    )
    def test_a_run_says_the_same(self, jobs: Cli, words: tuple[str, ...]) -> None:
        """Word for word, with the same hint."""
        (told,) = json.loads(jobs("secret", "explain", "--json", *words, code=1).stdout)["refusals"]
        ended = jobs("run", *words)
        assert ended.returncode in (2, 125)
        hint = f"hint: {told['hint']}\n" if told["hint"] else ""
        assert ended.stderr == f"sealrun: {told['sentence']}\n{hint}"

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("-p", "toys", "names.py"), 'no project "toys"'),
            (("-e", "nowhere", "names.py"), 'no environment "nowhere"'),
            (("--secret", "A", "--no-secrets", "names.py"), "exclude each other"),
            (("--env", "NOVALUE", "names.py"), "--env takes NAME=VALUE"),
            ((), "TARGET is missing"),
            (("words.txt",), "words.txt is no Python file"),
        ],
    )
    def test_what_is_typed_wrong_is_told_as_by_run(self, jobs: Cli, words: tuple[str, ...], why: str) -> None:
        """And ends with 2."""
        assert why in jobs("secret", "explain", *words, code=2).stderr


@pytest.mark.parametrize("keys", [None, DEAD, "local:/nowhere/local.key"])
def test_it_needs_no_key(jobs: Cli, keys: str | None) -> None:
    """I4: with the key file gone, elsewhere, or a key service that nobody answers for: the same answer."""
    expected = jobs.ok("secret", "explain", "--json", "names.py")
    key_file = jobs.home / "keys" / "local.key"
    hidden = key_file.rename(jobs.folder / "hidden.key")
    try:
        found = jobs.ok("secret", "explain", "--json", "names.py", environ={"SEALRUN_KEYS": keys} if keys else {})
    finally:
        hidden.rename(key_file)
    assert found == expected


def test_neither_of_both_imports_what_opens_or_what_rings(jobs: Cli) -> None:
    """The process that explains could not open a value: the code for it is not in it."""
    (jobs.jobs / "some.env").write_text("A_TOKEN=correct-horse\n")
    for words in (("explain", "names.py"), ("import", "some.env", "--dry-run")):
        modules = imported(jobs, "secret", *words)
        assert "executor.pairs" in modules
        assert not modules & {"celery", "secretstore.reveal", "executor.supervisor.opener"}, words
    # And who does neither does not pay for it.
    assert not imported(jobs, "secret", "list") & {"executor.pairs", "executor.specification", "dotenv"}
