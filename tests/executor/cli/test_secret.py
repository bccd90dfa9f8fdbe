"""`sealrun secret` and `scripts/secrets_admin.py`: a value goes in and never comes out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from executor.database import open_database
from executor.settings import read_settings
from secretstore import vault
from secretstore.pins import Pins
from tests.executor.cli.conftest import CHECKOUT, DOORS, Cli, made_for, only_beside_the_database

VALUE = "correct-horse-battery"
PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    .decode("ascii")
)
SERVICE_ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "project_id": "shop-prod-123",
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": PEM,
        "client_email": "ci@shop-prod-123.iam.gserviceaccount.com",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "nick": "ci",
    },
    indent=2,
)


@pytest.fixture(scope="module", params=DOORS)
def cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """An empty home behind each door."""
    with made_for(request.param) as one:
        yield one


def bytes_in_a_run(cli: Cli, name: str) -> bytes:
    """What a run finds, in a form that the masker does not know: each byte plus one."""
    code = f"import os, sys; sys.stdout.buffer.write(bytes((b + 1) % 256 for b in os.environb[b'{name}']))"
    found = cli.raw("run", "-p", "shop", "--", "python3", "-c", code)
    assert found.returncode == 0, found.stderr
    return bytes((byte - 1) % 256 for byte in found.stdout)


class TestTheValue:
    def test_one_final_newline_is_dropped_and_that_is_said(self, shop: Cli) -> None:
        """`echo value | sealrun secret set` stores what was meant, and tells."""
        said = shop("secret", "set", "ECHOED", stdin=f"{VALUE}\n\n", code=0).stderr

        assert "one final newline was dropped; --raw keeps it" in said
        assert bytes_in_a_run(shop, "ECHOED") == f"{VALUE}\n".encode()

    def test_without_a_newline_nothing_is_said(self, shop: Cli) -> None:
        """`printf %s` needs no note."""
        assert shop("secret", "set", "PRINTED", stdin=VALUE, code=0).stderr.startswith("sealed PRINTED version 1")

    def test_raw_keeps_the_newline(self, shop: Cli) -> None:
        """For what ends with one by its nature."""
        said = shop("secret", "set", "RAW", "--raw", stdin=f"{VALUE}\n", code=0).stderr

        assert "newline" not in said
        assert bytes_in_a_run(shop, "RAW") == f"{VALUE}\n".encode()

    def test_a_file_is_taken_byte_for_byte(self, shop: Cli) -> None:
        """Bytes that are no text, and the newline at the end."""
        content = b"\xff\xfe binary key \x01\n"
        (shop.folder / "key.bin").write_bytes(content)

        shop.ok("secret", "set", "FROM_FILE", "--from-file", str(shop.folder / "key.bin"))

        assert bytes_in_a_run(shop, "FROM_FILE") == content

    def test_a_file_that_is_not_there_is_named(self, shop: Cli) -> None:
        """By its path."""
        refused = shop("secret", "set", "X", "--from-file", "/nowhere/key", code=2)
        assert refused.stderr == "sealrun: /nowhere/key cannot be read: no such file or directory\n"

    def test_on_a_terminal_it_is_asked_for_and_not_shown(self, shop: Cli) -> None:
        """The prompt is hidden: what is typed does not appear."""
        screen = shop.terminal("secret", "set", "TYPED")
        screen.until("value of TYPED (hidden)")
        screen.type(f"{VALUE}\n")

        assert screen.ended() == 0
        assert "sealed TYPED version 1 in shop/default" in screen.shown
        assert VALUE not in screen.shown

    @pytest.mark.parametrize(
        "words",
        [
            ("NAME", VALUE),
            (f"NAME={VALUE}",),
            ("NAME", f"--{VALUE}"),
            ("NAME", f"-----BEGIN {VALUE}-----\nabc"),
            ("NAME", f"-{VALUE}"),
            ("NAME", "--value", VALUE),
            ("NAME", "-p", "shop", VALUE, VALUE),
        ],
    )
    def test_the_command_line_is_refused_and_not_repeated(self, shop: Cli, words: tuple[str, ...]) -> None:
        """A value typed as an argument is refused, and no part of it comes back (I10)."""
        refused = shop("secret", "set", *words, stdin=VALUE, code=2)

        assert "a value is never taken from the command line" in refused.stderr
        assert "consider it seen and replace it" in refused.stderr
        assert "horse" not in refused.stderr + refused.stdout
        assert "NAME" not in shop.ok("secret", "list")

    def test_a_mistyped_option_is_named(self, shop: Cli) -> None:
        """One that is nearly ours cannot be a value."""
        refused = shop("secret", "set", "NAME", "--projct", "shop", stdin=VALUE, code=2)
        assert "there is no option --projct" in refused.stderr

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("", "it is empty"),
            ("tiny42", "it is too short to be masked"),
            ("   tiny42   ", "it is too short to be masked"),
            ("nul\0in-the-middle", "it contains a NUL byte"),
            ("x" * 131_072, "longer than 131,071 bytes"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused_with_the_reason(self, shop: Cli, value: str, why: str) -> None:
        """The reason, and never the value."""
        refused = shop("secret", "set", "REFUSED", stdin=value, code=2)

        assert why in refused.stderr
        assert not value.strip() or value.strip() not in refused.stderr
        assert "REFUSED" not in shop.ok("secret", "list")

    def test_an_empty_stdin_is_told_and_nothing_is_said_of_masking(self, shop: Cli) -> None:
        """A variable that is not set is the usual reason, and the hint asks for it."""
        refused = shop("secret", "set", "REFUSED", code=2).stderr

        assert refused.startswith('sealrun: the value of "REFUSED" is refused: it is empty\nhint: nothing came in;')

    @pytest.mark.parametrize("word", ["get", "show"])
    def test_who_looks_for_a_way_out_is_told_that_there_is_none(self, shop: Cli, word: str) -> None:
        """`get` is not taken for a mistyped `set` (I1)."""
        refused = shop("secret", word, "ECHOED", code=2).stderr

        assert "no command that shows a secret's value" in refused
        assert "did you mean" not in refused.lower()

    def test_the_usage_has_no_place_for_a_value(self, shop: Cli) -> None:
        """The hidden argument that catches one stays hidden."""
        assert shop.ok("secret", "set", "--help").startswith("Usage: sealrun secret set [OPTIONS] {NAME}\n")
        assert shop.ok("secret", "import", "--help").startswith("Usage: sealrun secret import [OPTIONS] {FILE}\n")

    def test_a_short_value_is_taken_when_asked_and_marked(self, shop: Cli) -> None:
        """--allow-short takes it and says that it is not masked (I9)."""
        said = shop("secret", "set", "PIN", "--allow-short", stdin="1234", code=0).stderr

        assert "note: PIN has under 8 bytes (without outer white space): it is not masked" in said
        (listed,) = [one for one in shop.json("secret", "list", "--json") if one["name"] == "PIN"]
        assert listed["maskable"] is False

    def test_parts_that_are_not_masked_are_told_before_sealing(self, shop: Cli) -> None:
        """By their place, not by their text."""
        said = shop("secret", "set", "URL", stdin="postgres://app:tiny@db.example.com/shop", code=0).stderr

        note, sealed = said.splitlines()
        assert note == "note: the password of the URL in URL is under 8 bytes: it is not masked on its own"
        assert sealed.startswith("sealed URL version 1")

    @pytest.mark.parametrize(
        ("name", "value", "notes"),
        [
            ("PEM", PEM, []),
            ("SERVICE", SERVICE_ACCOUNT, [
                "member $.nick of SERVICE is under 8 bytes: it is not masked on its own",
                "member $.type of SERVICE is too common: it is not masked on its own",
            ]),
            ("STAGE", "production", ["STAGE is too common: *** replaces it everywhere in the output"]),
            ("LINES", "a-line-that-is-long\nab\nxyz\nanother-such-line", [
                "lines 2, 3 of LINES are under 8 bytes: they are not masked on their own",
            ]),
        ],
        ids=["a key", "a service account", "a common word", "short lines"],
    )  # fmt: skip
    def test_what_the_masker_cannot_do_is_told_of_what_people_store(
        self, shop: Cli, name: str, value: str, notes: list[str]
    ) -> None:
        """I9: which lines and members are too short, and that a common word would ruin the log; then it is sealed."""
        said = shop("secret", "set", name, stdin=value, code=0).stderr

        *told, sealed = [line for line in said.splitlines() if "final newline" not in line]
        assert told == [f"note: {note}" for note in notes]
        assert sealed == f"sealed {name} version 1 in shop/default"


class TestTheName:
    def test_one_that_shells_drop_is_told_with_its_alias(self, shop: Cli) -> None:
        """`api.key` is also given as API_KEY-like names; here DB_PASSWORD."""
        said = shop("secret", "set", "db.password", stdin=VALUE, code=0).stderr

        assert "Debian's /bin/sh drops it; the run also gets it as DB_PASSWORD" in said

    def test_one_whose_alias_is_taken_gets_none(self, shop: Cli) -> None:
        """Two names that would share an alias get none, and `set` says so."""
        shop.ok("secret", "set", "mail.key", stdin=VALUE)

        said = shop("secret", "set", "mail-key", stdin=VALUE, code=0).stderr

        assert "gets no alias: another name would have MAIL_KEY too" in said

    @pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "SEALRUN_X", "PATH", "a b"])
    def test_a_refused_one_is_told_before_the_value_is_read(self, shop: Cli, name: str) -> None:
        """With the reason."""
        refused = shop("secret", "set", name, stdin=VALUE, code=2)
        assert f'the name "{name}" is refused: ' in refused.stderr

    def test_a_variable_of_the_same_name_is_in_the_way(self, shop: Cli) -> None:
        """A run could not have both."""
        shop.ok("variable", "set", "REGION", "eu-central-1")
        refused = shop("secret", "set", "REGION", stdin=VALUE, code=2)
        assert "a variable of default has it" in refused.stderr


class TestEnvironments:
    def test_a_typing_mistake_makes_no_environment(self, shop: Cli) -> None:
        """The error names a close one, and how to make a new one."""
        only_beside_the_database(shop)  # a server does not say which names are near
        refused = shop("secret", "set", "K", "-e", "stagin", stdin=VALUE, code=2)

        assert 'sealrun: no environment "stagin" in project "shop"' in refused.stderr
        assert 'hint: did you mean "staging"?; to make a new one, add --create-env' in refused.stderr

    def test_several_get_the_same_value_and_a_new_one_is_made_when_asked(self, shop: Cli) -> None:
        """Each has a version of its own."""
        only_beside_the_database(shop)  # its key pair is known to nobody yet
        said = shop("secret", "set", "K", "-e", "staging", "-e", "prod", "--create-env", stdin=VALUE, code=0).stderr

        assert "created environment prod in project shop" in said
        assert "sealed K version 1 in shop/staging" in said
        assert "sealed K version 1 in shop/prod" in said

    def test_a_value_that_is_refused_makes_no_environment(self, shop: Cli) -> None:
        """--create-env acts once the value is known to be good."""
        said = shop("secret", "set", "K", "-e", "hasty", "--create-env", stdin="tiny42", code=2).stderr

        assert "created" not in said
        (project,) = [one for one in shop.json("project", "list", "--json") if one["name"] == "shop"]
        assert "hasty" not in project["environments"]

    def test_what_one_refuses_none_of_them_gets(self, shop: Cli) -> None:
        """A variable in the way in one environment keeps the value out of all, and names said twice count once."""
        shop.ok("variable", "set", "BOTH", "x", "-e", "staging")

        refused = shop("secret", "set", "BOTH", "-e", "default", "-e", "staging", stdin=VALUE, code=2)

        assert "a variable of staging has it" in refused.stderr
        assert "BOTH" not in shop.ok("secret", "list")
        shop.ok("secret", "set", "TWICE", "-e", "staging", "-e", "staging", stdin=VALUE)
        assert [one["version"] for one in shop.json("secret", "list", "--json") if one["name"] == "TWICE"] == [1]

    def test_if_one_is_not_there_none_is_written(self, shop: Cli) -> None:
        """All are looked up before the first value is sealed."""
        shop("secret", "set", "HALF", "-e", "staging", "-e", "nowhere", stdin=VALUE, code=2)
        assert "HALF" not in shop.ok("secret", "list")


class TestListing:
    def test_json_has_names_versions_and_who_and_nothing_of_a_value(self, shop: Cli) -> None:
        """Objects with at least what was promised; no value, no part, no length."""
        only_beside_the_database(shop)  # a server knows who asks, and is not told
        shop.ok("secret", "set", "LISTED", stdin=VALUE, environ={"SEALRUN_ACTOR": "ada@example"})
        shop.ok("secret", "set", "LISTED", stdin=VALUE + "x" * 99, environ={"SEALRUN_ACTOR": "bob@example"})

        answered = shop.ok("secret", "list", "--json")

        (listed,) = [one for one in json.loads(answered) if one["name"] == "LISTED"]
        assert listed.keys() == {
            "id", "name", "environment", "version", "maskable", "created_at", "created_by", "updated_at", "updated_by",
            "expires_at", "as_file", "last_used_at", "seen", "rotate",
        }  # fmt: skip
        assert (listed["environment"], listed["version"]) == ("default", 2)
        assert (listed["created_by"], listed["updated_by"]) == ("ada@example", "bob@example")
        assert listed["created_at"].endswith("Z") and listed["created_at"] < listed["updated_at"]
        assert "horse" not in answered

    def test_an_environment_can_be_chosen(self, shop: Cli) -> None:
        """-e lists one, without it all are listed."""
        shop.ok("secret", "set", "ONLY_STAGING", "-e", "staging", stdin=VALUE)
        assert {one["environment"] for one in shop.json("secret", "list", "-e", "staging", "--json")} == {"staging"}
        assert {"default", "staging"} <= {one["environment"] for one in shop.json("secret", "list", "--json")}

    def test_history_is_newest_first(self, shop: Cli) -> None:
        """With the current one marked."""
        for _ in range(3):
            shop.ok("secret", "set", "OFTEN", stdin=VALUE)

        versions = shop.json("secret", "history", "OFTEN", "--json")

        assert [(one["version"], one["current"]) for one in versions] == [(3, True), (2, False), (1, False)]

    def test_a_listing_on_a_terminal_is_aligned_and_coloured_unless_asked_not_to(self, shop: Cli) -> None:
        """NO_COLOR is respected."""
        for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            screen = shop.terminal("secret", "list", environ=environ)
            assert screen.ended() == 0
            assert "ENVIRONMENT" in screen.shown
            assert ("\x1b[1m" in screen.shown) is coloured

    def test_a_long_one_on_a_terminal_is_aligned_too(self, shop: Cli) -> None:
        """Beyond what is folded to the terminal's width: a line each, headings above, a colour for what stands out."""
        only_beside_the_database(shop)  # it is filled in the database
        lot = "".join(f"LOT_{number} " for number in range(250))
        shop.ok("project", "create", "many")
        db = open_database(read_settings(shop.environ))
        pins = Pins(shop.home / "known_keys", db.url_shown)
        entries = [vault.NewSecret("default", name, b"1234", allow_short=True) for name in lot.split()]
        vault.store(db, "many", entries, actor=vault.Actor("ada@example", "test"), pins=pins)
        db.close()

        screen = shop.terminal("secret", "list", "-p", "many")

        assert screen.ended() == 0
        lines = screen.shown.splitlines()
        assert len(lines) == 251
        assert lines[0].startswith("\x1b[2mSECRET   ENVIRONMENT  VERSION")
        assert lines[1].startswith("\x1b[1mLOT_0  \x1b[0m  default      1  ")
        assert lines[1].endswith("ada@example  never      \x1b[33mnot masked\x1b[0m")


def test_postgresql_is_named_as_its_tools_name_it(cli: Cli, postgres_url: str) -> None:
    """`postgres://` is taken; the commands are the same there."""
    only_beside_the_database(cli)  # it is about databases
    there = {"SEALRUN_DATABASE_URL": postgres_url.replace("postgresql://", "postgres://", 1), "SEALRUN_PROJECT": "far"}
    cli.ok("migrate", environ=there)
    cli.ok("project", "create", "far", "-e", "staging", environ=there)
    for number in (1, 2):
        cli.ok("secret", "set", "K", "-e", "default", "-e", "staging", stdin=f"{VALUE}-{number}", environ=there)

    cli.ok("secret", "rollback", "K", "-e", "staging", environ=there)

    listed = cli.json("secret", "list", "--json", environ=there)
    assert [(one["environment"], one["version"]) for one in listed] == [("default", 2), ("staging", 1)]


class TestVersions:
    def test_a_rollback_gives_runs_the_value_before(self, shop: Cli) -> None:
        """The version before the current one, or the one that --to names; a sentence says which it is."""
        for number in (1, 2, 3):
            shop.ok("secret", "set", "BACK", stdin=f"{VALUE}-{number}")

        assert shop("secret", "rollback", "BACK", code=0).stderr == "BACK of shop/default is at version 2 again\n"
        shop.ok("secret", "rollback", "BACK", "--to", "1")

        assert bytes_in_a_run(shop, "BACK") == f"{VALUE}-1".encode()
        refused = shop("secret", "rollback", "BACK", "--to", "9", code=2)
        assert refused.stderr.endswith("version 9 is not kept; there is 1 to 3\n")
        assert "version 4" in shop("secret", "set", "BACK", stdin=VALUE, code=0).stderr


class TestExpiry:
    def test_it_is_told_by_set_list_history_and_doctor(self, shop: Cli) -> None:
        """A duration or a date; what is more than two weeks off is no news to doctor."""
        only_beside_the_database(shop)  # doctor looks at the machine
        said = shop("secret", "set", "FAR", "--expires", "2100-01-31", stdin=VALUE, code=0).stderr
        assert said == "sealed FAR version 1 in shop/default, expires 2100-01-31T00:00:00.000Z\n"
        shop.ok("secret", "set", "NEAR", "--expires", "5d", stdin=VALUE)

        rows = {line.split("\t")[0]: line.split("\t")[-1] for line in shop.ok("secret", "list").splitlines()}
        assert rows["NEAR"] == "expires in 5 days"
        assert rows["API_KEY"] == ""
        assert shop.ok("secret", "history", "NEAR").endswith("\texpires in 5 days\n")
        (far,) = [one for one in shop.json("secret", "list", "--json") if one["name"] == "FAR"]
        assert far["expires_at"] == "2100-01-31T00:00:00.000Z"
        (found,) = [line for line in shop.ok("doctor").splitlines() if " expiry " in line]
        assert found.split("  ")[-1].strip() == "NEAR of shop/default expires in 5 days"

        shop.ok("secret", "set", "NEAR", stdin=VALUE)

        (near,) = [one for one in shop.json("secret", "list", "--json") if one["name"] == "NEAR"]
        assert near["expires_at"] is None
        assert "no secret has expired or does so within 14 days" in shop.ok("doctor")

    @pytest.mark.parametrize(
        "when",
        [VALUE, "", "90", "90y", "2030-02-30", "1" * 30 + "d", "999999w"],
        ids=["a value", "nothing", "no unit", "another unit", "no such day", "many digits", "too far"],
    )
    def test_one_that_cannot_be_read_is_not_repeated(self, shop: Cli, when: str) -> None:
        """I10: the forms that are taken are told; a value may have been typed in its place."""
        refused = shop("secret", "set", "NEVER", "--expires", when, stdin=VALUE, code=2)

        assert "--expires takes a duration (12h, 90d, 6w), a date" in refused.stderr
        assert not when or when not in refused.stderr.replace("90d", "")

    def test_one_that_is_over_is_refused(self, shop: Cli) -> None:
        """Before the value is read; nothing is stored."""
        refused = shop("secret", "set", "OVER", "--expires", "2020-01-01T12:00+02:00", stdin=VALUE, code=2)
        assert refused.stderr == 'sealrun: the expiry of "OVER" is refused: it is in the past\n'
        assert "OVER" not in shop.ok("secret", "list")


class TestDelete:
    def test_it_asks_for_yes_and_then_the_name_is_free(self, shop: Cli) -> None:
        """A secret made later under the same name begins at version 1."""
        shop.ok("secret", "set", "GONE", stdin=VALUE)
        assert "hint: add --yes" in shop("secret", "delete", "GONE", code=2).stderr

        shop.ok("secret", "delete", "GONE", "--yes")

        assert "version 1" in shop("secret", "set", "GONE", stdin=VALUE, code=0).stderr

    def test_an_unknown_one_is_named_with_a_close_one(self, shop: Cli) -> None:
        """Before anything is asked."""
        refused = shop("secret", "delete", "API_KEI", code=2)
        assert 'no secret "API_KEI" in shop/default\nhint: did you mean "API_KEY"?' in refused.stderr


class TestVariables:
    def test_they_are_set_listed_openly_and_deleted(self, shop: Cli) -> None:
        """A variable's value is no secret."""
        shop.ok("variable", "set", "LEVEL", "debug=1")
        shop.ok("variable", "set", "PIPED", stdin="from stdin\n")

        listed = {one["name"]: one["value"] for one in shop.json("variable", "list", "--json")}
        assert (listed["LEVEL"], listed["PIPED"]) == ("debug=1", "from stdin")

        assert shop("variable", "delete", "LEVEL", code=2).stderr.endswith("hint: add --yes\n")
        shop.ok("variable", "delete", "LEVEL", "--yes")
        assert 'no variable "LEVEL"' in shop("variable", "delete", "LEVEL", "--yes", code=2).stderr

    def test_the_usual_mistakes_are_named(self, shop: Cli) -> None:
        """NAME=VALUE in one word, nothing on stdin, a name that promises a secret, one that is not there."""
        refused = shop("variable", "set", "DB_PASSWORD=canary-typed", code=2).stderr
        assert "the value stands after the name, parted by a blank: NAME VALUE" in refused
        assert "canary" not in refused

        assert "note: the value of NOTHING is empty" in shop("variable", "set", "NOTHING", code=0).stderr
        said = shop("variable", "set", "DB_PASSWORD", "x", code=0).stderr
        assert "note: DB_PASSWORD is named like a secret" in said
        assert 'no variable "NOTHINK"' in shop("variable", "delete", "NOTHINK", code=2).stderr


class TestAdminScript:
    def admin(self, cli: Cli, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        script = [sys.executable, str(CHECKOUT / "scripts" / "secrets_admin.py")]
        return subprocess.run(
            [*script, *words], input=stdin, capture_output=True, text=True, cwd="/", env=cli.environ, timeout=60
        )

    def test_it_is_the_secret_commands(self, shop: Cli) -> None:
        """The same words, the same answers."""
        assert "sealed ADMIN version 1" in self.admin(shop, "set", "ADMIN", "-p", "shop", stdin=VALUE).stderr
        assert "ADMIN\t" in self.admin(shop, "list", "-p", "shop").stdout
        refused = self.admin(shop, "set", "ADMIN", VALUE)
        assert refused.returncode == 2
        assert VALUE not in refused.stderr

    def test_without_sealrun_it_says_what_is_missing(self, tmp_path: Path) -> None:
        """A sentence, not a traceback."""
        script = CHECKOUT / "scripts" / "secrets_admin.py"
        ended = subprocess.run([sys.executable, "-I", "-S", script], capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode == 1
        assert "sealrun is not installed for" in ended.stderr


def test_a_secret_gets_another_name_in_each_environment_or_none_is_touched(new_cli: Cli) -> None:
    """Its history goes on; a name that is taken in one of them is refused before anything is opened."""
    new_cli.ok("project", "create", "shop", "-e", "staging")
    both = ("-p", "shop", "-e", "default", "-e", "staging")
    for value in ("hunter2-prod-key-1", "hunter2-prod-key-2"):
        new_cli.ok("secret", "set", "API_KEY", *both, stdin=value)
    new_cli.ok("variable", "set", "LEVEL", "debug", "-p", "shop", "-e", "staging")
    refused = new_cli("secret", "rename", "API_KEY", "LEVEL", *both, code=1).stderr
    assert 'variable "LEVEL" of shop/staging exists already' in refused
    assert {one["name"] for one in new_cli.json("secret", "list", "-p", "shop", "--json")} == {"API_KEY"}

    said = new_cli("secret", "rename", "API_KEY", "TOKEN", *both, "--json", code=0)

    assert "API_KEY of shop/default is TOKEN now: 2 versions" in said.stderr
    assert [one["secret"]["environment"] for one in json.loads(said.stdout)] == ["default", "staging"]
    versions = new_cli.json("secret", "history", "TOKEN", "-p", "shop", "--json")
    assert [one["version"] for one in versions] == [2, 1] and "hunter2" not in said.stdout + said.stderr
    told = new_cli("secret", "rename", "API_KEY", "OTHER", "-p", "shop", code=2).stderr
    assert 'no secret "API_KEY" in shop/default' in told
