"""`sealrun run` and `sealrun runs`, as a script and as a person have them."""

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from executor.database import open_database
from executor.records import history
from executor.settings import read_settings
from tests.executor.cli.conftest import DOORS, PATIENCE, Cli, made_for, only_beside_the_database
from tests.executor.cli.warm.conftest import Warm
from tests.executor.conftest import Bench
from tests.processes import eventually
from tests.rig import job_python

WORDS = """
import json, os, sys
print(json.dumps(sys.argv[1:]))
print("to stderr", file=sys.stderr)
"""


@pytest.fixture(scope="module", params=[*DOORS, pytest.param("warm", marks=pytest.mark.long)])
def cli(request: pytest.FixtureRequest) -> Iterator[Cli]:
    """An empty home: every day with commands as everywhere, before a release through a server and a warm process."""
    with made_for("direct" if request.param == "warm" else request.param) as one:
        if request.param == "warm":
            one.forks = False
            one.environ["SEALRUN_WARM_SECONDS"] = "600"  # it ends with the home
            one.ok("runs", "list")
            Warm(one).left()
        yield one


@pytest.fixture(scope="module")
def jobs(shop: Cli) -> Cli:
    """The shop with a folder of jobs."""
    shop.job("words.py", WORDS)
    shop.job("pkg/__init__.py", "")
    shop.job("pkg/mod.py", WORDS)
    shop.job("env.py", "import json, os; print(json.dumps({k: len(v) for k, v in os.environ.items()}))")
    shop.job(
        "calc.py",
        "import datetime, os\n"
        "def add(n: int, day: datetime.date = None, extra=None):\n"
        "    print('adding')\n"
        "    return {'n': n + 1, 'day': str(day), 'extra': extra, 'key': os.environ['API_KEY']}\n"
        "def nothing(): pass\n"
        "def odd(): return {1, 2}\n",
    )
    shop.job(
        "awaited.py",
        "import asyncio, datetime\n"
        "from typing import Optional\n"
        "async def wait(n: int | None, many: list[int], day: Optional[datetime.date] = None):\n"
        "    await asyncio.sleep(0)\n"
        "    return {'n': n + 1, 'day': str(day + datetime.timedelta(days=1)), 'many': many}\n",
    )
    return shop


class TestExitCodes:
    @pytest.mark.parametrize(
        ("words", "code", "sentence"),
        [
            (("--", "true"), 0, ""),
            (("--", "sh", "-c", "exit 7"), 7, "failed: sh ended with exit code 7"),
            (("--", "sh", "-c", "kill -TERM $$"), 143, "failed: sh was ended by signal 15"),
            (("--timeout", "0.3", "--", "sleep", "30"), 124, "failed: sleep was ended after 0.3 seconds"),
            (("raises.py",), 1, "failed: raises.py raised KeyError"),
            (("--", "no-such-program"), 125, "failed: "),
            (("missing.py",), 125, "there is no file missing.py"),
            (("--python", "/nowhere/python3", "words.py"), 125, "/nowhere/python3 is not an executable file"),
            (("-p", "toys", "words.py"), 2, "hint: create it: sealrun project create toys"),
            (("-e", "nowhere", "words.py"), 2, 'no environment "nowhere" in project "shop"'),
            (("--secret", "API_KEI", "words.py"), 2, 'hint: did you mean "API_KEY"?'),
            (("--secret", "API_KEY", "--no-secrets", "words.py"), 2, "exclude each other"),
            ((), 2, "TARGET is missing"),
            (("--",), 2, "a command must follow --"),
            (("-m",), 2, "a module must follow -m"),
            (("words.sh",), 2, "words.sh is not a Python file; to run a command, put -- before it"),
            (("calc.py:add", "--arg", "n=1"), 2, "put --arg and --json-arg before the function"),
            (("calc.py:add", "four"), 1, "argument n is not a valid int: 'four'"),
            (("calc.py:ad", "4"), 125, "calc.py has no function ad\nhint: did you mean add?"),
            (("broken.py",), 125, "broken.py is not valid Python: line 2: "),
            (("-m", "pkg.mood"), 1, "there is no module pkg.mood in the source root or in this run's Python"),
            (("--arg", "n=1", "words.py"), 2, "--arg and --json-arg are for functions"),
            (("--json-arg", "n={", "calc.py:add"), 2, "--json-arg n is not JSON"),
            (("--json-arg", "n=[1e999]", "calc.py:add"), 2, "--json-arg n is not JSON"),
            (("--timeout", "0", "words.py"), 2, "the time-out must be a number of seconds above 0"),
            (("--no-such-option", "words.py"), 2, "no such option: --no-such-option"),
            (("--env", "NOVALUE", "words.py"), 2, "--env takes NAME=VALUE"),
            (("--env", "PYTHONPATH=/x", "words.py"), 2, 'the name "PYTHONPATH" is refused'),
            (("--env", "API_KEY=plain", "words.py"), 2, "API_KEY is both a secret and a plain variable"),
            (("/etc/hostname/x.py",), 125, "there is no file /etc/hostname/x.py"),
        ],
    )
    def test_each_end_has_its_own(self, jobs: Cli, words: tuple[str, ...], code: int, sentence: str) -> None:
        """The run's own, 128 and the signal, 124, 1, 125 where it never started, 2 for what was typed."""
        jobs.job("raises.py", "{}['missing']")
        if words[:1] == ("broken.py",) or "/nowhere/python3" in words:
            only_beside_the_database(jobs)  # which Python a run with uploaded source has, its worker decides
        jobs.job("broken.py", "\ndef load(:\n")

        ended = jobs("run", *words, code=code)

        assert sentence in ended.stderr
        assert "Traceback" not in ended.stderr or "raises.py" in words

    def test_a_conflict_is_no_conflict_without_that_secret(self, jobs: Cli) -> None:
        """A plain variable may have the name of a secret that the run is not given."""
        for options in (("--no-secrets",), ("--secret", "DATABASE_URL")):
            given = jobs.json("run", *options, "--env", "API_KEY=plain", "env.py")
            assert given["API_KEY"] == len("plain")

    def test_secrets_that_cannot_be_opened_end_the_run_before_it_starts(self, jobs: Cli) -> None:
        """Without its key file a run ends with 125 and the mend; secrets can still be listed."""
        key_file = jobs.home / "keys" / "local.key"
        hidden = key_file.rename(jobs.folder / "hidden.key")
        try:
            ended = jobs("run", "--json", "--", "true", code=125)
            assert "API_KEY" in jobs.ok("secret", "list")
        finally:
            hidden.rename(key_file)

        assert f"no key file at {key_file}" in ended.stderr
        assert json.loads(ended.stdout)["reason"] == "secrets_unavailable"

    def test_a_source_root_that_is_a_home_is_refused(self, jobs: Cli) -> None:
        """A run may not read a whole home folder."""
        home = Path(jobs.environ["HOME"])
        (home / "x.py").write_text("")

        ended = jobs("run", "x.py", cwd=home, code=125)

        assert f"the source root would be {home}" in ended.stderr


class TestArguments:
    @pytest.mark.parametrize(
        ("target", "mine"),
        [
            (("words.py",), ("--json", "-p", "x", "--help", "-m", "--", "a b")),
            (("-m", "pkg.mod"), ("--flag", "-e", "--secret=1", "--")),
            (("words.py",), ()),
        ],
    )
    def test_what_follows_the_target_is_its_own(
        self, jobs: Cli, target: tuple[str, ...], mine: tuple[str, ...]
    ) -> None:
        """Verbatim, options of ours included."""
        assert jobs.json("run", *target, *mine) == list(mine)

    def test_a_command_gets_its_words_as_they_are(self, jobs: Cli) -> None:
        """No shell reads them."""
        assert jobs.ok("run", "--", "printf", "%s|", "-x", "--json", "$HOME", "a  b") == "-x|--json|$HOME|a  b|"

    def test_options_with_an_equals_sign_are_ours_before_the_target(self, jobs: Cli) -> None:
        """`--secret=NAME` and `--env=K=V`."""
        given = jobs.json("run", "--secret=DATABASE_URL", "--env=MODE=a=b", "--timeout=30", "env.py")
        assert given["MODE"] == len("a=b")
        assert "DATABASE_URL" in given and "API_KEY" not in given

    def test_a_function_gets_text_by_annotation_and_json_as_it_is(self, jobs: Cli) -> None:
        """Its result is the last thing on stdout, as JSON, and masked."""
        words = ("--arg", "n=4", "--arg", "day=2026-03-01", "--json-arg", 'extra=[1, {"a": null}]')

        stdout = jobs.ok("run", *words, "calc.py:add")

        first, _, result = stdout.partition("\n")
        assert first == "adding"
        assert json.loads(result) == {"n": 5, "day": "2026-03-01", "extra": [1, {"a": None}], "key": "***"}

    def test_a_result_that_is_no_json_is_a_note(self, jobs: Cli) -> None:
        """Nothing is invented; None is `null`."""
        assert jobs.ok("run", "calc.py:nothing") == "null\n"
        odd = jobs("run", "calc.py:odd", code=0)
        assert odd.stdout == ""
        assert "note: the returned set was not stored, as it does not fit into JSON: $ is a set." in odd.stderr

    def test_a_wrong_argument_is_a_sentence(self, jobs: Cli) -> None:
        """Of the function's own signature: before the run where its text is plain, else by the run."""
        before = len(jobs.json("runs", "list", "-L", "100", "--json"))
        assert "has no argument m" in jobs("run", "--arg", "n=1", "--arg", "m=4", "calc.py:add", code=2).stderr
        assert len(jobs.json("runs", "list", "-L", "100", "--json")) == before
        jobs.job("late.py", "def add(n: int): ...\nadd = add\n")
        assert "has no argument m" in jobs("run", "--arg", "n=1", "--arg", "m=4", "late.py:add", code=1).stderr

    def test_an_annotation_may_allow_none_and_a_function_may_be_async(self, jobs: Cli) -> None:
        """`int | None`, `Optional[date]` and `list[int]`: the first two are converted, the last stays text."""
        words = ("--arg", "n=4", "--arg", "day=2026-03-01", "--arg", "many=5")
        assert json.loads(jobs.ok("run", *words, "awaited.py:wait")) == {"n": 5, "day": "2026-03-02", "many": "5"}


class TestEnvironment:
    def test_variables_of_the_environment_of_the_option_and_of_a_file(self, jobs: Cli) -> None:
        """A later one over an earlier one: the environment's, the file's, --env."""
        jobs.ok("variable", "set", "LEVEL", "a")
        jobs.ok("variable", "set", "KEPT", "a")
        (jobs.jobs / "vars.env").write_text("# comment\nLEVEL=bb\nexport QUOTED=\"c c\\n\"\nFILE='x'\n")

        given = jobs.json("run", "--env-file", "vars.env", "--env", "FILE=long", "env.py")

        assert (given["KEPT"], given["LEVEL"], given["QUOTED"], given["FILE"]) == (1, 2, 4, 4)

    def test_what_is_no_text_is_refused_by_its_name(self, jobs: Cli) -> None:
        """In the words of the Python API, and without the value."""
        for words, said in (
            (("--env", "A=hunter2\udcff", "env.py"), 'the value of "A" is refused: it is not text in UTF-8\nhint: '),
            (("-m", "hunter2\udcff"), "the module is refused: it is not text in UTF-8\nhint: "),
        ):
            refused = jobs("run", *words, code=2).stderr
            assert said in refused and "hunter2" not in refused

    def test_a_broken_file_is_named_by_line(self, jobs: Cli) -> None:
        """And not quoted."""
        (jobs.jobs / "broken.env").write_text("A=1\nhunter2-not-a-pair\n")

        refused = jobs("run", "--env-file", "broken.env", "env.py", code=2)

        assert refused.stderr.startswith("sealrun: broken.env, line 2: there is no = in it\n")
        assert "hunter2" not in refused.stderr

    def test_each_environment_has_its_own_secrets(self, jobs: Cli) -> None:
        """They do not inherit from each other."""
        jobs.ok("secret", "set", "STAGED", "-e", "staging", stdin="only-in-staging")

        given = jobs.json("run", "-e", "staging", "env.py")

        assert given["STAGED"] == len("only-in-staging")
        assert "API_KEY" not in given

    def test_a_folder_of_the_same_name_as_ours_is_not_imported(self, jobs: Cli) -> None:
        """The worker that is started does not take its code from where the user is."""
        (jobs.jobs / "celery.py").write_text("raise SystemExit('imported from the current folder')")
        try:
            jobs.end_workers()
            again = {"PYTHONSAFEPATH": "1"}  # for the submitter, which a console script does not need
            assert jobs("run", "--", "true", environ=again, code=0).stdout == ""
        finally:
            (jobs.jobs / "celery.py").unlink()


class TestStreams:
    def test_the_runs_streams_are_ours_and_our_words_are_on_stderr(self, jobs: Cli) -> None:
        """stdout holds nothing but the run's."""
        ended = jobs("run", "words.py", "x", code=0)
        assert ended.stdout == '["x"]\n'
        assert "to stderr\n" in ended.stderr

    def test_bytes_come_out_as_they_went_in(self, jobs: Cli) -> None:
        """Output need not be text."""
        written = bytes(range(256)) * 3
        found = jobs.raw("run", "--", "python3", "-c", "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)")
        assert found.stdout == written

    def test_what_is_secret_is_masked(self, jobs: Cli) -> None:
        """The value itself, and the password of a URL."""
        ended = jobs("run", "--", "sh", "-c", "echo $API_KEY; echo $DATABASE_URL >&2; echo s3cr3t-pass", code=0)
        assert ended.stdout == "***\n***\n"
        assert "***\n" in ended.stderr
        assert "s3cr3t" not in ended.stderr

    def test_a_closed_pipe_ends_quietly(self, jobs: Cli) -> None:
        """`sealrun run … | head -1`."""
        command = [*jobs.command("run", "--", "sh", "-c", "while :; do echo line; sleep 0.01; done")]
        with subprocess.Popen(
            command, cwd=jobs.jobs, env=jobs.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "line\n"
            process.stdout.close()
            assert process.wait(PATIENCE) == 141
            said = process.stderr.read()
        assert "Error" not in said and "Traceback" not in said
        assert "the run goes on; come back: sealrun runs logs -f " in said
        jobs.ok("runs", "cancel", "@last")


class TestJson:
    def test_stdout_is_one_object_with_all_that_was_promised(self, jobs: Cli) -> None:
        """Both streams of the run go to stderr; `runs show --json` says the same."""
        ended = jobs("run", "--json", "--arg", "n=1", "calc.py:add", code=0)
        told = json.loads(ended.stdout)

        assert "adding" in ended.stderr
        assert {
            "id", "project", "environment", "state", "reason", "exit_code", "attempt", "created_at", "started_at",
            "finished_at", "result", "problem", "receipt",
        } <= told.keys()  # fmt: skip
        assert (told["project"], told["environment"], told["state"]) == ("shop", "default", "succeeded")
        assert (told["reason"], told["exit_code"], told["attempt"], told["problem"]) == (None, 0, 1, None)
        assert told["result"] == {"n": 2, "day": "None", "extra": None, "key": "***"}
        receipt = told["receipt"]
        given = {"name": "API_KEY", "version": 1, "channel": "environment", "alias": None, "expires_at": None}
        assert given in receipt["secrets"]
        moments = [told["created_at"], told["started_at"], receipt["opened_at"], receipt["dropped_at"]]
        assert moments == sorted(moments) and all(moment.endswith("Z") for moment in moments)
        assert receipt["rung"] in ("process", "landlock", "namespace")
        assert jobs.json("runs", "show", told["id"], "--json") == told

    def test_a_problem_is_in_it(self, jobs: Cli) -> None:
        """With type, message and traceback."""
        jobs.job("raising.py", "import os\nraise ValueError('bad ' + os.environ['API_KEY'])\n")
        told = json.loads(jobs("run", "--json", "raising.py", code=1).stdout)
        assert (told["state"], told["reason"]) == ("failed", "exception")
        assert (told["problem"]["type"], told["problem"]["message"]) == ("ValueError", "bad ***")
        assert "raising.py" in told["problem"]["traceback"]

    def test_what_it_may_have_is_asked_for_and_shown(self, jobs: Cli) -> None:
        """`runs show` has what was asked for, the receipt what was in force and by what; retrying asks for the same."""
        asked = ("--memory", "1.5G", "--cpus", "0.5", "--pids", "300", "--disk", "1G", "--collect", "*.csv")
        jobs("run", *asked, "words.py", code=0)
        shown = " ".join(jobs.ok("runs", "show", "@last").split())
        told = "1536M of memory, 0.5 CPUs, 300 processes, 1G written at once; of the files beside its source: *.csv"
        assert f"asked for {told}" in shown
        assert re.search(r"limits 1536M of memory, by \S.* 0.5 CPUs, by \S.* 1G written at once, by rlimit", shown)
        jobs("runs", "retry", "@last", code=0)
        assert f"asked for {told}" in " ".join(jobs.ok("runs", "show", "@last").split())
        assert "limits 4,096" not in shown and "no limit: " not in shown
        jobs("run", "words.py", code=0)
        shown = " ".join(jobs.ok("runs", "show", "@last").split())
        assert "4096 processes, by " in shown and "no limit: memory, cpus" in shown
        assert "--memory takes a size from 16M to 64T" in jobs("run", "--memory", "1", "words.py", code=2).stderr
        assert "'full', 'none'" in jobs("run", "--network", "half", "words.py", code=2).stderr

    def test_what_it_used_and_reported_is_shown(self, jobs: Cli) -> None:
        """Causes, bytes, phases and metrics in a few lines, and no control character of the run's."""
        jobs.job(
            "measured.py",
            "import json, os\n"
            "with open(os.environ['SEALRUN_METRICS'], 'w') as out:\n"
            "    for name, unit in (('rows', '1'), ('sp\\x1bent', 's')):\n"
            "        print(json.dumps({'name': name, 'value': 12, 'unit': unit, 'labels': {'table': 'x'}}), file=out)\n"
            "print('four')\n"
            "raise ValueError('outer') from KeyError('inner')\n",
        )
        assert jobs("run", "measured.py", code=1).stdout == "four\n"
        shown = " ".join(jobs.ok("runs", "show", "@last").split())
        assert "problem ValueError: outer caused by KeyError: 'inner' used " in shown
        assert " s of CPU time, " in shown and " MiB at its highest printed 5 bytes to stdout, " in shown
        assert "phases queued " in shown and ", drain " in shown
        assert "metrics rows = 12 table=x sp\\x1bent = 12 s table=x" in shown

    @pytest.mark.parametrize(
        ("words", "kind", "code"),
        [
            (("missing.py",), "TargetUnusable", 125),
            (("-p", "toys", "words.py"), "UnknownProject", 2),
            (("--timeout", "soon", "words.py"), "Misuse", 2),
            (("--env", "API_KEY=hunter2", "words.py"), "NameRefused", 2),
            (("calc.py:add",), "ArgumentsRefused", 2),
            ((), "RequestUnclear", 2),
        ],
    )
    def test_a_run_that_is_refused_is_an_object_too(
        self, jobs: Cli, words: tuple[str, ...], kind: str, code: int
    ) -> None:
        """With the sentence that stderr has, its hint and the exit code; no value is in it (I10)."""
        ended = jobs("run", "--json", *words, code=code)
        told = json.loads(ended.stdout)
        assert told.keys() == {"error"}
        assert (told["error"]["type"], told["error"]["exit_code"]) == (kind, code)
        hint = f"hint: {told['error']['hint']}\n" if told["error"]["hint"] else ""
        assert ended.stderr == f"sealrun: {told['error']['message']}\n{hint}"
        assert "hunter2" not in ended.stdout + ended.stderr


class TestSource:
    def test_it_is_uploaded_where_that_is_asked_for(self, jobs: Cli) -> None:
        """The run says which bundle it had, and from where; at which commit, where there is one."""
        checkout = jobs.jobs / "checkout"
        jobs.job("checkout/.git/HEAD", "0123456789" * 4)
        jobs.job("checkout/.sealrun.toml", "")
        jobs.job("checkout/job.py", "import os; print(os.path.basename(os.path.dirname(os.getcwd())))")
        without_git = {"PATH": str(jobs.folder / "bin")}
        (jobs.folder / "bin").mkdir()
        (jobs.folder / "bin/python3").symlink_to(job_python())

        told = jobs("run", "--bundle", "job.py", cwd=checkout, code=0, environ=without_git)

        assert told.stdout == "sources\n"
        run = jobs.json("runs", "show", "@last", "--json")
        assert (run["source_root"], run["source_commit"]) == (str(checkout), "0123456789" * 4)
        shown = jobs.ok("runs", "show", "@last")
        from_there = f"bundle {run['bundle'][:12]}, uploaded from {checkout}, commit 012345678901"
        assert f"{from_there}; whether with uncommitted changes is unknown\n" in shown

    def test_a_file_of_values_is_uploaded_where_that_is_said(self, jobs: Cli) -> None:
        """What an upload would put into the database in the clear stays here, and a note names it."""
        folder = jobs.jobs / "valued"
        jobs.job("valued/.sealrun.toml", "")
        jobs.job("valued/ls.py", "import os; print(*sorted(os.listdir('.')))")
        for name in (".env", ".env.example", "celerybeat-schedule"):
            jobs.job(f"valued/{name}", "TOKEN=hunter2-in-the-clear\n")
        told = jobs("run", "--bundle", "ls.py", cwd=folder, code=0)
        assert told.stdout == ".env.example .sealrun.toml ls.py\n"
        assert "note: not uploaded, as it may hold values in the clear: .env; store them as secrets" in told.stderr
        jobs.job("valued/.sealrunignore", "!.env\n")
        told = jobs("run", "--bundle", "ls.py", cwd=folder, code=0)
        assert told.stdout == ".env .env.example .sealrun.toml .sealrunignore ls.py\n" and "note" not in told.stderr

    @pytest.mark.parametrize(
        ("words", "sentence", "mend"),
        [
            (("job.py",), "big.bin (2 MiB)", ".sealrunignore"),
            (("--python", "/usr/bin/python3", "job.py"), "is an interpreter on this machine", "--no-bundle"),
        ],
    )
    def test_what_cannot_be_uploaded_is_told(self, jobs: Cli, words: tuple[str, ...], sentence: str, mend: str) -> None:
        """With the mend, before anything is submitted."""
        jobs.job("large/.sealrun.toml", "")
        jobs.job("large/job.py", "")
        jobs.job("large/big.bin", "x" * (2 << 20))
        limit = {"SEALRUN_SOURCE_LIMIT_MIB": "1"}

        ended = jobs("run", "--bundle", *words, cwd=jobs.jobs / "large", code=125, environ=limit)

        assert sentence in ended.stderr and mend in ended.stderr


@pytest.fixture
def etl(jobs: Cli) -> Path:
    """A project as `uv init --package` makes it."""
    scripts = '[project.scripts]\netl = "etl.main:main"\n[build-system]\nrequires = ["uv_build"]\n'
    jobs.job("etl/pyproject.toml", f'[project]\nname = "etl"\nversion = "1.5"\n{scripts}')
    jobs.job("etl/src/etl/__init__.py", "from importlib.metadata import version\n__version__ = version(__name__)\n")
    jobs.job(
        "etl/src/etl/main.py",
        "import subprocess, sys\n"
        "from etl import __version__\n"
        "def main():\n"
        "    print(__version__, *sys.argv[1:], flush=True)\n"
        "    if sys.argv[1] == 'again':\n"
        "        subprocess.run([sys.executable, '-m', 'etl.main', 'child'], check=True)\n"
        "    if sys.argv[1] == 'write':\n"
        "        open(sys.argv[0], 'a')\n"
        "    return 3 if sys.argv[1] == 'fail' else None\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(main())\n",
    )
    jobs.job("etl/jobs/load.py", "from etl.main import main\nmain()\n")
    return jobs.jobs / "etl"


class TestPackage:
    @pytest.mark.parametrize("option", ["--no-bundle", "--bundle"])
    def test_its_modules_and_its_own_commands_run_unbuilt(self, jobs: Cli, etl: Path, option: str) -> None:
        """From the folder and uploaded; a shell and a child of a run find them, too, and a file of it imports them."""
        assert jobs("run", option, "-m", "etl.main", "again", cwd=etl, code=0).stdout == "1.5 again\n1.5 child\n"
        assert jobs("run", option, "jobs/load.py", "a", cwd=etl, code=0).stdout == "1.5 a\n"
        assert jobs("run", option, "--", "etl", "fail", cwd=etl, code=3).stdout == "1.5 fail\n"
        told = jobs("run", option, "--", "sh", "-c", "etl a && etl write", cwd=etl, code=1)
        assert told.stdout == "1.5 a\n1.5 write\n" and "Permission denied" in told.stderr

    def test_what_it_adds_to_the_environment_is_explained(self, jobs: Cli, etl: Path) -> None:
        """The names are those that the run has."""
        told = json.loads(jobs("secret", "explain", "--json", "-m", "etl.main", cwd=etl, code=0).stdout)
        given = jobs("run", "--", "env", cwd=etl, code=0).stdout
        assert {one["name"] for one in told["names"]} == set(re.findall(r"(?m)^(\w+)=", given))

    def test_a_module_that_is_not_there_is_told_where_it_was_looked_for(self, jobs: Cli, etl: Path) -> None:
        """The folders of the project are named."""
        told = jobs("run", "-m", "etl.mian", cwd=etl, code=1)
        assert "no module etl.mian in the source root or in its folder src or in this run's Python" in told.stderr


class TestOutputs:
    def test_files_that_are_left_are_fetched_and_a_leaky_one_is_withheld(self, jobs: Cli, tmp_path: Path) -> None:
        """--output writes them; a file that holds a secret and is no text is named instead."""
        script = 'cd "$SEALRUN_OUTPUT_DIR"; mkdir d; echo fine > d/a.txt; printf "%s\\0" "$API_KEY" > b.txt'

        said = jobs("run", "--output", str(tmp_path / "out"), "--", "sh", "-c", script, code=0).stderr

        assert (tmp_path / "out/d/a.txt").read_text() == "fine\n"
        assert not (tmp_path / "out/b.txt").exists()
        assert "withheld b.txt: " in said
        assert f"wrote d/a.txt to {tmp_path}/out" in said
        listed = jobs("runs", "download", "@last", "--output", str(tmp_path / "again"), code=0)
        assert listed.stdout == f"{tmp_path}/again/d/a.txt\n"
        assert (tmp_path / "again/d/a.txt").read_text() == "fine\n"
        told = jobs.json("runs", "download", "@last", "--yes", "--json", "--output", str(tmp_path / "again"))
        assert told["written"] == [f"{tmp_path}/again/d/a.txt"]
        assert [file["path"] for file in told["withheld"]] == ["b.txt"]

    def test_a_text_with_a_secret_comes_masked_and_that_is_said(self, jobs: Cli, tmp_path: Path) -> None:
        """Wherever it is given or listed: which secret, in which form, where in the file; never how long it is."""
        script = 'cd "$SEALRUN_OUTPUT_DIR"; echo "key,$API_KEY" > b.csv; echo "$API_KEY" | base64 > "$API_KEY.txt"'
        line = "masked b.csv: API_KEY, as it is, at byte 4\n"
        name = "masked ***.txt: API_KEY, as it is, in its name; API_KEY, base64, at byte 0\n"

        said = jobs("run", "--output", str(tmp_path), "--", "sh", "-c", script, code=0).stderr

        assert line in said and name in said
        assert (tmp_path / "b.csv").read_text() == "key,***\n"
        shown = jobs.ok("runs", "show", "@last")
        assert "b.csv  8 bytes  masked: API_KEY, as it is, at byte 4\n" in shown
        assert "API_KEY in output file, base64, 1 time" in shown and "API_KEY in file name, as it is, 1 time" in shown
        listed = jobs("runs", "download", "@last", "--output", str(tmp_path), code=0)
        assert line in listed.stderr and listed.stdout == f"{tmp_path}/***.txt\n{tmp_path}/b.csv\n"
        told = jobs.json("runs", "download", "@last", "--json", "--output", str(tmp_path))
        hit = {"secret": "API_KEY", "form": "as it is", "count": 1, "part": "content", "offset": 4}
        assert told["masked"][1] == {"path": "b.csv", "masked": [hit], "masked_more": 0}
        assert [file["masked"] for file in jobs.json("runs", "show", "@last", "--json")["outputs"]][1] == [hit]

    def test_what_was_masked_is_shown_and_a_new_value_advised(self, jobs: Cli) -> None:
        """A near-leak is told with the run and with the secret, until the secret has a new value."""
        jobs.ok("secret", "set", "LEAKY", stdin="leaky-value-number-1")
        jobs.ok("run", "--secret", "LEAKY", "--", "sh", "-c", 'echo "$LEAKY $LEAKY"; echo "$LEAKY" | base64 >&2')

        shown = jobs.ok("runs", "show", "@last")
        assert "masked     LEAKY in stderr, base64, 1 time\n" in shown
        assert "           LEAKY in stdout, as it is, 2 times\n" in shown
        run = jobs.json("runs", "show", "@last", "--json")
        assert run["masked"][1] == {
            "secret": "LEAKY", "stream": "stdout", "form": "as it is", "count": 2, "version": 1
        }  # fmt: skip
        listed = jobs("secret", "list", code=0)
        (row,) = [line for line in listed.stdout.splitlines() if line.startswith("LEAKY")]
        assert f"run {run['id'][:8]}, {run['finished_at'][:10]}" in row
        assert f"rotate LEAKY of shop/default: run {run['id'][:8]} gave it out in a form that" in listed.stderr
        assert "(base64 in stderr)" in listed.stderr
        (told,) = [secret for secret in jobs.json("secret", "list", "--json") if secret["name"] == "LEAKY"]
        assert told["seen"]["run"] == told["rotate"]["run"] == run["id"] and len(told["seen"]["masked"]) == 2

        jobs.ok("secret", "set", "LEAKY", stdin="leaky-value-number-2")
        listed = jobs("secret", "list", code=0)
        assert "rotate LEAKY" not in listed.stderr and f"run {run['id'][:8]}" in listed.stdout
        jobs.ok("secret", "delete", "LEAKY", "--yes")

    def test_a_folder_that_cannot_be_written_is_told_before_the_run(self, jobs: Cli) -> None:
        """Nothing is submitted."""
        before = len(jobs.json("runs", "list", "--json"))
        assert "nothing can be written to /proc/x" in jobs("run", "--output", "/proc/x", "--", "true", code=125).stderr
        assert len(jobs.json("runs", "list", "--json")) == before

    def test_a_run_that_left_nothing_says_so(self, jobs: Cli) -> None:
        """`download` has nothing to do."""
        jobs.ok("run", "--", "true")
        assert "left no files" in jobs("runs", "download", "@last", code=1).stderr


def held(until: str) -> tuple[str, ...]:
    """A command that says that it has begun, and goes on when it is let: `let_go`."""
    return "--", "sh", "-c", f"echo begun; until [ -e $TMPDIR/{until} ]; do sleep 0.05; done; echo done"


def let_go(jobs: Cli, until: str) -> None:
    """A file of this name in the place of every run: what is put into its source while it goes on it need not see."""
    for place in (jobs.folder / "runs").glob("*-*/tmp"):
        (place / until).touch()


class TestDetached:
    def test_it_answers_with_the_id_and_the_run_goes_on(self, jobs: Cli) -> None:
        """stdout is the id alone; logs -f brings one back."""
        jobs.job("later.py", "import time; print('begun', flush=True); time.sleep(0.5); print('done')")

        ended = jobs("run", "--detach", "later.py", code=0)

        run_id = ended.stdout.strip()
        assert len(run_id) == 32
        assert f"follow it: sealrun runs logs -f {run_id[:8]}" in ended.stderr
        assert jobs.ok("runs", "logs", "-f", run_id[:8]) == "begun\ndone\n"
        assert jobs.json("runs", "show", run_id, "--json")["state"] == "succeeded"
        assert jobs.ok("runs", "logs", run_id) == "begun\ndone\n"

    def test_its_worker_knows_that_nobody_follows_it(self, jobs: Cli) -> None:
        """Its output may wait for its end; that of a run which a terminal shows is there at once."""
        jobs.job("quick.py", "print('done')")
        jobs("run", "quick.py", code=0)
        jobs("run", "--detach", "quick.py", code=0)
        with closing(sqlite3.connect(f"file:{jobs.home / 'sealrun.db'}?mode=ro", uri=True)) as db:
            found = db.execute("SELECT followed FROM executor_run ORDER BY created_at").fetchall()
        assert found[-2:] == [(1,), (0,)]

    def test_ctrl_c_detaches_and_says_how_to_come_back(self, jobs: Cli) -> None:
        """The run goes on; the shell is told of the interrupt."""
        screen = jobs.terminal("run", *held("left"))
        screen.until("begun")
        screen.type("\x03")

        assert screen.ended() == -signal.SIGINT
        let_go(jobs, "left")
        (word,) = [line for line in screen.shown.splitlines() if "detached; the run goes on" in line]
        run_id = word.partition("sealrun runs logs -f ")[2].split()[0]
        assert jobs.ok("runs", "logs", "-f", run_id) == "begun\ndone\n"

    def test_a_second_ctrl_c_cancels(self, jobs: Cli) -> None:
        """And waits until the run has ended."""
        screen = jobs.terminal("run", "--", "sh", "-c", "echo begun; sleep 60")
        screen.until("begun")
        screen.type("\x03")
        screen.until("detached")
        screen.type("\x03")

        assert screen.ended() == 130
        assert jobs.json("runs", "show", "@last", "--json")["state"] == "cancelled"

    def test_a_closed_terminal_kills_neither_run_nor_worker(self, jobs: Cli) -> None:
        """The worker is in a session of its own."""
        screen = jobs.terminal("run", *held("closed"))
        screen.until("begun")
        workers = jobs.workers()

        assert screen.hang_up() == -signal.SIGHUP
        let_go(jobs, "closed")

        assert jobs.ok("runs", "logs", "-f", "@last") == "begun\ndone\n"
        assert jobs.workers() == workers != []


@pytest.fixture(scope="module")
def run_id(jobs: Cli) -> str:
    """A run that wrote to both streams, a line in two pieces, and half a character."""
    jobs("run", "--", "sh", "-c", "printf 'a\\nb'; echo e >&2; sleep 0.2; echo c; printf '\\303'", code=0)
    return str(jobs.json("runs", "show", "@last", "--json")["id"])


class TestLogs:
    def test_pieces_are_objects(self, jobs: Cli, run_id: str) -> None:
        """One a line, with the place to go on from; text is UTF-8."""
        told = [json.loads(line) for line in jobs.ok("runs", "logs", "--json", run_id).splitlines()]
        assert all(one.keys() == {"attempt", "sequence", "stream", "at", "text"} for one in told)
        assert "".join(one["text"] for one in told if one["stream"] == "stdout") == "a\nbc\n"
        assert "".join(one["text"] for one in told if one["stream"] == "stderr") == "e\n"
        assert [one["sequence"] for one in told] == list(range(1, len(told) + 1))
        place = f"{told[0]['attempt']}:{told[0]['sequence']}"
        rest = jobs.ok("runs", "logs", "-f", "--json", "--after", place, run_id).splitlines()
        assert [json.loads(line) for line in rest] == told[1:]

    def test_a_stream_alone_and_lines_with_their_moment(self, jobs: Cli, run_id: str) -> None:
        """A line that comes in two pieces has one moment, that of its beginning."""
        assert jobs("runs", "logs", "--stream", "stderr", run_id, code=0).stdout == ""
        assert jobs("runs", "logs", "--stream", "stderr", run_id, code=0).stderr == "e\n"
        stamped = jobs.raw("runs", "logs", "--timestamps", "--stream", "stdout", run_id).stdout
        assert re.fullmatch(rb"(20[^ ]+Z) a\n20[^ ]+Z bc\n20[^ ]+Z \xc3", stamped), stamped

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("--after", "x"), '"x" is no place in a run\'s output'),
            (("--stream", "stdin"), "stdin is none of stdout, stderr, setup"),
            (("--json", "--timestamps"), "--json has the moments"),
        ],
    )
    def test_what_cannot_be_asked(self, jobs: Cli, words: tuple[str, ...], sentence: str) -> None:
        """Is a sentence."""
        assert sentence in jobs("runs", "logs", *words, "@last", code=2).stderr

    def test_who_leaves_is_told_where_to_come_back(self, jobs: Cli) -> None:
        """The rest is there, and nothing comes twice."""
        jobs.ok("run", "--detach", *held("read"))
        screen = jobs.terminal("runs", "logs", "-f", "@last")
        screen.until("begun")
        screen.type("\x03")
        assert screen.ended() == 130
        let_go(jobs, "read")
        words = screen.shown.partition("come back: sealrun ")[2].split()
        assert words[:3] == ["runs", "logs", "-f"] and words[4:] == ["--after", "1:1"]
        assert jobs.ok(*words) == "done\n"


class TestTriedAgain:
    def test_a_failed_run_by_itself(self, jobs: Cli) -> None:
        """Until it succeeds; each attempt is shown with what it left. A worker that waits rings when it is time."""
        jobs.job(
            "second.py",
            "import os, sys\nprint('in', os.environ['HOME'])\n"
            "open(os.environ['SEALRUN_OUTPUT_DIR'] + '/left.txt', 'w').write(os.environ['HOME'][-7:])\n"
            "if '-1/home' in os.environ['HOME']: sys.exit(3)\n",
        )
        run = jobs.ok("run", "--detach", "--retries", "2", "--retry-on", "exit_code", "second.py").strip()
        db = open_database(read_settings(getattr(jobs, "behind", jobs).environ))
        first = eventually(lambda: history.show(db, run).retried and history.show(db, run), PATIENCE, "it has failed")
        if first.delayed:
            assert re.fullmatch(r"retry 1 of 2 in \d s", first.delayed)
            Bench().due(db, run)
        db.close()

        assert jobs.ok("runs", "logs", "-f", run).count("in ") == 2

        shown = jobs.ok("runs", "show", run)
        assert "1 failed (exit_code): second.py ended with exit code 3\n" in shown and "2 succeeded\n" in shown
        assert "-1/home" in jobs.ok("runs", "logs", "--attempt", "1", run)
        assert "-2/home" in jobs.ok("runs", "logs", "--attempt", "2", run)
        attempt = jobs.json("runs", "show", "--attempt", "1", run, "--json")
        assert (attempt["attempt"], attempt["retried"], attempt["attempts"][0]["exit_code"]) == (1, 1, 3)
        assert "no attempt 3" in jobs("runs", "logs", "--attempt", "3", run, code=2).stderr
        jobs.ok("runs", "download", run)
        jobs.ok("runs", "download", "--attempt", "1", run)
        folders = (jobs.jobs / f"run-{run[:8]}", jobs.jobs / f"run-{run[:8]}-1")
        assert [(folder / "left.txt").read_text() for folder in folders] == ["-2/home", "-1/home"]
        assert "no attempt 3" in jobs("runs", "download", "--attempt", "3", run, code=2).stderr
        assert "exclude each other" in jobs("runs", "logs", "-f", "--attempt", "1", run, code=2).stderr

    def test_one_that_is_over_by_its_user(self, jobs: Cli) -> None:
        """A new run with the same target, variables and options; the old one stays as it is."""
        old = jobs.ok("run", "--detach", "--env", "N=5", "--no-secrets", "--", "sh", "-c", "exit $N").strip()
        followed = jobs("runs", "logs", "-f", old, code=5)  # as the run did
        assert f"run {old[:8]} failed: sh ended with exit code 5" in followed.stderr
        before = jobs.json("runs", "show", old, "--json")

        again = jobs("runs", "retry", old, "--json", code=5)

        new = json.loads(again.stdout)
        assert (new["retry_of"], new["exit_code"], new["receipt"]["status"]) == (old, 5, "none")
        assert f"run {new['id'][:8]}" in again.stderr
        assert re.search(rf"^retry of +{old}$", jobs.ok("runs", "show", new["id"]), re.MULTILINE)
        assert jobs.json("runs", "show", old, "--json") == before
        waiting = jobs.ok("run", "--detach", "--", "sleep", "60").strip()
        assert "has not ended yet: it is" in jobs("runs", "retry", waiting, code=1).stderr
        assert json.loads(jobs("runs", "retry", waiting, "--json", code=1).stdout)["error"]["code"] == "in_use"
        assert jobs.json("runs", "cancel", waiting, "--yes", "--json")["run"] == waiting

    def test_deleting_its_project_ends_it(self, jobs: Cli) -> None:
        """Its worker ends it; what it left is given to nobody, and none is submitted, until the project is back."""
        jobs.ok("project", "create", "brief")
        run = jobs.ok("run", "-p", "brief", "--detach", "--", "sh", "-c", "echo begun; sleep 60").strip()
        eventually(lambda: jobs.ok("runs", "logs", run), PATIENCE, "it has begun")
        jobs.ok("project", "delete", "brief", "--yes")
        assert 'project "brief" was deleted' in jobs("runs", "logs", "-f", run, code=2).stderr
        assert 'project "brief" was deleted' in jobs("run", "-p", "brief", "--", "true", code=2).stderr
        assert 'project "brief" was deleted' in jobs("runs", "retry", run, code=2).stderr
        jobs.ok("project", "restore", "brief")
        assert "cancelled" in jobs("runs", "logs", "-f", run, code=130).stderr
        assert jobs.json("runs", "list", "-p", "brief", "--json")[0]["state"] == "cancelled"

    def test_not_where_its_environment_is_gone(self, jobs: Cli) -> None:
        """Whatever has the name now has other keys and secrets."""
        jobs.ok("project", "create", "shop", "-e", "short-lived")
        run = jobs.ok("run", "-e", "short-lived", "--detach", "--", "true").strip()
        jobs.ok("runs", "logs", "-f", run)
        for _ in range(2):
            jobs.ok("project", "delete", "shop", "-e", "short-lived", "--yes")
            refused = jobs("runs", "retry", run, code=125).stderr
            assert "belongs to shop/short-lived, which has been deleted" in refused
            jobs.ok("project", "create", "shop", "-e", "short-lived")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (
                ("--retries", "1", "--retry-on", "lots"),
                'a run cannot be tried again for "lots"\nhint: the reasons are: ',
            ),
            (("--retry-on", "lost"), "there are reasons for retries, and the number of retries is 0"),
            (("--retries", "10"), "'--retries': it must be at most 9"),
            (("--queue-timeout", "0"), "a number of seconds above 0"),
            (("--idempotency-key", ""), "an idempotency key must have 1 to 200 printable characters"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, jobs: Cli, words: tuple[str, ...], sentence: str) -> None:
        """Before there is a run."""
        assert sentence in jobs("run", *words, "--", "true", code=2).stderr

    def test_the_same_key_is_the_same_run(self, jobs: Cli) -> None:
        """Its output and its end, too; for another target the key is taken."""
        first = jobs.ok(
            "run", "--detach", "--idempotency-key", "nightly", "--", "sh", "-c", "echo once; exit 4"
        ).strip()

        second = jobs("run", "--idempotency-key", "nightly", "--", "sh", "-c", "echo once; exit 4", code=4)

        assert second.stdout == "once\n"
        assert f"that is run {first[:8]}, submitted before" in second.stderr
        assert jobs.json("runs", "list", "-L", "1", "--json")[0]["id"] == first
        taken = jobs("run", "--idempotency-key", "nightly", "--", "true", code=2).stderr
        assert f"belongs to run {first[:8]}, which has another target: -- sh -c echo once; exit 4" in taken


class TestRuns:
    def test_they_are_listed_latest_first(self, jobs: Cli) -> None:
        """With -L and --state; results and receipts are for `show`."""
        jobs.ok("run", "words.py", "first")
        jobs("run", "--", "false", code=1)

        listed = jobs.json("runs", "list", "-L", "2", "--json")

        assert [one["target"] for one in listed] == ["-- false", "words.py first"]
        assert "receipt" not in listed[0]
        (failed,) = jobs.json("runs", "list", "-L", "1", "--state", "failed", "--json")
        assert failed["id"] == listed[0]["id"]
        assert jobs.ok("runs", "list", "-L", "1").split("\t")[:3] == [failed["id"][:8], "failed", "shop"]
        assert "--state" in jobs("runs", "list", "--state", "lost", code=2).stderr

    def test_one_is_shown_with_its_receipt(self, jobs: Cli) -> None:
        """For a person."""
        jobs.ok("run", "--secret", "API_KEY", "words.py")

        shown = jobs.ok("runs", "show", "@last")

        assert re.search(r"^state +succeeded$", shown, re.MULTILINE)
        assert "  secrets  API_KEY version 1\n" in shown
        assert "  rung     " in shown

    def test_a_reference_that_fits_none_or_several(self, jobs: Cli) -> None:
        """Says so, and ends with 2."""
        assert 'no run "ffffffffffffffff"' in jobs("runs", "show", "ffffffffffffffff", code=2).stderr
        assert 'no run "../x"' in jobs("runs", "show", "../x", code=2).stderr
        first = {one["id"][0] for one in jobs.json("runs", "list", "-L", "100", "--json")}
        ids = [one["id"] for one in jobs.json("runs", "list", "-L", "100", "--json")]
        often = max(first, key=lambda letter: sum(one.startswith(letter) for one in ids))
        assert "hint: give more of it" in jobs("runs", "show", often, code=2).stderr

    def test_a_running_one_is_cancelled_and_a_finished_one_is_not(self, jobs: Cli) -> None:
        """Its worker ends it; an outcome stands."""
        run_id = jobs.ok("run", "--detach", "--", "sleep", "60").strip()
        eventually(lambda: jobs.json("runs", "show", run_id, "--json")["state"] == "running", PATIENCE, "it runs")

        assert "asked the worker of run" in jobs("runs", "cancel", run_id, code=0).stderr

        eventually(lambda: jobs.json("runs", "show", run_id, "--json")["state"] == "cancelled", PATIENCE, "it ends")
        assert "has already ended: cancelled" in jobs("runs", "cancel", run_id, code=1).stderr

    def test_a_waiting_one_is_cancelled_at_once(self, jobs: Cli) -> None:
        """No worker has to be there for it."""
        only_beside_the_database(jobs)  # it makes one
        configured = {"SEALRUN_DATABASE_URL": f"sqlite:///{jobs.folder}/waiting/x.db"}
        jobs.ok("migrate", environ=configured)
        jobs.ok("project", "create", "shop", environ=configured)
        run_id = jobs.ok("run", "--detach", "--", "true", environ=configured).strip()
        listed = jobs.ok("runs", "list", environ=configured).rstrip("\n").split("\t")
        assert (listed[1], listed[-1]) == ("pending", "waiting: no worker is running")
        assert re.search("^waiting +no worker is running$", jobs.ok("runs", "show", run_id, environ=configured), re.M)
        assert "is cancelled" in jobs("runs", "cancel", run_id, environ=configured, code=0).stderr

    def test_a_project_with_a_running_one_is_not_destroyed(self, jobs: Cli) -> None:
        """It says how many, and where to see them."""
        run_id = jobs.ok("run", "--detach", "--", "sleep", "60").strip()
        refused = jobs("project", "delete", "shop", "--now", "--yes", "--confirm", "shop", code=1)
        assert 'project "shop" has unfinished runs: 1\nhint: cancel them or wait' in refused.stderr
        jobs.ok("runs", "cancel", run_id)


def test_a_terminals_escape_codes_in_a_target_are_shown_and_not_obeyed(jobs: Cli) -> None:
    """Whoever chose a run's arguments does not control the terminal of who lists it."""
    jobs.ok("run", "--", "true", "\x1b[2Jboo")
    assert "\x1b" not in jobs.ok("runs", "list", "-L", "1")
    assert "\\x1b[2Jboo" in jobs.ok("runs", "show", "@last")
    assert os.linesep in jobs.ok("runs", "show", "@last", "--json")
