"""The straight line from a sealed secret to a finished run, through a real worker, over every broker and database."""

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from executor import runs
from executor.errors import RunOver
from executor.records import files
from secretstore import vault
from tests.processes import eventually
from tests.rig import ACTOR, PATIENCE, Rig, command, file, function, module, rig

KEY = b"hunter2-prod-key-5417"
DSN = b"postgresql://shop:s3cr%24t-pass-99@db.internal/shop"
WAITING = """
import os, pathlib, time
print("ready", flush=True)
go = pathlib.Path(os.environ["TMPDIR"], "go")
until = time.monotonic() + 60
while not go.exists() and time.monotonic() < until:
    time.sleep(0.01)
print("went on")
"""


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("redis+sqlite", marks=pytest.mark.long), "redis+postgres", "amqp+sqlite"],
)
def line(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker and a project over one pair of broker and database."""
    broker, _, database = request.param.partition("+")
    urls = {}
    if broker != "embedded":
        urls["broker"] = request.getfixturevalue({"redis": "redis_database", "amqp": "amqp_server"}[broker])
    if database == "postgres":
        urls["database"] = request.getfixturevalue("postgres_database")
    with rig(**urls) as made:
        made.project("shop", {"API_KEY": KEY, "db.url": DSN}, {"REGION": "eu-north-1"})
        made.project("plain")
        made.start_worker()
        yield made


class TestTargets:
    def test_file(self, line: Rig) -> None:
        """A file runs as `python path.py ARGS`, beside the modules of its folder, and its arguments stay verbatim."""
        line.job("word = 'imported'\n", "pieces/neighbour.py")
        path = line.job(
            "import sys, neighbour\nprint(__name__, sys.argv, neighbour.word)\nprint('aside', file=sys.stderr)\n",
            "pieces/main.py",
        )
        ended = line.run(file(path, "--since", "2026-01-01", "a b", ""))
        assert ended.how == ("succeeded", None, 0)
        assert ended.stdout == "__main__ ['pieces/main.py', '--since', '2026-01-01', 'a b', ''] imported\n"
        assert ended.stderr == "aside\n"

    def test_module(self, line: Rig) -> None:
        """A module runs as `python -m`, from the source root."""
        line.job("", "parts/__init__.py")
        line.job("import sys, os\nprint(__name__, sys.argv[1:], os.getcwd())\n", "parts/tool.py")
        ended = line.run(module("parts.tool", "x"))
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), f"__main__ ['x'] {line.jobs}\n")

    def test_function(self, line: Rig) -> None:
        """A function gets its arguments as it annotates them, and what it returns is the run's result."""
        path = line.job(
            "import datetime\n"
            "def report(count: int, since: datetime.date, deep: bool = False, *, name='x', tags=()):\n"
            "    print('called')\n"
            "    return {'count': count + 1, 'year': since.year, 'deep': deep, 'name': name, 'tags': tags}\n",
            "report.py",
        )
        text = {"count": "41", "since": "2026-02-03", "deep": "yes", "name": "7"}
        ended = line.run(function(path, "report", text, {"tags": ["a", 1]}))
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "called\n")
        assert ended.view.result == {"count": 42, "year": 2026, "deep": True, "name": "7", "tags": ["a", 1]}

    def test_command(self, line: Rig) -> None:
        """A command runs as it is typed, with the secrets in its environment."""
        ended = line.run(command("sh", "-c", 'printf "%s|%s|%s" "$0" "$1" "${API_KEY:+there}"', "zero", "one two"))
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "zero|one two|there")

    def test_command_that_is_not_there(self, line: Rig) -> None:
        """A program that does not exist never starts, and the message says which."""
        ended = line.run(command("no-such-program-here"))
        assert ended.how == ("failed", "setup_failed", None)
        assert "no-such-program-here" in str(ended.view.message)


class TestEnds:
    def test_exit_code(self, line: Rig) -> None:
        """The run's exit code is kept as it is."""
        ended = line.python_run("raise SystemExit(37)")
        assert (ended.how, ended.view.problem) == (("failed", "exit_code", 37), None)

    def test_signal(self, line: Rig) -> None:
        """A run that dies by a signal says which."""
        ended = line.run(command("sh", "-c", "kill -USR1 $$"))
        assert (ended.how, ended.view.signal) == (("failed", "signal", None), 10)

    def test_exception(self, line: Rig) -> None:
        """I5: an exception becomes a problem with a traceback of the user's frames alone, every secret in it masked."""
        path = line.job(
            "import os\n\ndef broken():\n    raise ValueError('bad ' + os.environ['API_KEY'])\n", "broken.py"
        )
        ended = line.run(function(path, "broken"))
        assert ended.how == ("failed", "exception", 1)
        problem = ended.view.problem
        assert problem is not None
        assert (problem.type, problem.message) == ("ValueError", "bad ***")
        assert "broken.py" in problem.traceback and "line 4" in problem.traceback
        assert "<sealrun>" not in problem.traceback and "executor/" not in problem.traceback
        assert problem.traceback in ended.stderr

    def test_missing_module(self, line: Rig) -> None:
        """A module that is not installed adds the line that says which interpreter it was, and how to choose."""
        ended = line.python_run("import no_such_module_here")
        assert f"this run's Python, {line.python}; install its package with --with NAME" in ended.stderr

    def test_result_is_masked(self, line: Rig) -> None:
        """I5: strings and keys of a result are masked, whatever is derived from a secret included."""
        path = line.job(
            "import base64, os\n"
            "def leak():\n"
            "    key = os.environ['API_KEY']\n"
            "    coded = base64.b64encode(key.encode()).decode()\n"
            "    return {'a': [key, coded], key: 1, 'p': 's3cr$t-pass-99', 'ok': 5}\n",
            "leak.py",
        )
        assert line.run(function(path, "leak")).view.result == {"a": ["***", "***"], "***": 1, "p": "***", "ok": 5}

    def test_time_out(self, line: Rig) -> None:
        """A run is ended after its time, by TERM first, and says so."""
        path = line.job("import time\nprint('begun', flush=True)\ntime.sleep(60)")
        ended, seconds = line.out_of_time(file(path), lambda printed: bool(printed))
        assert ended.how[:2] == ("failed", "timed_out")
        assert (ended.view.signal, ended.stdout) == (15, "begun\n")
        assert f"after {seconds:g} seconds" in str(ended.view.message)

    def test_cancel_pending(self, line: Rig) -> None:
        """A run that nobody has taken is cancelled at once, and its message changes nothing any more."""
        run_id = line.submit(command("true"), host="another-machine")
        assert runs.cancel(line.db, run_id, "somebody") is True
        line.execute("UPDATE executor_run SET host = :host WHERE id = :id", host=line.settings.host, id=run_id)
        line.ring(run_id)
        assert line.run(command("true")).how[0] == "succeeded"
        view = line.view(run_id)
        assert (view.state, view.reason, view.attempt) == ("cancelled", "cancelled", 0)
        with pytest.raises(RunOver):
            runs.cancel(line.db, run_id, "somebody")

    def test_cancel_running(self, line: Rig) -> None:
        """A run that executes is ended when it is cancelled, and what it printed is kept."""
        run_id = line.submit(file(line.job(WAITING)))
        line.says(run_id, "ready")
        assert runs.cancel(line.db, run_id, "somebody") is False
        ended = line.ended(run_id)
        assert ended.how[:2] == ("cancelled", "cancelled")
        assert ended.stdout == "ready\n"
        assert ended.view.receipt is not None and ended.view.receipt.status == "closed"


class TestGiven:
    def test_secrets_variables_and_aliases(self, line: Rig) -> None:
        """A run finds every secret under its exact name, one more where a shell needs it, and the variables."""
        code = "import os, hashlib\nfor n in ('API_KEY', 'db.url', 'DB_URL', 'REGION', 'MORE'):\n"
        code += "    print(n, hashlib.sha256(os.environ[n].encode()).hexdigest())\n"
        ended = line.python_run(code, variables={"MORE": "extra", "REGION": "override"})
        wanted = {"API_KEY": KEY, "db.url": DSN, "DB_URL": DSN, "REGION": b"override", "MORE": b"extra"}
        assert dict(map(str.split, ended.stdout.splitlines())) == {  # type: ignore[arg-type]  # pairs
            name: sha256(value).hexdigest() for name, value in wanted.items()
        }
        receipt = ended.view.receipt
        assert receipt is not None
        assert [(entry.name, entry.version, entry.alias) for entry in receipt.secrets] == [
            ("API_KEY", 1, None),
            ("db.url", 1, "DB_URL"),
        ]

    def test_named_secrets(self, line: Rig) -> None:
        """Only the secrets a run names reach it, and its receipt says the same."""
        ended = line.python_run("import os\nprint(sorted(os.environ))", secret_names=["API_KEY"])
        assert "API_KEY" in ended.stdout and "db.url" not in ended.stdout
        receipt = ended.view.receipt
        assert receipt is not None and [entry.name for entry in receipt.secrets] == ["API_KEY"]
        assert receipt.opened_at is not None and receipt.dropped_at is not None
        assert receipt.opened_at <= receipt.dropped_at

    def test_unknown_named_secret(self, line: Rig) -> None:
        """A secret that is not there stops the run before it starts, by name."""
        ended = line.python_run("print('ran')", secret_names=["API_KEY", "NOT_THERE"])
        assert (ended.how, ended.stdout) == (("failed", "secrets_unavailable", None), "")
        assert "NOT_THERE" in str(ended.view.message)

    @pytest.mark.parametrize(("project", "names"), [("shop", []), ("plain", None)])
    def test_no_secrets(self, line: Rig, project: str, names: list[str] | None) -> None:
        """I4: a run without secrets opens none: its receipt is none, and it does not need the key file."""
        hidden = line.key_file.with_name("elsewhere")
        line.key_file.rename(hidden)
        try:
            ended = line.python_run("import os\nprint('API_KEY' in os.environ)", project=project, secret_names=names)
        finally:
            hidden.rename(line.key_file)
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "False\n")
        receipt = ended.view.receipt
        assert receipt is not None
        assert (receipt.status, receipt.secrets, receipt.opened_at) == ("none", (), None)

    def test_latest_version(self, line: Rig) -> None:
        """A run is given the version that is current at its gate, and the receipt names it."""
        for value in (b"rotating-value-one", b"rotating-value-two"):
            vault.put(line.db, "plain", "default", "ROTATING", value, actor=ACTOR, pins=line.pins)
            ended = line.python_run("import os\nprint(os.environ['ROTATING'][-3:])", project="plain")
            assert ended.stdout == value.decode()[-3:] + "\n"
        receipt = ended.view.receipt
        assert receipt is not None and [(entry.name, entry.version) for entry in receipt.secrets] == [("ROTATING", 2)]
        vault.delete_secret(line.db, "plain", "default", "ROTATING", actor=ACTOR)

    def test_name_is_secret_and_variable(self, line: Rig) -> None:
        """A variable of the submission that takes a secret's name is an error that names it, and nothing runs."""
        ended = line.python_run("print('ran')", variables={"API_KEY": "plain"})
        assert (ended.how, ended.stdout) == (("failed", "setup_failed", None), "")
        assert "API_KEY" in str(ended.view.message)


class TestOutputs:
    def test_files_survive(self, line: Rig, tmp_path: Path) -> None:
        """Files left in SEALRUN_OUTPUT_DIR can be downloaded, byte for byte; the workspace itself is gone."""
        code = "import os, pathlib\nroot = pathlib.Path(os.environ['SEALRUN_OUTPUT_DIR'])\n"
        code += "(root / 'deep').mkdir()\n(root / 'deep/data.bin').write_bytes(bytes(range(256)) * 4096)\n"
        code += "(root / 'empty').touch()\n"
        ended = line.python_run(code)
        assert [(one.path, one.size, one.withheld) for one in ended.view.outputs] == [
            ("deep/data.bin", 1 << 20, None),
            ("empty", 0, None),
        ]
        files.download(line.db, ended.view.id, 1, tmp_path)
        assert (tmp_path / "deep/data.bin").read_bytes() == bytes(range(256)) * 4096
        assert (tmp_path / "empty").read_bytes() == b""
        eventually(lambda: not line.place(ended.view.id).exists(), PATIENCE, "the workspace is removed")

    def test_masked_and_withheld(self, line: Rig, tmp_path: Path) -> None:
        """I5: a text with a secret in it comes masked, and says so; what is no text stays behind and is named."""
        code = "import os, pathlib, base64\nroot = pathlib.Path(os.environ['SEALRUN_OUTPUT_DIR'])\n"
        code += "key = os.environ['API_KEY'].encode()\n(root / 'raw').write_bytes(b'x' * 262140 + key)\n"
        code += "(root / 'b64').write_bytes(base64.b64encode(b'k=' + key))\n(root / 'fine').write_bytes(b'fine')\n"
        code += "(root / 'zip').write_bytes(b'PK\\0' + key)\n"
        ended = line.python_run(code)
        found = {one.path: one for one in ended.view.outputs}
        assert {path: one.withheld for path, one in found.items() if one.withheld} == {"zip": "it contains a secret"}
        assert (found["raw"].size, found["raw"].masked_text) == (262143, "API_KEY, as it is, at byte 262,140")
        assert found["b64"].masked_text == "API_KEY, base64, at byte 3" and found["fine"].masked == ()
        files.download(line.db, ended.view.id, 1, tmp_path)
        assert (tmp_path / "raw").read_bytes() == b"x" * 262140 + b"***"
        assert (tmp_path / "b64").read_bytes() == b"az1***c=" and (tmp_path / "fine").read_bytes() == b"fine"
        assert list(map(str, ended.view.masked)) == [
            "API_KEY in output file, as it is, 2 times",
            "API_KEY in output file, base64, 1 time",
        ]


LEAKS = """
import base64, json, os, sys
key, url = os.environ["API_KEY"], os.environ["PGURL"]
def leak():
    print(key, key)
    print(base64.b64encode(key.encode()).decode(), file=sys.stderr)
    print("the password:", url.split(":")[2].split("@")[0])
    with open(os.environ["SEALRUN_METRICS"], "a") as metrics:
        print(json.dumps({"name": key, "value": int(os.environ["PIN"])}), file=metrics)
        print(json.dumps({"name": "rows", "value": 1, "labels": {"of": key}}), file=metrics)
    with open(os.path.join(os.environ["SEALRUN_OUTPUT_DIR"], key.encode().hex()), "w") as file:
        file.write(key)
    return {key: [key, 1]}
def fail():
    raise ValueError(key)
"""


class TestMasked:
    def test_what_was_masked_is_known_by_secret_stream_and_form(self, line: Rig) -> None:
        """I5, I10: every way out counts, each under its own name; nothing of a value is kept for it."""
        secrets = {"API_KEY": KEY, "PIN": b"4711471147114711", "SPARE": b"not printed by anybody"}
        url = b"postgresql+psycopg://app:the-password-of-app@db.internal/shop"
        line.project("leaky", {**secrets, "PGURL": url})
        settings = {"url": {"$secret": "PGURL"}}
        vault.create_connection(line.db, "leaky", "default", "source", "ledger", "postgres", settings, actor=ACTOR)
        path = line.job(LEAKS, "leaks.py")

        ended = line.run(function(path, "leak"), project="leaky")

        assert ended.how == ("succeeded", None, 0), ended.stderr
        assert set(map(str, ended.view.masked)) == {
            "API_KEY in stdout, as it is, 2 times",
            "API_KEY in stderr, base64, 1 time",
            "PGURL in stdout, a part of it, 1 time",
            "API_KEY in metric, as it is, 1 time",
            "PIN in metric, as it is, 1 time",
            "API_KEY in file name, hex, 1 time",
            "API_KEY in output file, as it is, 1 time",
            "API_KEY in result, as it is, 2 times",
        }
        assert {one.version for one in ended.view.masked} == {1}
        failed = line.run(function(path, "fail"), project="leaky", connections=False)
        # Message and traceback; and what Python itself prints of it.
        assert {(one.secret, one.stream) for one in failed.view.masked} == {
            ("API_KEY", "problem"),
            ("API_KEY", "stderr"),
        }
        quiet = line.run(command("true"), project="leaky", connections=False)
        assert quiet.view.masked == ()

    def test_what_is_made_of_a_secret_is_named_in_words(self, line: Rig) -> None:
        """A URL without its driver is in no secret; the password in it is the secret's own."""
        line.project("ledger", {"PGURL": b"postgresql+psycopg://app:the-password-of-app@db.internal/shop"})
        settings = {"url": {"$secret": "PGURL"}}
        vault.create_connection(line.db, "ledger", "default", "source", "ledger", "postgres", settings, actor=ACTOR)
        path = line.job("def show(data):\n    print(data.url)\n", "ledger.py")
        target = {**function(path, "show"), "sources": {"data": "ledger"}}
        ended = line.run(target, project="ledger")
        assert ended.stdout == "***\n", ended.stderr
        assert {(one.secret, one.form, one.version) for one in ended.view.masked} == {
            ("source ledger url without its driver", "as it is", 1),
            ("PGURL", "a part of it", 1),
        }


class TestMessages:
    def test_repeated_and_unknown_bells(self, line: Rig) -> None:
        """I6: five messages for one run, before and after its end, and ids of no run, make one attempt."""
        path = line.job(WAITING)
        run_id = line.submit(file(path))
        for _ in range(4):
            line.ring(run_id)
        line.ring("0" * 32)
        line.app.send_task("executor.execute", [{"not": "an id"}], queue=line.queue, ignore_result=True)
        line.says(run_id, "ready")
        line.let_go(run_id)
        first = line.ended(run_id)
        for _ in range(5):
            line.ring(run_id)
        assert line.run(command("true")).how[0] == "succeeded"
        assert line.ended(run_id) == first
        assert (first.stdout, len(line.attempts(run_id))) == ("ready\nwent on\n", 1)


def test_messages_carry_a_run_id_and_nothing_else(redis_database: str) -> None:
    """I1: what lies in the broker before any worker is there is a run's id, and nothing of its target or secrets."""
    import redis

    with rig(broker=redis_database) as made, redis.Redis.from_url(redis_database) as client:
        made.project("shop", {"API_KEY": KEY})
        target = function("job.py", "work", {"name": "argument-text"})
        run_id = made.submit(target, variables={"PLAIN": "variable-text"})
        (raw,) = client.lrange(made.queue, 0, -1)
        client.delete(made.queue)
        message = json.loads(raw)
        assert json.loads(base64.b64decode(message["body"]))[:2] == [[run_id], {}]
        whole = raw + base64.b64decode(message["body"])
        for word in (b"job.py", b"work", b"argument-text", b"PLAIN", b"variable-text", b"API_KEY", KEY, b"shop"):
            assert word not in whole, word
        headers = message["headers"]
        assert {*headers} == {"lang", "task", "id", "retries", "ignore_result"}, (
            "nothing of who rings, or of its machine"
        )
