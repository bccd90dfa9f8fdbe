"""`sealrun source` and `sealrun catalog`: what is made, listed, refused in which words, and never repeated."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretstore.connections import kinds
from tests.executor.cli.conftest import DOORS, Cli, made_for, only_beside_the_database

CANARY = "canary5d1f0b7e/value"
REST = ("--kind", "iceberg-rest", "--endpoint", "http://127.0.0.1:8181")


@pytest.fixture(scope="module", params=DOORS)
def cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """An empty home behind each door."""
    with made_for(request.param) as one:
        yield one


def listed(cli: Cli, role: str, name: str) -> dict[str, object]:
    (found,) = [view for view in cli.json(role, "list", "--json") if view["name"] == name]
    return dict(found)


class TestCreate:
    def test_a_source_from_options(self, shop: Cli) -> None:
        """What is made is said, with what it names that is not there and the command that stores it."""
        said = shop(
            *(
                "source",
                "create",
                "lake",
                "--kind",
                "s3",
                "--bucket",
                "lake",
                "--prefix",
                "raw/",
                "--region",
                "eu-west-1",
            ),
            *("--credentials-secret", "LAKE_CREDS", "-e", "staging"),
            code=0,
        )
        assert said.stdout == ""
        assert said.stderr == (
            "created source lake in shop/staging: s3, s3://lake/raw\n"
            "note: credentials names the secret LAKE_CREDS, which is not there yet; store it as JSON with "
            "aws_access_key_id and aws_secret_access_key: sealrun secret set LAKE_CREDS -p shop -e staging\n"
        )
        assert listed(shop, "source", "lake")["settings"] == {
            "bucket": "lake",
            "prefix": "raw",
            "region": "eu-west-1",
            "credentials": {"$secret": "LAKE_CREDS"},
        }

    def test_a_catalog_from_options(self, shop: Cli) -> None:
        """It may be there before its source and its secret."""
        said = shop("catalog", "create", "main", *REST, "--token-secret", "API_KEY", "--source", "pond", code=0).stderr
        assert said == (
            "created catalog main in shop/default: iceberg-rest, http://127.0.0.1:8181\n"
            "note: source names the source pond, which is not there yet: "
            "sealrun source create pond -p shop -e default --kind s3\n"
        )

    @pytest.mark.parametrize(
        "options",
        [
            ("source", "supabase-storage", "--project-ref", "abcdefgh", "--bucket", "b", "--credentials-secret", "C"),
            ("source", "postgres", "--url-secret", "DATABASE_URL"),
            ("source", "s3", "--bucket", "b", "--endpoint", "http://127.0.0.1:9000", "--addressing", "virtual"),
            ("catalog", "unity-catalog", "--endpoint", "https://x.example", "--token-secret", "T", "--warehouse", "w"),
            ("catalog", "glue", "--region", "eu-west-1", "--catalog-id", "1", "--credentials-secret", "C"),
            (
                "catalog",
                "iceberg-rest",
                *REST[2:],
                "--credential-secret",
                "C",
                "--scope",
                "s",
                "--oauth2-server",
                "http://o",
            ),
        ],
    )
    def test_every_kind_has_its_options(self, shop: Cli, options: tuple[str, ...]) -> None:
        """Each option sets the field that the file calls by nearly the same name."""
        role, kind, *given = options
        shop(role, "create", f"a-{kind}", "--kind", kind, *given, code=0)
        settings = listed(shop, role, f"a-{kind}")["settings"]
        values = [value["$secret"] if isinstance(value, dict) else value for value in settings.values()]  # type: ignore[attr-defined]
        assert sorted(values) == sorted(given[1::2])

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("j.json", '{"kind": "s3", "bucket": {"$secret": "LAKE", "field": "bucket"}, "endpoint": "http://s:1"}'),
            ("t.toml", 'kind = "s3"\nendpoint = "http://s:1"\n[bucket]\n"$secret" = "LAKE"\nfield = "bucket"\n'),
            (
                "by-its-beginning",
                '{"kind": "s3", "endpoint": "http://s:1", "bucket": {"$secret": "LAKE", "field": "bucket"}}',
            ),
            ("-", 'kind = "s3"\nendpoint = "http://s:1"\nbucket = {"$secret" = "LAKE", field = "bucket"}\n'),
        ],
    )
    def test_a_source_from_a_file(self, shop: Cli, file: str, text: str) -> None:
        """JSON or TOML, where any value may stand in a secret; --replace makes it sayable again."""
        if file != "-":
            shop.job(file, text)
        said = shop("source", "create", "filed", "--file", file, "--replace", stdin=text, code=0).stderr
        assert "source filed in shop/default: s3, s3://$LAKE.bucket at http://s:1\n" in said
        assert listed(shop, "source", "filed")["secrets"] == ["LAKE"]

    def test_two_of_one_name(self, shop: Cli) -> None:
        """The second is refused, and replaces the first where that is said."""
        shop.ok("source", "create", "twice", "--kind", "s3", "--bucket", "one")
        refused = shop("source", "create", "twice", "--kind", "s3", "--bucket", "two", code=1).stderr
        assert refused == ('sealrun: source "twice" exists already\nhint: to give it other settings, add --replace\n')
        said = shop("source", "create", "twice", "--kind", "s3", "--bucket", "two", "--replace", code=0).stderr
        assert said == "replaced source twice in shop/default: s3, s3://two\n"


SOURCES = ", ".join(kinds("source"))
NO_SUCH_KIND = f"sealrun: source x is refused: unknown kind; a source is one of {SOURCES}\n"

MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (
        ("source", "create", "x", "--kind", "s3", "--region", "eu"),
        "sealrun: source x is refused: bucket is missing\nhint: add --bucket\n",
    ),
    (
        ("catalog", "create", "x", "--kind", "unity-catalog"),
        "sealrun: catalog x is refused: endpoint is missing; token is missing\n"
        "hint: add --endpoint and --token-secret\n",
    ),
    (
        ("source", "create", "x", "--kind", "postgres", "--bucket", "b", "--prefix", "p"),
        "sealrun: a source of kind postgres has no --bucket and no --prefix\nhint: it has --url-secret\n",
    ),
    (
        ("source", "create", "x", "--kind", "s4"),
        NO_SUCH_KIND,
    ),
    (
        ("source", "create", "x", "--kind", "postgre"),
        f"{NO_SUCH_KIND}hint: did you mean postgres?\n",
    ),
    (
        ("source", "create", "x", "--kind", "glue"),
        f"{NO_SUCH_KIND}hint: glue is a kind of catalog: sealrun catalog create x --kind glue\n",
    ),
    (
        ("source", "create", "x"),
        f"sealrun: say its kind: --kind {SOURCES}; or give --file PATH\nhint: see: sealrun source create --help\n",
    ),
    (
        ("source", "create", "x", CANARY, "--kind", "s3"),
        "sealrun: one name is taken and no value: "
        "what is more belongs to an option, and a secret is given by its name\n"
        "hint: see: sealrun source create --help\n",
    ),
    (
        ("source", "create", "My_Lake", "--kind", "s3"),
        'sealrun: the name "My_Lake" is refused: '
        "the name of a source or catalog has 1 to 63 lower-case letters, digits and -, a letter first\n",
    ),
    (
        ("source", "create", "x", "--kind", "s3", "--bucket", "b", "--credentials-secret", CANARY),
        "sealrun: source x is refused: credentials takes the name of a secret, and the text given cannot be one\n",
    ),
    (
        ("catalog", "create", "x", *REST, "--token-secret", "canary0123456789abcdef0123456789abcdef"),
        "sealrun: catalog x is refused: "
        "token takes the name of a secret; no secret has the name given, which looks like a value\n"
        "hint: if it is one, replace it, since it was typed in the open: sealrun secret set NAME\n",
    ),
    (
        ("source", "create", "x", "--kind", "s3", "--bucket", "b", "--endpoint", f"https://ada:{CANARY}@s3.example"),
        "sealrun: source x is refused: endpoint has a user or a password in its URL; they belong in a secret\n",
    ),
    (
        ("catalog", "create", "x", *REST, "--token-secret", "T", "--credential-secret", "C"),
        "sealrun: catalog x is refused: give token or credential, not both\n",
    ),
    (
        ("catalog", "create", "x", *REST, "--source", "db"),
        "sealrun: catalog x is refused: source names db, which is of kind postgres and has no bucket\n"
        "hint: it takes a source of kind s3 or supabase-storage\n",
    ),
    (
        ("source", "create", "x", "--kind", "s3", "--bucket", "b", "--assume-role", "arn:aws:iam::123456789012:role/r"),
        "sealrun: source x is refused: assume_role needs keys to assume it with: credentials\n",
    ),
    (
        ("source", "create", "x", "--file", "f.toml", "--bucket", "b"),
        "sealrun: --file has all the settings: leave out --bucket\nhint: see: sealrun source create --help\n",
    ),
    (
        ("source", "create", "x", "--file", "nothing.json"),
        "sealrun: nothing.json cannot be read: no such file or directory\n",
    ),
    (
        ("source", "delete", "d"),
        'sealrun: no source "d" in shop/default\nhint: did you mean "db"?\n',
    ),
    (
        ("catalog", "delete", "d", "--yes"),
        'sealrun: no catalog "d" in shop/default\n'
        "hint: create it: sealrun catalog create d -p shop -e default --kind KIND\n",
    ),
]


@pytest.fixture(scope="module")
def stocked(shop: Cli) -> Cli:
    """The shop with the source `db`."""
    shop.ok("source", "create", "db", "--kind", "postgres", "--url-secret", "DATABASE_URL")
    return shop


@pytest.mark.parametrize(
    ("words", "said"), MISTAKES, ids=lambda value: " ".join(value[:8]) if isinstance(value, tuple) else ""
)
def test_a_mistake_is_a_sentence(stocked: Cli, words: tuple[str, ...], said: str) -> None:
    """It names connection and field, and a value that was typed in the place of a name is not repeated."""
    told = stocked(*words, code=2)
    assert told.stderr == said
    assert "canary" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", f'{{"kind": "s3",\n "bucket" "{CANARY}"', "a.json, line 2: invalid JSON"),
        ("b.toml", f'kind = "s3"\nbucket = {CANARY}\n', "b.toml, line 2: invalid TOML"),
        ("c.toml", f'kind = "s3"\nbucket = "{CANARY}', "c.toml, last line: invalid TOML"),
        (
            "d.json",
            f'{{"kind": "s3", "bucket": "b", "bucket": "{CANARY}"}}',
            "d.json: it has a field twice",
        ),
        ("e.json", f'["{CANARY}"]', "e.json: it is not an object of fields"),
        ("f.json", "[" * 100_000, "f.json: it is nested too deeply"),
        (
            "g.json",
            '{"bucket": "b"}',
            f"g.json: it has no kind; a source is one of {SOURCES}",
        ),
        ("h.json", f'{{"kind": ["{CANARY}"]}}', "h.json: it has no kind"),
        ("i.json", f'{{"kind": "{CANARY}"}}', "source x is refused: unknown kind; a source is one of"),
        (
            "k.json",
            f'{{"kind": "s3", "bucket": "b", "credentials": {{"aws_secret_access_key": "{CANARY}"}}}}',
            'source x is refused: credentials takes the name of a secret, {"$secret": "NAME"}, never a value\n'
            'hint: write a name as {"$secret": "NAME"}; store a value first: sealrun secret set NAME\n',
        ),
        (
            "l.json",
            '{"kind": "s3", "bukcet": "b"}',
            "source x is refused: bucket is missing; bukcet is not a field of this kind, did you mean bucket?\n"
            "hint: the fields of a source of kind s3: bucket, ",
        ),
    ],
)
def test_a_file_that_is_not_in_order_is_not_quoted(stocked: Cli, name: str, content: str, why: str) -> None:
    """The line or the field is told; what stands there may be a value."""
    stocked.job(name, content)
    told = stocked("source", "create", "x", "--file", name, code=2)
    assert told.stderr.startswith(f"sealrun: {why}")
    assert "canary" not in told.stdout + told.stderr


def test_a_file_that_is_no_text_is_told(stocked: Cli) -> None:
    """Neither a folder nor bytes."""
    Path(stocked.jobs, "bytes.json").write_bytes(b"\xff\xfe{}")
    said = stocked("source", "create", "x", "--file", "bytes.json", code=2).stderr
    assert said.startswith("sealrun: bytes.json: it is not UTF-8 text\n")
    said = stocked("source", "create", "x", "--file", ".", code=2).stderr
    assert said == "sealrun: . cannot be read: is a directory\n"


def test_the_file_and_the_option_must_agree_on_the_kind(stocked: Cli) -> None:
    """The option may stand in for what the file leaves out."""
    stocked.job("agree.json", '{"kind": "s3", "bucket": "b"}')
    refused = stocked("source", "create", "x", "--kind", "postgres", "--file", "agree.json", code=2).stderr
    assert refused.startswith("sealrun: --kind and the file name two kinds: leave out --kind\n")
    stocked.job("without.json", '{"bucket": "b"}')
    stocked("source", "create", "by-option", "--kind", "s3", "--file", "without.json", code=0)


class TestList:
    def test_a_line_for_each(self, stocked: Cli) -> None:
        """Kind, where it leads, the secrets it names, its last test, and what is missing; of one role alone."""
        stocked.ok("source", "create", "line", "--kind", "s3", "--bucket", "b", "--credentials-secret", "NOT_YET")
        lines = stocked.ok("source", "list").splitlines()
        assert "line\tdefault\ts3\ts3://b\tNOT_YET\tnever\t\tno secret NOT_YET" in lines
        assert "db\tdefault\tpostgres\t$DATABASE_URL\tDATABASE_URL\tnever\t\t" in lines
        assert stocked.ok("catalog", "list", "-e", "staging") == ""

    def test_the_whole_of_it_in_json(self, stocked: Cli) -> None:
        """With settings, in which a secret is its name."""
        view = listed(stocked, "source", "db")
        assert view["settings"] == {"url": {"$secret": "DATABASE_URL"}}
        assert (view["role"], view["kind"], view["environment"], view["missing"]) == (
            "source",
            "postgres",
            "default",
            [],
        )
        assert view["tested_at"] is None


class TestTest:
    def test_what_is_not_there_is_told_without_a_run(self, stocked: Cli) -> None:
        """Nothing is built or started for it; it is kept and listed as any other outcome."""
        stocked.ok("source", "create", "empty", "--kind", "postgres", "--url-secret", "NOT_YET")
        before = stocked.json("runs", "list", "--json")
        ended = stocked("source", "test", "empty", code=1)
        said = "no call was made: url names the secret NOT_YET, which is not there"
        assert ended.stdout == f"source empty: failed: {said}\n"
        assert "sealrun secret set NOT_YET -p shop -e default" in ended.stderr
        assert stocked.json("runs", "list", "--json") == before
        (view,) = [one for one in stocked.json("source", "list", "--json") if one["name"] == "empty"]
        assert (view["test_outcome"], view["test_message"], view["test_run"]) == ("failed", said, None)


class TestDelete:
    def test_it_asks(self, stocked: Cli) -> None:
        """Without a terminal it wants --yes; its secrets stay."""
        stocked.ok("source", "create", "gone", "--kind", "postgres", "--url-secret", "DATABASE_URL")
        refused = stocked("source", "delete", "gone", code=2).stderr
        assert refused == (
            "sealrun: delete source gone of shop/default; the secrets it names stay: "
            "cannot ask for confirmation without a terminal\nhint: add --yes\n"
        )
        assert stocked("source", "delete", "gone", "--yes", code=0).stderr == "deleted source gone of shop/default\n"
        assert "DATABASE_URL" in stocked.ok("secret", "list")

    def test_a_key_that_a_role_kept_out_of_runs_is_told(self, stocked: Cli) -> None:
        """Its secret was no variable of any run, and is one again."""
        role = ("--assume-role", "arn:aws:iam::123456789012:role/lake")
        stocked.ok(
            "source", "create", "assumed", "--kind", "s3", "--bucket", "b", "--credentials-secret", "LONG", *role
        )
        assert stocked("source", "delete", "assumed", "--yes", code=0).stderr == (
            "deleted source assumed of shop/default\n"
            "note: no role is assumed with LONG any more: it is a variable of every run that asks for all\n"
        )

    def test_a_source_that_a_catalog_names_stays(self, stocked: Cli) -> None:
        """Told before anything is asked; --force deletes it, and doctor tells what is left."""
        only_beside_the_database(stocked)  # doctor looks at the machine
        stocked.ok("source", "create", "bay", "--kind", "s3", "--bucket", "b")
        stocked.ok("catalog", "create", "on-bay", *REST, "--source", "bay")
        refused = stocked("source", "delete", "bay", code=1).stderr
        assert refused == (
            "sealrun: source bay of shop/default is named by catalog on-bay\n"
            "hint: change or delete those first, or pass --force: runs then do not get them\n"
        )
        stocked("source", "delete", "bay", "--yes", "--force", code=0)
        (found,) = [one for one in stocked.json("doctor", "--json")["findings"] if one["what"] == "connections"]
        assert found["status"] == "note"
        assert {
            "project": "shop",
            "environment": "default",
            "role": "catalog",
            "name": "on-bay",
            "why": "source names the source bay, which is not there",
            "mend": "sealrun source create bay -p shop -e default --kind KIND",
        } in found["detail"]["dangling"]

    def test_a_secret_that_a_source_names_stays(self, stocked: Cli) -> None:
        """Told before anything is asked; --force deletes it."""
        stocked.ok("secret", "set", "NAMED", stdin="a value that is named")
        stocked.ok("source", "create", "namer", "--kind", "postgres", "--url-secret", "NAMED")
        refused = stocked("secret", "delete", "NAMED", code=1).stderr
        assert refused.startswith("sealrun: secret NAMED of shop/default is named by source namer\nhint: ")
        stocked("secret", "delete", "NAMED", "--yes", "--force", code=0)
        assert listed(stocked, "source", "namer")["missing"] == [{"field": "url", "what": "secret", "name": "NAMED"}]


def test_doctor_is_content_where_all_is_there(new_cli: Cli) -> None:
    """One line, and none where there is something to do."""
    new_cli.ok("project", "create", "shop")
    findings = json.loads(new_cli("doctor", "--json").stdout)["findings"]
    (found,) = [one for one in findings if one["what"] == "connections"]
    assert (found["status"], found["text"]) == ("ok", "all that sources and catalogs name is there")


class TestAsFile:
    def test_it_stays_until_it_is_said_otherwise(self, shop: Cli) -> None:
        """Said when it is set, and in the list; a new value and an import leave it."""
        said = shop("secret", "set", "TLS_KEY", "--as-file", stdin="a key, a whole key", code=0).stderr
        assert said == "sealed TLS_KEY version 1 in shop/default, given to runs as a file\n"
        assert "as a file" in shop("secret", "set", "TLS_KEY", stdin="another, whole key", code=0).stderr
        shop.job("new.env", "TLS_KEY='a third and whole key'\n")
        shop.ok("secret", "import", "new.env", "--yes")
        (line,) = [line for line in shop.ok("secret", "list").splitlines() if line.startswith("TLS_KEY\t")]
        assert line.split("\t")[6] == "as a file"
        (view,) = [view for view in shop.json("secret", "list", "--json") if view["name"] == "TLS_KEY"]
        assert (view["version"], view["as_file"]) == (3, True)
        said = shop("secret", "set", "TLS_KEY", "--as-variable", stdin="a fourth, whole key", code=0).stderr
        assert said == "sealed TLS_KEY version 4 in shop/default\n"

    def test_a_mistyped_option_is_named(self, shop: Cli) -> None:
        """As it is nearly one of ours, it is no value."""
        said = shop("secret", "set", "TLS_KEY", "--as-variabel", code=2).stderr
        assert said.startswith("sealrun: there is no option --as-variabel\n")
