"""`sealrun secret import`: what a file holds becomes secrets and variables, all or nothing, and none of it is shown."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secretstore.audit import link_waiting
from secretstore.database import Database
from tests.executor.cli.conftest import CHECKOUT, Cli

CORPUS = CHECKOUT / "tests" / "executor" / "operations" / "import_corpus"
CANARY = "canary"
"""It stands in every value of the corpus that is a secret, and in what is not but might be."""

NO_NAME = "what stands for a name is none: a name has 1 to 255 letters, digits, -, _ and ."
NO_EQUALS = "there is no = in it"
QUOTE = "a quote is not closed, or something follows it"
NO_JSON = "it is no JSON"
ONE_OBJECT = "it has to be one object of names and values"
TOO_LONG = "NAME=value is longer than 131,071 bytes"

MALFORMED = {
    "after_quote.env": [f"line 3: {QUOTE}"],
    "base64_end.env": ["line 2: it looks like the end of a value that began above: put quotes around it"],
    "binary.env": ["line 1: it is not text in UTF-8"],
    "colon.env": [f"line 1: {NO_EQUALS}", f"line 2: {NO_EQUALS}"],
    "comments.env": ["there is no name in it"],
    "crlf.env": [f"line 2: {NO_EQUALS}", f"line 4: {NO_EQUALS}"],
    "empty.env": ["there is no name in it"],
    "empty.json": ["there is no name in it"],
    "latin1.env": ["line 2: it is not text in UTF-8"],
    "list.json": [ONE_OBJECT],
    "long_name.env": [f"line 1: {NO_NAME}"],
    "nested.json": [
        "$.database: it is an object, and a value is text, a number, true or false",
        "$.hosts: it is a list, and a value is text, a number, true or false",
        "$.none: it is null, and a value is text, a number, true or false",
        "$.nan: NaN and Infinity are no JSON",
    ],
    "no_equals.env": [f"line 1: {NO_EQUALS}", f"line 4: {NO_EQUALS}"],
    "no_name.env": ["line 1: there is no name before the ="],
    "no_names.json": ["there is no name in it"],
    "not.json": [f"line 3, column 11: {NO_JSON}"],
    "nul.env": ["line 1: there is a NUL, which no variable can hold"],
    "nul.json": [
        '$.TOKEN: the value of "TOKEN" is refused: it contains a NUL byte, which no environment variable can hold'
        ": runs can get it as a file: sealrun secret set TOKEN --as-file"
    ],
    "odd_key.json": [f"$.<key 1>: {NO_NAME}", f"$.<key 2>: {NO_NAME}"],
    "odd_name.env": [f"line 1: {NO_NAME}", f"line 2: {NO_NAME}"],
    "old_mac.env": [f"line 2: {NO_EQUALS}"],
    "open_double_quote.env": [f"line 2: {QUOTE}"],
    "open_single_quote.env": [f"line 1: {QUOTE}"],
    "open_string.json": [f"line 1, column 18: {NO_JSON}"],
    "quote_swallows.env": [f"line 1: {QUOTE}"],
    "refused_names.env": [
        'line 1: the name "LD_PRELOAD" is refused: the dynamic loader acts on it before the program starts',
        'line 2: the name "PATH" is refused: it belongs to the environment that sealrun builds for each run',
        'line 3: the name "SEALRUN_HOME" is refused: names that begin with SEALRUN_ are reserved for sealrun',
    ],
    "spaced_name.env": ["line 1: it is no NAME=VALUE"],
    "surrogate.json": ["$.TOKEN: half a surrogate pair is not text in UTF-8"],
    "taken.env": [
        "line 1: REGION is a variable of default, and this would be a secret: say --variable REGION, or delete it "
        "first: sealrun variable delete REGION -p shop -e default"
    ],
    "text.json": [ONE_OBJECT],
    # From 3.13 on Python points to the comma, before that to what stands behind it.
    "trailing_comma.json": [f"line 1, column {19 if sys.version_info >= (3, 13) else 20}: {NO_JSON}"],
    "twice.env": ["line 3: TOKEN stands in line 1 already: remove one of the two"],
    "twice.json": ["$.TOKEN: TOKEN stands before already: remove one of the two"],
    "two.json": [f"line 1, column 21: {NO_JSON}"],
    "unquoted_key.env": [f"line 2: {NO_EQUALS}", f"line 3: {NO_EQUALS}", f"line 4: {NO_EQUALS}"],
    "url_alone.env": [f"line 1: {NO_NAME}"],
    "utf16.env": ["it is text in UTF-16: save it in UTF-8"],
}

MADE: dict[str, tuple[bytes, list[str]]] = {
    "blanks.env": (b"PASSWORD=canary" + b" " * 300 + b"canary\n", ["line 1: there are over 255 blanks in a row"]),
    "deep.json": (
        b'{"TOKEN": ' + b"[" * 100_000 + b'"canary"' + b"]" * 100_000 + b"}",
        ["it is nested too deeply: it has to be one object of names and values"],
    ),
    "lines.env": (
        "".join(f"A{number}=1\n" for number in range(20_001)).encode(),
        ["line 20001: there are over 20,000 lines"],
    ),
    "too_long.env": (b"OK_TOKEN=canary-ok\nPASSWORD=canary" + b"x" * 131_071, [f"line 2: {TOO_LONG}"]),
}
"""What would be too large for a folder of examples."""


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Iterator[Cli]:
    """A project with a variable, and a folder of its own to import in."""
    cli.ok("project", "create", "shop", "-e", "staging")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    cli.ok("variable", "set", "REGION", "eu-north-1")
    yield cli


def stored(cli: Cli) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the secret store; what earlier runs left waiting for the audit chain is linked first."""
    db = Database(f"sqlite:///{cli.home}/sealrun.db")
    link_waiting(db)
    db.close()
    with sqlite3.connect(cli.home / "sealrun.db") as database:
        listed = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'secretstore%'"
        tables = [name for (name,) in database.execute(listed)]
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def refused(cli: Cli, path: Path, *options: str) -> tuple[list[str], Any]:
    """What an import that must not write says on stderr, problem by problem, and its JSON."""
    before = stored(cli)
    ended = cli("secret", "import", str(path), "--json", *options, code=1)
    assert stored(cli) == before
    assert CANARY not in (ended.stdout + ended.stderr).replace(str(path), "").lower()
    first, *problems = ended.stderr.splitlines()
    assert not any(line.startswith("hint: ") for line in problems[:-1])
    problems = [line for line in problems if not line.startswith("hint: ")]
    assert first == f"sealrun: {path} cannot be imported; nothing was written:"
    return [line.removeprefix("  ") for line in problems], json.loads(ended.stdout)


class TestMalformed:
    @pytest.mark.parametrize("name", MALFORMED)
    def test_each_ends_in_one_sentence_and_changes_nothing(self, shop: Cli, name: str) -> None:
        """All problems at once by their places, no row written, and no piece of a value anywhere (I10)."""
        said, document = refused(shop, CORPUS / "malformed" / name, "--yes")

        assert said == MALFORMED[name]
        assert [f"{one['place']}: {one['why']}".removeprefix(": ") for one in document["problems"]] == said
        assert (document["written"], document["entries"]) == (False, [])

    @pytest.mark.parametrize("name", MADE)
    def test_large_ones_too(self, shop: Cli, tmp_path: Path, name: str) -> None:
        """They end in time."""
        content, problems = MADE[name]
        (tmp_path / name).write_bytes(content)
        said, _ = refused(shop, tmp_path / name, "--yes")
        assert [line.replace('the value of "PASSWORD" is refused: ', "") for line in said][-1:] == problems

    def test_the_table_has_the_whole_corpus(self) -> None:
        """No file lies there untried."""
        assert {path.name for path in (CORPUS / "malformed").iterdir()} == MALFORMED.keys()

    def test_a_dry_run_finds_the_same(self, shop: Cli) -> None:
        """And ends with 1."""
        said, document = refused(shop, CORPUS / "malformed" / "twice.env", "--dry-run")
        assert (said, document["dry_run"]) == (MALFORMED["twice.env"], True)

    def test_of_very_many_problems_a_screen_shows_a_hundred(self, shop: Cli, tmp_path: Path) -> None:
        """--json has all of them."""
        (tmp_path / "many.env").write_text("canary line\n" * 150)
        said, document = refused(shop, tmp_path / "many.env", "--yes")
        assert (len(said), said[-1]) == (101, "and 50 more; --dry-run --json lists all")
        assert len(document["problems"]) == 150

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (lambda path: path.mkdir(), "is a directory"),
            (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
            (lambda path: path.write_bytes(b"A_TOKEN=" + b"canary" * (1 << 20)), "it has more than 4,194,304 bytes"),
            (lambda path: path.symlink_to("nowhere"), "no such file or directory"),
        ],
    )
    def test_what_is_no_file_is_a_sentence(self, shop: Cli, tmp_path: Path, make: Any, why: str) -> None:
        """A folder, a device without an end, a file without a bound."""
        make(tmp_path / "x.env")
        before = stored(shop)
        ended = shop("secret", "import", str(tmp_path / "x.env"), "--yes", code=2)
        assert ended.stderr == f"sealrun: {tmp_path}/x.env cannot be read: {why}\n"
        assert stored(shop) == before

    def test_a_pipe_that_nobody_writes_into_does_not_hold_it(self, shop: Cli, tmp_path: Path) -> None:
        """It is empty."""
        os.mkfifo(tmp_path / "pipe")
        assert refused(shop, tmp_path / "pipe", "--yes")[0] == ["there is no name in it"]

    @pytest.mark.parametrize("words", [("TOKEN=canary-typed",), (".env", "canary-typed"), (".env", "--canary-typed")])
    def test_a_value_on_the_command_line_is_not_repeated(self, shop: Cli, words: tuple[str, ...]) -> None:
        """As `secret set` (I10)."""
        ended = shop("secret", "import", *words, "--yes", code=2)
        assert "a value is never taken from the command line" in ended.stderr
        assert CANARY not in ended.stderr + ended.stdout

    def test_two_files_are_one_too_many(self, shop: Cli, tmp_path: Path) -> None:
        """Told as that, and not as a value that somebody typed."""
        for name in ("a.env", "b.env"):
            (tmp_path / name).write_text("TOKEN=canary-in-a-file\n")
        ended = shop("secret", "import", str(tmp_path / "a.env"), str(tmp_path / "b.env"), "--yes", code=2)
        assert ended.stderr.startswith("sealrun: one file is imported at a time\n")


class TestSorting:
    @pytest.mark.parametrize(
        ("name", "secrets", "variables"),
        [
            (
                "django.env",
                {"SECRET_KEY", "DATABASE_URL"},
                {"CACHE_URL": ("memcache://cache-1:11211,127.0.0.1:11212", "a URL without credentials"),
                 "ALLOWED_HOSTS": (".example.com", "a host"),
                 "DEBUG": ("on", "too short to be masked"), "EMAIL_PORT": ("587", "too short to be masked"),
                 "EMPTY": ("", "empty")},
            ),
            (
                "compose.env",
                {"POSTGRES_PASSWORD"},
                {"PGDATA": ("/var/lib/postgresql/data", "a path"),
                 "POSTGRES_USER": ("postgres", "too common"),
                 "POSTGRES_DB": ("app", "too short to be masked"),
                 "COMPOSE_PROJECT_NAME": ("shop", "too short to be masked")},
            ),
            ("multiline.env", {"PRIVATE_KEY", "CERTIFICATE", "ESCAPED"}, {}),
            ("windows.env", {"API_TOKEN", "MOTD"}, {"PORT": ("8080", "too short to be masked")}),
            ("interpolated.env", {"URL", "FALLBACK", "DOLLAR"}, {"HOST": ("db.example.com", "a host")}),
            ("odd_names.env", {"db.password", "2fa-seed", "quoted"}, {}),
            ("unicode.env", {"GREETING", "EMOJI"}, {}),
            ("no_newline.env", {"TOKEN"}, {}),
            (
                "vercel.json",
                {"API_KEY", "BIG", "SERVICE_ACCOUNT"},
                {"RETRIES": ("3", "too short to be masked"), "RATIO": ("0.10", "too short to be masked"),
                 "ENABLED": ("true", "too short to be masked"), "DISABLED": ("false", "too short to be masked"),
                 "EMPTY": ("", "empty")},
            ),
            ("without_extension", {"TOKEN"}, {}),
        ],
    )  # fmt: skip
    def test_short_and_common_values_are_proposed_as_variables(
        self, shop: Cli, name: str, secrets: set[str], variables: dict[str, tuple[str | None, str]]
    ) -> None:
        """With the reason, and openly; of secrets the name alone is shown (I10)."""
        before = stored(shop)
        ended = shop("secret", "import", str(CORPUS / "good" / name), "--dry-run", "--json", code=0)
        assert stored(shop) == before
        assert CANARY not in ended.stdout + ended.stderr
        entries = json.loads(ended.stdout)["entries"]
        assert {one["name"] for one in entries if one["kind"] == "secret"} == secrets
        found = {one["name"]: (one["value"], one["reason"]) for one in entries if one["kind"] == "variable"}
        assert found == variables

    def test_what_is_not_expanded_is_said_once_by_name(self, shop: Cli) -> None:
        """`${X}` stands for itself."""
        said = shop("secret", "import", str(CORPUS / "good" / "interpolated.env"), "--dry-run", code=0).stderr
        assert said.splitlines()[0] == "note: nothing is expanded: ${…} stands for itself in URL, FALLBACK"

    @pytest.mark.parametrize("name", ["DB_PASSWORD", "db_pass", "API_TOKEN", "APP_SECRET", "API_KEY", "LOGIN_PIN"])
    def test_a_name_that_says_secret_is_sealed_however_short(self, shop: Cli, name: str) -> None:
        """What cannot be masked is said (I9); another name of the same value is a variable."""
        ended = shop("secret", "import", "-", "--dry-run", stdin=f"{name}=canary\nKEEP=hunter2\n", code=0)
        assert f"{name}\tnew secret\t\t\n" in ended.stdout
        assert "KEEP\tvariable new\thunter2\ttoo short to be masked\n" in ended.stdout
        assert f"note: {name} has under 8 bytes" in ended.stderr and CANARY not in ended.stdout + ended.stderr
        shop.ok("secret", "import", "-", "-e", "staging", "--yes", stdin=f"{name}=canary\n")

    def test_a_secret_without_a_value_is_left_out(self, shop: Cli) -> None:
        """As in a template: stored as an empty variable it would refuse the later value; --variable stores it so."""
        given = {"stdin": "OLD_TOKEN=\nREDIS_PASSWORD=null\nNEXT_LEVEL=\n"}
        ended = shop("secret", "import", "-", "-e", "staging", "--yes", **given, code=0)
        assert ended.stdout == "NEXT_LEVEL\tvariable new\t\tempty\n"
        assert ended.stderr.splitlines()[:2] == [
            "skipped: line 1: OLD_TOKEN is empty: left out; --variable OLD_TOKEN stores it so",
            "skipped: line 2: REDIS_PASSWORD is no value but null: left out; --variable REDIS_PASSWORD stores it so",
        ]
        later = shop.ok("secret", "import", "-", "-e", "staging", "--dry-run", stdin="OLD_TOKEN=canary-later\n")
        assert later == "OLD_TOKEN\tnew secret\t\t\n"
        kept = shop.ok("secret", "import", "-", "-e", "staging", "--yes", "--variable", "OLD_TOKEN", **given)
        assert "OLD_TOKEN\tvariable new\t(not shown)\tas asked\n" in kept
        twice = shop("secret", "import", "-", "--yes", stdin="A_TOKEN=\nA_TOKEN=canary-second\n", code=1).stderr
        assert "line 2: A_TOKEN stands in line 1 already: remove one of the two" in twice
        refused = shop("secret", "set", "OLD_TOKEN", "-e", "staging", stdin="canary-later", code=2).stderr
        assert "hint: delete it first: sealrun variable delete OLD_TOKEN -p shop -e staging\n" in refused

    def test_what_is_about_a_password_is_shown(self, shop: Cli) -> None:
        """A limit is no secret, and neither is the address of a login."""
        given = "PASSWORD_MIN_LENGTH=12\nTOKEN_TTL=3600\nAUTH_URL=https://login.example.com\nTOKEN_TTL_KEY=canary\n"
        assert shop.ok("secret", "import", "-", "--dry-run", stdin=given).splitlines() == [
            "PASSWORD_MIN_LENGTH\tvariable new\t12\ta number",
            "TOKEN_TTL\tvariable new\t3600\ta number",
            "AUTH_URL\tvariable new\thttps://login.example.com\ta URL without credentials",
            "TOKEN_TTL_KEY\tnew secret\t\t",
        ]

    def test_a_variable_named_like_a_secret_is_not_shown(self, shop: Cli) -> None:
        """It is one because that was asked for."""
        ended = shop("secret", "import", "-", "--variable", "A_KEY", "--dry-run", stdin="A_KEY=canary\n", code=0)
        assert ended.stdout == "A_KEY\tvariable new\t(not shown)\tas asked\n"

    def test_all_secret_takes_short_ones_when_asked_to(self, shop: Cli) -> None:
        """Else all of them are named; an empty one cannot be a secret (I9)."""
        given = {"stdin": "PORT=8080\nDEBUG=on\nEMPTY=\n"}
        said = shop("secret", "import", "-", "--all-secret", "--yes", **given, code=1).stderr
        assert [line.split(" is refused: ")[0] for line in said.splitlines()[1:]] == [
            '  line 1: the value of "PORT"',
            '  line 2: the value of "DEBUG"',
            '  line 3: the value of "EMPTY"',
        ]
        assert said.endswith("it is empty: say --variable EMPTY\n")
        options = ("--all-secret", "--allow-short", "--variable", "EMPTY", "--dry-run")
        ended = shop("secret", "import", "-", *options, **given, code=0)
        assert ended.stdout == "PORT\tnew secret\t\t\nDEBUG\tnew secret\t\t\nEMPTY\tvariable new\t\tas asked\n"
        assert "note: PORT has under 8 bytes" in ended.stderr

    def test_one_name_can_be_decided(self, shop: Cli) -> None:
        """--secret and --variable; a name that is not there, or asked for as both, is a problem."""
        given = {"stdin": "PORT=8080\nHOST=canary example\n"}
        options = ("--secret", "PORT", "--allow-short", "--variable", "HOST")
        shown = shop.ok("secret", "import", "-", *options, "--dry-run", **given)
        assert shown == "PORT\tnew secret\t\t\nHOST\tvariable new\tcanary example\tas asked\n"
        wrong = ("--secret", "PROT", "--secret", "HOST", "--variable", "HOST")
        said = shop("secret", "import", "-", *wrong, "--yes", **given, code=1).stderr
        assert said.splitlines()[1:] == [
            "  --secret: there is no PROT in the file",
            "  line 2: HOST is asked for as a secret and as a variable",
        ]


class TestWriting:
    @pytest.fixture
    def env(self, shop: Cli) -> Path:
        """A file to import."""
        path = shop.jobs / "app.env"
        path.write_text("TOKEN=canary-token\nLEVEL=debug\n")
        return path

    def test_it_shows_asks_writes_and_then_shows_what_a_second_one_would_change(self, shop: Cli, env: Path) -> None:
        """A run finds the values; a version is new each time, a variable only where it differs."""
        first = shop("secret", "import", "app.env", "--yes", "-e", "staging", code=0)
        assert first.stdout == "TOKEN\tnew secret\t\t\nLEVEL\tvariable new\tdebug\ttoo short to be masked\n"
        assert first.stderr == (
            "imported 1 secret and 1 variable into shop/staging\n"
            "note: app.env still holds the values in the clear; delete it\n"
        )
        env.write_text("TOKEN=canary-token\nLEVEL=info\nMORE=1\n")
        again = shop("secret", "import", "app.env", "--yes", "-e", "staging", code=0)
        assert again.stdout.splitlines() == [
            "TOKEN\tnew version 2 of a secret\t\t",
            "LEVEL\tvariable changed\tinfo\ttoo short to be masked",
            "MORE\tvariable new\t1\ttoo short to be masked",
        ]
        env.write_text("LEVEL=info\nMORE=1\n")
        nothing = shop("secret", "import", "app.env", "-e", "staging", code=0)
        assert nothing.stdout.splitlines()[0] == "LEVEL\tvariable unchanged\tinfo\tas it is"
        assert nothing.stderr.splitlines()[0] == "nothing to change in shop/staging"
        # Each byte plus one, a form that no masker knows.
        code = "import os; print(*(b + 1 for b in os.environb[b'TOKEN'] + os.environb[b'LEVEL']))"
        ran = shop.ok("run", "-e", "staging", "--", "python3", "-c", code)
        assert bytes(int(number) - 1 for number in ran.split()) == b"canary-tokeninfo"

    def test_a_secret_stays_one(self, shop: Cli, env: Path) -> None:
        """Its next value is not put in the open because it is short."""
        shop.ok("secret", "set", "ROTATED", stdin="canary-long-enough")
        said = shop("secret", "import", "-", "--yes", stdin="ROTATED=short\n", code=1).stderr
        assert 'the value of "ROTATED" is refused: it has fewer than 8 bytes' in said
        asked = shop("secret", "import", "-", "--yes", "--variable", "ROTATED", stdin="ROTATED=short\n", code=1).stderr
        assert (
            "ROTATED is a secret of default, and cannot become a variable: delete it first: sealrun secret delete"
            in asked
        )

    def test_without_a_terminal_it_asks_for_yes(self, shop: Cli, env: Path) -> None:
        """The plan is shown all the same; stdin and --json cannot ask at all."""
        before = stored(shop)
        ended = shop("secret", "import", "app.env", code=2)
        assert ended.stdout.startswith("TOKEN\tnew secret")
        assert ended.stderr.endswith("cannot ask for confirmation without a terminal\nhint: add --yes\n")
        assert "add --yes" in shop("secret", "import", "-", stdin="A=1\n", code=2).stderr
        assert "--json does not ask" in shop("secret", "import", "app.env", "--json", code=2).stderr
        assert stored(shop) == before

    def test_on_a_terminal_no_is_no_and_yes_is_yes(self, shop: Cli, env: Path) -> None:
        """And no value of a secret is on the screen (I10)."""
        for answer, code, word in (("n", 1, "nothing was done"), ("y", 0, "imported 1 secret and 1 variable")):
            screen = shop.terminal("secret", "import", "app.env")
            screen.until("import 1 secret and 1 variable into shop/default? [y/N]")
            screen.type(f"{answer}\n")
            assert screen.ended() == code
            assert word in screen.shown
            assert CANARY not in screen.shown
        assert "TOKEN" in shop.ok("secret", "list", "-e", "default")

    def test_a_shells_pipe_is_a_file_and_nothing_is_left_to_delete(self, shop: Cli) -> None:
        """`<(…)`, so that the values never lie on a disk."""
        command = " ".join(shop.command("secret", "import", "<(printf PIPED_TOKEN=canary-piped)", "--yes"))
        ended = subprocess.run(
            ["bash", "-c", command], env=shop.environ, cwd=shop.jobs, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (0, "PIPED_TOKEN\tnew secret\t\t\n")
        assert ended.stderr == "imported 1 secret into shop/default\n"

    def test_an_unknown_environment_is_told_before_the_file_is_read(self, shop: Cli) -> None:
        """With a close one."""
        ended = shop("secret", "import", "nowhere.env", "-e", "stagin", "--yes", code=2)
        assert 'no environment "stagin"' in ended.stderr

    def test_what_the_database_refuses_half_way_leaves_nothing_behind(self, shop: Cli) -> None:
        """All or nothing, and what the database said of it is not repeated: it has seen the values (I10)."""
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON secretstore_variable WHEN NEW.name = 'LAST' BEGIN"
        with sqlite3.connect(shop.home / "sealrun.db") as database:
            database.execute(f"{refuse} SELECT RAISE(ABORT, 'refused'); END")
        before = stored(shop)
        try:
            given = "FIRST_TOKEN=canary-first\nFIRST=1\nLAST=2\n"
            ended = shop("secret", "import", "-", "--yes", stdin=given, code=1)
        finally:
            with sqlite3.connect(shop.home / "sealrun.db") as database:
                database.execute("DROP TRIGGER refuse")
        assert stored(shop) == before
        assert "imported" not in ended.stderr and "Traceback" not in ended.stderr
        assert CANARY not in ended.stdout + ended.stderr

    def test_an_expiry_that_would_be_lost_is_told(self, shop: Cli) -> None:
        """The imported version has none."""
        shop.ok("secret", "set", "EXPIRING", "--expires", "90d", stdin="canary-expiring")
        said = shop("secret", "import", "-", "--dry-run", stdin="EXPIRING=canary-again\n", code=0).stderr
        assert "EXPIRING has an expiry, and the imported version will have none" in said

    def test_the_admin_script_imports_too(self, shop: Cli, env: Path) -> None:
        """The same command."""
        script = [sys.executable, str(CHECKOUT / "scripts" / "secrets_admin.py"), "import", "app.env", "--dry-run"]
        ended = subprocess.run(script, env=shop.environ, cwd=shop.jobs, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("TOKEN\tnew ")
