"""`sealrun project`, `init` and `audit`, and how a command finds the project it is about."""

import json
import stat
from collections.abc import Iterator

import pytest

from tests.executor.cli.conftest import DOORS, Cli, made_for, only_beside_the_database

NO_PROJECT = (
    "sealrun: no project is named\n"
    "hint: give -p PROJECT, set SEALRUN_PROJECT, or run `sealrun init` to write .sealrun.toml in this folder\n"
)


@pytest.fixture(scope="module", params=DOORS)
def cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """An empty home behind each door."""
    with made_for(request.param) as one:
        yield one


def test_the_first_project_makes_the_key_file_and_says_what_it_is_worth(new_cli: Cli) -> None:
    """The key file is private, and its path and the price of losing it are told once."""
    said = new_cli("project", "create", "shop", code=0).stderr

    key_file = new_cli.home / "keys" / "local.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert str(key_file) in said
    assert "who loses it loses the secrets" in said
    assert "created project shop with the environment default" in said
    assert "key file" not in new_cli("project", "create", "second", code=0).stderr


def test_what_is_there_stays_when_it_is_created_again(cli: Cli) -> None:
    """`project create` can be said again, and adds the environments that are not there yet."""
    cli.ok("project", "create", "again", "-e", "staging")

    said = cli("project", "create", "again", "-e", "staging", "-e", "prod", code=0).stderr

    assert "project again exists already" in said
    assert "environment staging exists already" in said
    assert "created environment prod" in said
    (listed,) = [project for project in cli.json("project", "list", "--json") if project["name"] == "again"]
    assert listed["environments"] == ["default", "prod", "staging"]


def test_a_listing_in_a_pipe_has_a_line_for_each_with_tabs(cli: Cli) -> None:
    """Fields are parted by tabs, and there are no headings and no colours."""
    cli.ok("project", "create", "piped")

    (line,) = [line for line in cli.ok("project", "list").splitlines() if line.startswith("piped\t")]

    assert line.split("\t")[1] == "default"
    assert "\x1b" not in line


@pytest.mark.parametrize("name", ["Shop", "a b", "../x", ""])
def test_a_name_that_breaks_the_rule_is_refused(cli: Cli, name: str) -> None:
    """The sentence says the rule, and nothing is made."""
    refused = cli("project", "create", name, code=2)

    assert "a project name has 1 to 63 lower-case letters" in refused.stderr


def test_the_least_rung_is_asked_of_workers(cli: Cli) -> None:
    """`project set` says it, `project list` shows it; a rung that there is not is refused."""
    cli.ok("project", "create", "strict")

    said = cli("project", "set", "strict", "--sandbox-min", "landlock", code=0).stderr

    assert said == "runs of strict need rung landlock or better\n"
    (listed,) = [project for project in cli.json("project", "list", "--json") if project["name"] == "strict"]
    assert listed["sandbox_min"] == "landlock"
    assert "'process', 'landlock'" in cli("project", "set", "strict", "--sandbox-min", "none", code=2).stderr
    assert 'no project "strct"' in cli("project", "set", "strct", "--sandbox-min", "process", code=2).stderr


def test_so_many_runs_at_a_time(cli: Cli) -> None:
    """`project set` says it and takes it back; what is no number above 0 is refused."""
    cli.ok("project", "create", "busy")

    def limit() -> int | None:
        (listed,) = [project for project in cli.json("project", "list", "--json") if project["name"] == "busy"]
        return listed["max_running"]  # type: ignore[no-any-return]

    assert "at most 3 runs of busy at a time" in cli("project", "set", "busy", "--max-running", "3", code=0).stderr
    assert limit() == 3
    assert "at most 1 run of busy at a time" in cli("project", "set", "busy", "--max-running", "1", code=0).stderr
    assert "runs of busy have no limit" in cli("project", "set", "busy", "--max-running", "none", code=0).stderr
    assert limit() is None
    for wrong in ("0", "-1", "many"):
        assert "a whole number above 0" in cli("project", "set", "busy", "--max-running", wrong, code=2).stderr


def test_so_much_output_is_kept(cli: Cli) -> None:
    """`project set` says it, `project list` has it; what is no size is refused."""
    cli.ok("project", "create", "loud")
    assert "keep 2,048 MiB of their output" in cli("project", "set", "loud", "--output-limit", "2g", code=0).stderr
    (listed,) = [project for project in cli.json("project", "list", "--json") if project["name"] == "loud"]
    assert listed["output_limit"] == 2 << 30
    for wrong in ("0", "5", "many", "2000G", "-1M"):
        assert "a size from 1M to 1024G" in cli("project", "set", "loud", f"--output-limit={wrong}", code=2).stderr


def test_so_much_a_run_may_have(cli: Cli) -> None:
    """`project set` says it and takes it back, `project list` shows it; what is no amount is refused by its option."""
    cli.ok("project", "create", "small")

    def listed() -> dict[str, object]:
        (found,) = [project for project in cli.json("project", "list", "--json") if project["name"] == "small"]
        return {name: found[name] for name in ("memory_bytes", "cpus", "pids", "disk_bytes", "network")}

    asked = ("--memory", "2G", "--cpus", "1.5", "--pids", "256", "--disk", "10G", "--network", "none")
    said = cli("project", "set", "small", *asked, "--sandbox-min", "namespace", code=0).stderr

    assert "runs of small have at most 2G of memory (--memory)" in said
    assert "runs of small have the network none" in said
    assert "runs of small need rung namespace or better" in said
    full = {"memory_bytes": 2 << 30, "cpus": 1.5, "pids": 256, "disk_bytes": 10 << 30, "network": "none"}
    assert listed() == full
    (line,) = [line for line in cli.ok("project", "list").splitlines() if line.startswith("small\t")]
    assert "a run has at most 2G of memory, 1.5 CPUs, 256 processes, 10G written at once" in line
    assert "what their worker gives (--memory)" in cli("project", "set", "small", "--memory", "default", code=0).stderr
    assert listed() == {**full, "memory_bytes": None}
    refused = cli("project", "set", "small", "--memory", "lots", code=2).stderr
    assert '--memory takes a size from 16M to 64T, as in 512M, 2G or 1.5GiB, or "default"' in refused


class TestDelete:
    def test_without_a_terminal_it_refuses(self, cli: Cli) -> None:
        """Nobody can be asked, so --yes has to be said."""
        cli.ok("project", "create", "kept")

        refused = cli("project", "delete", "kept", code=2)

        assert "cannot ask for confirmation without a terminal\nhint: add --yes\n" in refused.stderr
        assert "kept" in cli.ok("project", "list")

    def test_with_yes_it_is_gone_and_comes_back(self, cli: Cli) -> None:
        """Whoever names it is told how; the audit chain goes on, and is verified."""
        only_beside_the_database(cli)  # doctor looks at the machine
        cli.ok("project", "create", "gone")
        folder = cli.jobs / "of-gone"
        folder.mkdir()
        cli.ok("init", "gone", cwd=folder)

        said = cli("project", "delete", "gone", "--yes", code=0).stderr

        assert 'deleted project "gone"; its keys are destroyed on 20' in said
        assert "until then: sealrun project restore gone" in said
        assert "gone" not in cli.ok("project", "list")
        (line,) = [line for line in cli.ok("project", "list", "--deleted").splitlines() if line.startswith("gone\t")]
        assert line.endswith("\tsealrun project restore gone")
        for words in (("secret", "list", "-p", "gone"), ("project", "create", "gone"), ("variable", "list")):
            refused = cli(*words, cwd=folder, code=2).stderr
            assert 'sealrun: project "gone" was deleted on 20' in refused
            assert "hint: bring it back: sealrun project restore gone; or destroy it now" in refused
        assert "can be brought back: gone (until " in cli.ok("doctor")
        assert cli("project", "restore", "gone", code=0).stderr == "project gone is back\n"
        assert "gone" in cli.ok("project", "list")
        events = cli.json("audit", "list", "-p", "gone", "--json")
        assert [event["action"] for event in events][-2:] == ["project.delete", "project.restore"]
        assert cli.json("audit", "verify", "-p", "gone", "--json")["ok"] is True

    def test_to_destroy_it_now_its_name_is_asked_for(self, cli: Cli) -> None:
        """--yes alone is not enough; on a terminal it is typed. Deleted already or not."""
        only_beside_the_database(cli)  # a server does not tell of what was destroyed
        cli.ok("project", "create", "doomed")
        for words in ((), ("--yes",), ("--confirm", "doomed")):
            refused = cli("project", "delete", "doomed", "--now", *words, code=2).stderr
            assert "hint: add --yes --confirm doomed" in refused
        wrong = cli("project", "delete", "doomed", "--now", "--yes", "--confirm", "domed", code=2).stderr
        assert "that is not its name; nothing was destroyed" in wrong
        assert "--confirm goes with --now" in cli("project", "delete", "doomed", "--confirm", "doomed", code=2).stderr
        screen = cli.terminal("project", "delete", "doomed", "--now")
        screen.until("[y/N]")
        screen.type("y\n")
        screen.until("type its name")
        screen.type("domed\n")
        assert screen.ended() == 2
        cli.ok("project", "delete", "doomed", "--yes")
        told = cli.json("project", "delete", "doomed", "--now", "--yes", "--confirm", "doomed", "--json")
        assert (told["deleted"], told["destroy_at"]) == ("project", None)
        assert "was destroyed on" in cli("project", "restore", "doomed", code=2).stderr
        cli.ok("project", "create", "doomed")
        assert cli.json("audit", "verify", "-p", "doomed", "--json")["ok"] is True

    def test_a_protected_one_stays(self, cli: Cli) -> None:
        """It says so before it asks, for an environment of it, too."""
        cli.ok("project", "create", "guarded", "-e", "dev")
        said = cli("project", "set", "guarded", "--protected", code=0).stderr
        assert said == "guarded cannot be deleted until --no-protected\n"
        (line,) = [line for line in cli.ok("project", "list").splitlines() if line.startswith("guarded\t")]
        assert line.endswith("\tprotected")
        for words in ((), ("-e", "dev"), ("--now",)):
            refused = cli("project", "delete", "guarded", *words, code=1).stderr
            assert 'project "guarded" is protected from deletion' in refused
            assert "sealrun project set guarded --no-protected" in refused
        assert cli("project", "set", "guarded", "--no-protected", code=0).stderr == "guarded can be deleted\n"
        cli.ok("project", "delete", "guarded", "-e", "dev", "--yes")

    def test_on_a_terminal_it_asks(self, cli: Cli) -> None:
        """No is an answer, and yes another."""
        cli.ok("project", "create", "asked")
        for answer, code, left in (("n\n", 1, True), ("y\n", 0, False)):
            screen = cli.terminal("project", "delete", "asked")
            screen.until("[y/N]")
            screen.type(answer)
            assert screen.ended() == code
            assert ("asked" in cli.ok("project", "list")) is left

    def test_one_environment_alone(self, cli: Cli) -> None:
        """The others stay; what it says is what it does: the keys are destroyed."""
        cli.ok("project", "create", "shrinking", "-e", "dev")
        said = cli("project", "delete", "shrinking", "-e", "dev", "--yes", code=0).stderr
        assert said == 'deleted environment "dev" of project "shrinking"; its keys are destroyed\n'
        assert {"name": "shrinking", "environments": ["default"]}.items() <= next(
            found for found in cli.json("project", "list", "--json") if found["name"] == "shrinking"
        ).items()
        assert 'no environment "dev"' in cli("project", "delete", "shrinking", "-e", "dev", code=2).stderr

    def test_an_unknown_one_is_named(self, cli: Cli) -> None:
        """Before anything is asked."""
        only_beside_the_database(cli)  # a server has hints of its own
        for words in (("delete", "nowhere"), ("delete", "nowhere", "--now"), ("delete", "nowhere", "--yes")):
            refused = cli("project", *words, code=2).stderr
            assert refused == 'sealrun: no project "nowhere"\nhint: what there is: sealrun project list\n'

    def test_what_was_never_deleted_cannot_be_restored(self, cli: Cli) -> None:
        """The hint leads to what can be, and to no new project."""
        only_beside_the_database(cli)  # a server has hints of its own
        refused = cli("project", "restore", "nowhere", code=2).stderr
        assert refused == 'sealrun: no project "nowhere"\nhint: what is deleted: sealrun project list --deleted\n'
        cli.ok("project", "create", "wanderer")
        cli.ok("project", "delete", "wanderer", "--yes")
        assert 'did you mean "wanderer"?' in cli("project", "restore", "wandere", code=2).stderr


class TestWhichProject:
    def test_none_named_is_an_error_that_says_how(self, cli: Cli) -> None:
        """The three ways stand in the hint."""
        assert cli("secret", "list", code=2).stderr == NO_PROJECT

    def test_one_that_stands_behind_the_target_is_told(self, cli: Cli) -> None:
        """There it is a word for the target: no hint to say what was said."""
        (cli.jobs / "behind.py").write_text("")
        note, refused = cli("run", "behind.py", "-p", "shop", code=2).stderr.split("\n", 1)
        assert note.startswith("note: what stands behind TARGET is its own, so -p went to behind.py")
        hint = "hint: -p stands behind TARGET, where all belongs to the target: sealrun run -p PROJECT … TARGET\n"
        assert refused == "sealrun: no project is named\n" + hint

    def test_an_unknown_project_says_how_to_make_it(self, cli: Cli) -> None:
        """The sentence that the design promises."""
        refused = cli("secret", "list", "-p", "toys", code=2)
        assert refused.stderr == 'sealrun: no project "toys"\nhint: create it: sealrun project create toys\n'

    def test_option_then_variable_then_file(self, cli: Cli) -> None:
        """-p counts before SEALRUN_PROJECT, and that before .sealrun.toml; the same for environments."""
        for name in ("by-option", "by-variable", "by-file"):
            cli.ok("project", "create", name, "-e", "prod")
            cli.ok("variable", "set", "FROM", name, "-p", name, "-e", "prod")
        inside = cli.jobs / "inside" / "deeper"
        inside.mkdir(parents=True)
        cli.ok("init", "by-file", "-e", "prod", cwd=inside.parent)

        def found(*options: str, **environ: str) -> str:
            value: str = cli.json("variable", "list", "--json", *options, environ=environ, cwd=inside)[0]["value"]
            return value

        assert found() == "by-file"
        assert found(SEALRUN_PROJECT="by-variable") == "by-variable"
        assert found("-p", "by-option", SEALRUN_PROJECT="by-variable") == "by-option"
        said = cli("variable", "set", "ELSE", "x", cwd=inside, code=0).stderr
        assert said == "set ELSE in by-file/prod\n"
        said = cli("variable", "set", "ELSE", "x", cwd=inside, environ={"SEALRUN_ENV": "default"}, code=0).stderr
        assert said == "set ELSE in by-file/default\n"

    def test_a_broken_project_file_is_named(self, cli: Cli) -> None:
        """Its path and what is wrong."""
        folder = cli.jobs / "broken"
        folder.mkdir()
        (folder / ".sealrun.toml").write_text("projekt = 'x'\n")

        refused = cli("secret", "list", cwd=folder, code=2)

        assert f"{folder}/.sealrun.toml: unknown key 'projekt'" in refused.stderr


class TestInit:
    def test_it_names_the_project_after_the_folder(self, cli: Cli) -> None:
        """A folder's name becomes a project's."""
        folder = cli.jobs / "My Shop_2"
        folder.mkdir()

        cli.ok("init", cwd=folder)

        assert (folder / ".sealrun.toml").read_text() == 'project = "my-shop-2"\n'

    def test_it_does_not_overwrite(self, cli: Cli) -> None:
        """What is there may have been edited."""
        folder = cli.jobs / "twice"
        folder.mkdir()
        told = json.loads(cli("init", "first", "--yes", "--json", cwd=folder, code=0).stdout)
        assert told == {"file": str(folder / ".sealrun.toml"), "project": "first", "environment": None}

        refused = cli("init", "second", cwd=folder, code=1)

        assert f"{folder}/.sealrun.toml exists already" in refused.stderr
        assert "first" in (folder / ".sealrun.toml").read_text()


def test_settings_that_are_wrong_are_reported_together_and_not_quoted(cli: Cli) -> None:
    """Every problem in one go, by name; what a variable holds may be a password (I10)."""
    wrong = {"SEALRUN_DATABASE_URL": "mysql://app:hunter2@db/x", "SEALRUN_LEASE_SECONDS": "soon"}

    refused = cli("project", "list", environ=wrong, code=2)

    assert "SEALRUN_DATABASE_URL is not a database URL" in refused.stderr
    assert "SEALRUN_LEASE_SECONDS is not a length of time" in refused.stderr
    assert "hunter2" not in refused.stderr


def test_a_database_that_is_not_there_is_a_sentence(cli: Cli) -> None:
    """No traceback, and no password (I10)."""
    only_beside_the_database(cli)  # it is about databases
    away = {"SEALRUN_DATABASE_URL": "postgresql://app:hunter2@127.0.0.1:1/x"}

    refused = cli("project", "list", environ=away, code=1)

    assert refused.stderr.startswith("sealrun: the database postgresql+psycopg://app:***@127.0.0.1:1/x cannot be")
    assert "hunter2" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_configured_database_waits_for_migrate(cli: Cli) -> None:
    """It is not changed unasked, and the hint says the command."""
    only_beside_the_database(cli)  # it is about databases
    configured = {"SEALRUN_DATABASE_URL": f"sqlite:///{cli.folder}/elsewhere/x.db"}

    refused = cli("project", "list", environ=configured, code=1)
    assert "hint: sealrun migrate" in refused.stderr

    assert "was secretstore empty" in cli("migrate", environ=configured, code=0).stderr
    again = json.loads(cli("migrate", "--yes", "--json", environ=configured, code=0).stdout)
    assert again["changed"] is False and again["executor"] is not None
    assert "roles are PostgreSQL's" in cli("migrate", "--grants", environ=configured, code=2).stderr
    assert "--sql goes with --grants" in cli("migrate", "--sql", environ=configured, code=2).stderr
    cli.ok("project", "list", environ=configured)


def test_an_environment_gets_a_queue_of_its_own(cli: Cli) -> None:
    """With servers of one's own, runs of an environment wait for workers of its queue; with none, that is refused."""
    cli.ok("project", "create", "queued", "-e", "prod")
    alone = cli("project", "set", "queued", "-e", "prod", "--queue", "prod", code=2)
    assert "the queue prod needs workers of its own" in alone.stderr
    cli("project", "set", "queued", code=2)
    cli("project", "set", "queued", "-e", "prod", code=2)
