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
            "PATH", "LANG", "HOME", "USER", "LOGNAME", "TMPDIR", "PYTHONUNBUFFERED",
            "SEALRUN_RUN_ID", "SEALRUN_PROJECT", "SEALRUN_ENV", "SEALRUN_OUTPUT_DIR", "SEALRUN_METRICS",
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
            'the name "SEALRUN_X" is refused: names that begin with SEALRUN_ are reserved for sealrun',
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
            (("words.sh",), "words.sh is not a Python file"),
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
        assert "executor.cli.typed.pairs" in modules
        assert not modules & {"celery", "secretstore.reveal", "executor.supervisor.opener"}, words
    # And who does neither does not pay for it.
    assert not imported(jobs, "secret", "list") & {
        "executor.cli.typed.pairs",
        "executor.submission.specification",
        "dotenv",
    }


@pytest.fixture(scope="module")
def lakes(jobs: Cli) -> Cli:
    """A project with a connection of every sort, a secret that is a file, and one that is not there."""
    jobs.ok("project", "create", "lakes")
    keys = {"aws_access_key_id": "AKIALAKE0000EXAMPLE1", "aws_secret_access_key": "lake+secret/key-4711-9f3b7c"}
    jobs.ok("secret", "set", "LAKE", "-p", "lakes", stdin=json.dumps(keys))
    jobs.ok("secret", "set", "DSN", "-p", "lakes", stdin="postgresql://reader:s3cr%24t-pass-99@127.0.0.1:9/shop")
    jobs.ok("secret", "set", "UNITY", "-p", "lakes", stdin="dapi-0123456789abcdef-unity")
    jobs.ok("secret", "set", "tls.key", "-p", "lakes", "--as-file", stdin="correct-horse-battery")
    where = ("--bucket", "raw", "--region", "eu-north-1", "--endpoint", "http://127.0.0.1:9")
    made = {
        ("source", "lake", "s3"): (*where, "--credentials-secret", "LAKE"),
        ("source", "ledger", "postgres"): ("--url-secret", "DSN"),
        ("source", "gone", "postgres"): ("--url-secret", "NOT_THERE"),
        ("catalog", "ice", "iceberg-rest"): ("--endpoint", "http://127.0.0.1:9", "--source", "lake"),
        ("catalog", "main", "unity-catalog"): ("--endpoint", "http://127.0.0.1:9", "--token-secret", "UNITY"),
    }
    for (role, name, kind), words in made.items():
        jobs.ok(role, "create", name, "-p", "lakes", "--kind", kind, *words)
    jobs.job("look.py", "import os\ndef names(data=None, cat=None): return sorted(os.environ)\n")
    return jobs


class TestConnections:
    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("--secret", "DSN"),
            ("--no-secrets",),
            ("--no-connections",),
            ("--no-connections", "--source", "data=lake", "--catalog", "cat=main"),
            ("--no-secrets", "--catalog", "cat=ice"),
            ("--env", "AWS_PROFILE=lake", "--env", "PGHOST=x", "--env", "DATABRICKS_HOST=x"),
            ("--bundle",),
        ],
    )
    def test_names_are_those_that_a_run_finds(self, lakes: Cli, options: tuple[str, ...]) -> None:
        """I3: but for the field that the secret has not got; and secrets go the way that the receipt has."""
        told = lakes.json("secret", "explain", "--json", "-p", "lakes", *options, "look.py:names")
        certain = {one["name"] for one in told["names"] if not one["perhaps"]}
        assert certain == set(lakes.json("run", "-p", "lakes", *options, "look.py:names"))
        receipt = lakes.json("runs", "show", "-p", "lakes", "@last", "--json")["receipt"]
        ways = {one["name"]: one["channel"] for one in receipt["secrets"]}
        assert ways == {
            **{
                one["name"]: "file" if one["file"] else "environment"
                for one in told["names"]
                if one["kind"] == "secret"
            },
            **dict.fromkeys(told["for_connections"], "connection"),
        }
        of_its_own = [one for one in receipt["connections"] if not one["place"].startswith("source.")]
        filled = {(one["role"], one["connection"]) for one in of_its_own}
        assert filled == {
            (one["role"], one["name"]) for one in told["connections"] if one["left_out"] is None and one["secrets"]
        }

    def test_what_each_is(self, lakes: Cli) -> None:
        """Of which connection, in which file, and what may be missing."""
        found = by_name(lakes.json("secret", "explain", "--json", "-p", "lakes", "names.py"))
        brought = {name: (one["origin"], one["file"]) for name, one in found.items() if one["kind"] == "connection"}
        assert brought["AWS_CONFIG_FILE"] == ("source lake", "aws-config")
        assert brought["PGSERVICEFILE"] == ("source ledger", "pg-services")
        assert brought["PYICEBERG_CATALOG__ICE__S3__ENDPOINT"] == ("catalog ice", None)
        assert [name for name, one in found.items() if one["perhaps"]] == ["PYICEBERG_CATALOG__ICE__S3__SESSION_TOKEN"]
        assert (found["tls.key"]["file"], found["TLS_KEY"]["file"]) == ("secret-1", "secret-1")

    def test_on_screen(self, lakes: Cli) -> None:
        """What is a file, what is opened for connections alone, what is left out and why."""
        words = ("--secret", "tls.key", "names.py")
        ended = lakes("secret", "explain", "-p", "lakes", *words, code=0)
        assert "tls.key\tsecret\tdefault, version 1\tthe path of a file, secret-1; also as TLS_KEY\n" in ended.stdout
        assert "AWS_CONFIG_FILE\tconnection\tsource lake\tthe path of a file, aws-config\n" in ended.stdout
        assert "SESSION_TOKEN\tconnection\tcatalog ice\twhere the secret has this field\n" in ended.stdout
        assert "opened for connections alone: DSN, LAKE, UNITY\n" in ended.stderr
        assert "left out: source gone: its url is the secret NOT_THERE, which lakes (default) does not have\n" in (
            ended.stderr
        )
        ended = lakes("secret", "explain", "-p", "lakes", "--no-connections", "names.py", code=0)
        assert "connections not asked for: source gone, source lake, source ledger, catalog ice, catalog main\n" in (
            ended.stderr
        )

    def test_without_secrets_a_catalog_is_not_there_without_its_source(self, lakes: Cli) -> None:
        """Nobody asked for it, so nothing is said to be left out of the run."""
        ended = lakes("secret", "explain", "-p", "lakes", "--no-secrets", "names.py", code=0)
        assert "catalog ice" in ended.stderr and "left out: catalog" not in ended.stderr
        assert "left out of this run" not in lakes("run", "-p", "lakes", "--no-secrets", "names.py", code=0).stderr

    def test_a_role(self, lakes: Cli) -> None:
        """Its keys stay with the opener, unless the run asks for them by name."""
        lakes.ok("project", "create", "roles")
        lakes.ok("secret", "set", "KEYS", "-p", "roles", stdin="correct-horse-battery")
        role = ("--assume-role", "arn:aws:iam::123456789012:role/lake")
        lakes.ok(
            "source",
            "create",
            "lake",
            "-p",
            "roles",
            "--kind",
            "s3",
            "--bucket",
            "b",
            "--credentials-secret",
            "KEYS",
            *role,
        )
        ended = lakes("secret", "explain", "-p", "roles", "names.py", code=0)
        assert "KEYS\tsecret" not in ended.stdout and "AWS_PROFILE\tconnection" in ended.stdout
        assert "exchanged for short-lived credentials before the run: KEYS\n" in ended.stderr
        told = lakes.json("secret", "explain", "--json", "-p", "roles", "--secret", "KEYS", "names.py")
        assert (by_name(told)["KEYS"]["kind"], told["with_opener"]) == ("secret", [])

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (
                ("--source", "data=gone", "look.py:names"),
                "the parameter data cannot be given: source gone: its url is ",
            ),
            (("--source", "data=lak", "look.py:names"), "lak"),
            (("--source", "data=lake", "names.py"), "only a function can have data sources and catalogs as parameters"),
            (("--source", "lake", "look.py:names"), "--source takes PARAM=NAME, as in --source data=lake: a parameter"),
            (("--catalog", "data=", "look.py:names"), "--catalog takes PARAM=NAME, as in --catalog data=main: a"),
            (
                ("--source", "data=lake", "--source", "data=gone", "look.py:names"),
                "--source says twice what the parameter data is",
            ),
        ],
    )
    def test_a_parameter_that_cannot_be_given(self, lakes: Cli, words: tuple[str, ...], why: str) -> None:
        """Refused, and a run says the same."""
        ended = lakes("secret", "explain", "-p", "lakes", *words)
        assert why in ended.stderr and ended.returncode in (1, 2)
        assert why in lakes("run", "-p", "lakes", *words).stderr
