"""The Python API, from a script, from threads, after a fork and in an event loop, against a real worker."""

import asyncio
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest

import executor
from executor import Client
from executor.client import Run
from executor.errors import (
    ArgumentsRefused,
    KeyTaken,
    NeverServed,
    RequestUnclear,
    RunCancelled,
    RunFailed,
    RunLost,
    RunNeverStarted,
    RunOutOfMemory,
    RunOver,
    RunTimedOut,
    RunUnsuccessful,
    TargetUnusable,
    UnknownRun,
    WaitTimedOut,
)
from executor.settings import read_settings
from executor.source.root import project_file
from executor.submission import allowing
from secretstore.errors import NameRefused, SealrunError, SettingsProblem, UnknownProject, UnknownSecret
from tests.processes import alive, eventually
from tests.rig import CHECKOUT, PATIENCE, Rig
from tests.rig import rig as made
from tests.serving import serving

JOBS = """
import os, sys, time
def add(n, m=1):
    print("adding", os.environ["API_KEY"])
    print("to stderr", file=sys.stderr)
    return {"sum": n + m, "key": os.environ["API_KEY"]}
def fail():
    raise ValueError("bad " + os.environ["API_KEY"])
def leave(name):
    with open(os.path.join(os.environ["SEALRUN_OUTPUT_DIR"], name), "w") as file:
        file.write("left")
def slow():
    print("begun", flush=True)
    time.sleep(60)
def steps():
    for number in range(3):
        print("step", number, flush=True)
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Nothing configured, a project, and a worker."""
    with made() as one:
        one.project("shop", {"API_KEY": b"hunter2-prod-key"})
        one.job(JOBS, "jobs.py")
        one.start_worker()
        yield one


class FromElsewhere(Client):
    """A client of a server: which Python a run with uploaded source has, its worker decides."""

    def run(self, *words: Any, **options: Any) -> Run:
        return super().run(*words, **_without_python(options))

    def run_many(self, items: Any, **common: Any) -> list[Run]:
        if isinstance(items, list):
            items = [_without_python(item) if isinstance(item, dict) else item for item in items]
        return super().run_many(items, **_without_python(common))


def only_beside_the_database(client: Client) -> None:
    """Skip what is otherwise for who has nothing but a server: it is said in the test why."""
    if isinstance(client, FromElsewhere):
        pytest.skip("of the direct door")


def _without_python(options: dict[str, Any]) -> dict[str, Any]:
    named = options.get("python")
    left_out = isinstance(named, str | Path) and os.path.isfile(named) if "\0" not in str(named) else False
    return {name: value for name, value in options.items() if name != "python" or not left_out}


@pytest.fixture(scope="module", params=["direct", pytest.param("server", marks=pytest.mark.long)])
def client(request: pytest.FixtureRequest, rig: Rig) -> Iterator[Client]:
    """For who has the database, and for who has a server's URL."""
    if request.param == "direct":
        with Client("shop", settings=settings_of(rig)) as one:
            yield one
        return
    with serving(rig.environ, rig.folder) as (url, token):
        settings = {"SEALRUN_HOME": str(rig.folder / "elsewhere"), "SEALRUN_SERVER": url, "SEALRUN_TOKEN": token}
        with FromElsewhere("shop", settings=settings) as one:
            yield one


def settings_of(rig: Rig) -> dict[str, str]:
    return {name: value for name, value in rig.environ.items() if name.startswith("SEALRUN_")}


@pytest.fixture
def submit(client: Client, rig: Rig) -> Any:
    """`client.run`, from the folder of jobs."""
    return lambda *words, **options: client.run(*words, **{"folder": rig.jobs, "python": rig.python} | options)


class TestSeveralRuns:
    def test_they_are_accepted_together_and_in_order(self, client: Client, rig: Rig) -> None:
        """What all have in common is said once; each has arguments and a key of its own; a repeated key is one run."""
        common = {"target": "jobs.py:add", "folder": rig.jobs, "python": rig.python}
        before = client.run(**common, args={"n": 7}, idempotency_key="many-7")
        items = [{"args": {"n": n}, "idempotency_key": f"many-{n}"} for n in (5, 6, 7, 5)]
        found = client.run_many(items, **common, timeout=30)
        assert [run.result["sum"] for run in found] == [6, 7, 8, 6]
        assert found[2] == before and found[3] == found[0] and len({*found}) == 3
        assert [one.id for one in client.list(limit=3)] == [found[1].id, found[0].id, before.id], "in their order"
        assert client.run_many(items, **common) == found
        assert client.run_many([]) == []

    @pytest.mark.parametrize(
        ("wrong", "error", "said"),
        [
            ({"args": {"x": 1}}, ArgumentsRefused, "items[1]: add(n, m=…): it has no argument x"),
            ({"secrets": ["NO_KEY"]}, UnknownSecret, "items[1]: "),
            ({"target": "nojobs.py:add"}, TargetUnusable, "items[1]: there is no file nojobs.py"),
            ({"module": "jobs"}, RequestUnclear, "items[1]: one of target, module and command says what to run"),
            (
                {"args": {"n": 1}, "idempotency_key": "one-of-all"},
                KeyTaken,
                'items[1]: its idempotency key "one-of-all" is that of items[0], which has other arguments',
            ),
            ({"no_option": 1}, RequestUnclear, "items[1]: there is no option no_option"),
            ({"project": "other"}, UnknownProject, "items[1]: "),
            (["jobs.py:add"], RequestUnclear, "items[1]: it is a mapping"),
        ],
    )
    def test_one_that_is_refused_leaves_none(
        self, client: Client, rig: Rig, wrong: Any, error: type[Exception], said: str
    ) -> None:
        """Its error is the one that it would have alone, and names it; nothing of the others is there."""
        right = {"target": "jobs.py:add", "args": {"n": 2}, "folder": rig.jobs, "python": rig.python, "timeout": 50}
        last = client.list(limit=1)
        if isinstance(wrong, dict):
            wrong = right | wrong
        with pytest.raises(error) as refused:
            client.run_many([right | {"idempotency_key": "one-of-all"}, wrong, right])
        assert str(refused.value).startswith(said)
        assert [one.id for one in client.list(limit=1)] == [one.id for one in last]

    @pytest.mark.parametrize(
        ("bound", "value", "said"),
        [
            ("MOST_AT_ONCE", 2, "3 runs are submitted at once, of 2 at most"),
            ("_LARGEST_AT_ONCE", 1 << 20, "3 MiB at once, of 1"),
        ],
    )
    def test_there_is_a_bound(
        self, client: Client, rig: Rig, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, said: str
    ) -> None:
        """On SQLite nobody else writes while they are accepted, and a run at work that cannot is lost."""
        only_beside_the_database(client)  # its bound is of the process that has the database
        monkeypatch.setattr(f"executor.operations.runs.{bound}", value)
        common = {"target": "jobs.py:add", "folder": rig.jobs, "python": rig.python, "variables": {"A": "x" * 900_000}}
        last = client.list(limit=1)
        with pytest.raises(RequestUnclear, match=said) as refused:
            client.run_many([{"args": {"n": n}} for n in range(3)], **common)
        assert refused.value.hint is not None and "several calls" in refused.value.hint
        assert [one.id for one in client.list(limit=1)] == [one.id for one in last]

    @pytest.mark.parametrize("items", [5, None, "jobs.py:add", {"target": "jobs.py:add"}])
    def test_what_is_no_list_is_refused(self, client: Client, items: Any) -> None:
        """As anything that is of another type."""
        with pytest.raises(RequestUnclear, match="items is a list of mappings, one for each run, and this is of the"):
            client.run_many(items)


class TestARun:
    def test_a_result_comes_back_masked(self, submit: Any) -> None:
        """By name and by default; `wait` returns the run, and a function's value is its result."""
        run = submit("jobs.py:add", args={"n": 2})
        assert run.result == {"sum": 3, "key": "***"}
        assert (run.state, run.reason, run.exit_code, run.problem, run.done) == ("succeeded", None, 0, None, True)
        assert run.show().title == "jobs.py:add"
        assert [(one.secret, one.stream, one.count) for one in run.show().masked] == [
            ("API_KEY", "result", 1),
            ("API_KEY", "stdout", 1),
        ]
        assert run.wait() is run

    def test_its_output_comes_in_typed_pieces_and_from_a_place_on(self, submit: Any) -> None:
        """While it runs, after it, and again from where one stopped."""
        run = submit("jobs.py:steps")
        followed = list(run.logs(follow=True))
        assert "".join(piece.text for piece in followed) == "step 0\nstep 1\nstep 2\n"
        assert run.done
        assert list(run.logs()) == followed
        assert list(run.logs(after=followed[0].place)) == list(run.logs(after=str(followed[0].place))) == followed[1:]
        assert list(run.logs(streams=["stderr"])) == []
        first = followed[0]
        assert (first.stream, first.data[:4], str(first.place)) == ("stdout", b"step", "1:1")
        with pytest.raises(RequestUnclear):
            run.logs(after="nowhere")

    def test_files_modules_and_commands_take_words(self, submit: Any, rig: Rig) -> None:
        """As they are."""
        rig.job("import sys; print(sys.argv[1:])", "words.py")
        for words in ({"target": "words.py"}, {"module": "words"}):
            run = submit(**words, argv=["--x", "a b"]).wait(check=True)
            assert "".join(piece.text for piece in run.logs()) == "['--x', 'a b']\n"
        run = submit(command=["sh", "-c", "exit 7"], secrets=[], variables={"MODE": "x"}).wait()
        assert (run.state, run.exit_code, run.show().receipt.secrets) == ("failed", 7, ())

    def test_files_that_it_left_are_fetched(self, submit: Any, tmp_path: Path) -> None:
        """Below a folder of choice."""
        run = submit("jobs.py:leave", args={"name": "a.txt"}).wait(check=True)
        assert [(file.path, file.size) for file in run.outputs] == [("a.txt", 4)]
        assert run.download(tmp_path) == [tmp_path / "a.txt"]
        assert (tmp_path / "a.txt").read_text() == "left"

    def test_it_is_found_again(self, client: Client, submit: Any) -> None:
        """By its id or the beginning of it, as the last one, and in the list."""
        run = submit("jobs.py:add", args={"n": 1}).wait()
        assert client.get(run.id) == client.get(run.id[:12]) == client.get("@last") == run
        assert len({run, client.get(run.id)}) == 1
        assert client.list(limit=1)[0].id == run.id
        assert client.list(state="cancelled", limit=1, project="shop") == []
        with pytest.raises(UnknownRun):
            client.get("f" * 32)

    def test_it_is_cancelled(self, submit: Any) -> None:
        """Its worker ends it, and its result says so; an outcome stands."""
        run = submit("jobs.py:slow")
        assert next(run.logs(follow=True)).text == "begun\n"
        with pytest.raises(WaitTimedOut) as waited:
            run.wait(timeout=0.05)
        assert isinstance(waited.value, TimeoutError)
        assert str(waited.value) == f"run {run.id[:8]} did not end within 0.05 seconds: it is running"
        assert run.cancel() is False
        with pytest.raises(RunCancelled) as cancelled:
            run.wait(check=True)
        assert (cancelled.value.state, cancelled.value.exit_code) == ("cancelled", 130)
        with pytest.raises(RunOver):
            run.cancel()

    def test_what_this_machine_never_offers_is_not_waited_for(self, client: Client, submit: Any) -> None:
        """With nothing configured, as no other worker can come."""
        only_beside_the_database(client)  # a worker elsewhere may offer it
        with pytest.raises(NeverServed, match=r"no worker offers Python 3\.99"):
            submit("jobs.py:add", args={"n": 1}, python="3.99")


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "kind", "words"),
        [
            ({}, RequestUnclear, "one of target, module and command"),
            ({"target": "a.py", "module": "a"}, RequestUnclear, "one of target, module and command"),
            ({"target": "-m"}, RequestUnclear, "-m is no file"),
            ({"target": "a.sh"}, RequestUnclear, "a.sh is not a Python file"),
            ({"target": "jobs.py:add", "argv": ["1"]}, RequestUnclear, "argv is for files and modules"),
            ({"command": []}, RequestUnclear, "command is a program and all of its words"),
            ({"command": "ls"}, RequestUnclear, "command is a list of words"),
            ({"command": ["ls"], "args": {"n": 1}}, RequestUnclear, "args are for functions"),
            ({"target": "jobs.py:add", "args": "n"}, RequestUnclear, "of the type str"),
            ({"target": "jobs.py:add", "args": 3}, RequestUnclear, "of the type int"),
            ({"target": 3}, RequestUnclear, "target is text"),
            ({"module": "shop/report.py"}, RequestUnclear, "name the module with dots"),
            ({"command": ["ls"], "folder": 5}, RequestUnclear, "folder is a path, and this is of the type int"),
            ({"command": ["ls"], "folder": "/nope"}, RequestUnclear, "there is no such folder: /nope"),
            ({"command": ["ls"], "timeout": "5"}, RequestUnclear, "timeout is a number of seconds"),
            ({"command": ["ls"], "queue_timeout": "5"}, RequestUnclear, "queue_timeout is a number of seconds"),
            ({"command": ["ls"], "retries": "1"}, RequestUnclear, "retries is a whole number"),
            ({"command": ["ls"], "retries": -1}, RequestUnclear, "at most 9 times"),
            ({"command": ["ls"], "python": 3.12}, RequestUnclear, "python is text"),
            ({"command": ["ls"], "secrets": 3}, RequestUnclear, "secrets is a list"),
            ({"command": ["ls"], "variables": ["A=1"]}, RequestUnclear, "variables is a mapping"),
            ({"target": "jobs.py:add", "args": {"n": 1}, "secrets": "API_KEY"}, RequestUnclear, "secrets is a list"),
            (
                {"target": "jobs.py:add", "args": {"n": 1}, "timeout": 0},
                RequestUnclear,
                "the time-out must be a number",
            ),
            ({"target": "jobs.py:add", "args": {"n": 1}, "retries": 10}, RequestUnclear, "at most 9 times"),
            (
                {"target": "jobs.py:add", "args": {"n": 1}, "queue_timeout": -1},
                RequestUnclear,
                "the queue time-out must be a number",
            ),
            (
                {"target": "jobs.py:add", "args": {"n": 1}, "idempotency_key": ""},
                RequestUnclear,
                "an idempotency key must have",
            ),
            (
                {"target": "jobs.py:add", "args": {"n": 1}, "variables": {"A": 1}},
                RequestUnclear,
                "in variables, A is not text",
            ),
            ({"target": "jobs.py:add", "args": {"n": {1}}}, RequestUnclear, "set is not JSON"),
            ({"target": "jobs.py:add", "args": {"n": {1: 2, "1": 3}}}, RequestUnclear, "dict is not JSON"),
            ({"target": "jobs.py:add", "args": [float("nan")]}, RequestUnclear, "float is not JSON"),
            ({"target": "jobs.py:add", "args": {"x": 1}}, ArgumentsRefused, "it has no argument x"),
            ({"target": "jobs.py:ad", "args": {"n": 1}}, TargetUnusable, "jobs.py has no function ad"),
            ({"target": "none.py"}, TargetUnusable, "there is no file none.py"),
            ({"command": ["true"], "project": "toys"}, UnknownProject, 'no project "toys"'),
            ({"command": ["true"], "secrets": ["API_KEI"]}, UnknownSecret, 'no secret "API_KEI"'),
            ({"command": ["true"], "variables": {"LD_PRELOAD": "x"}}, NameRefused, '"LD_PRELOAD" is refused'),
        ],
    )
    def test_what_is_refused_is_refused_before_there_is_a_run(
        self, client: Client, submit: Any, options: dict[str, Any], kind: type[Exception], words: str
    ) -> None:
        """By the classes and the words of the command line."""
        before = client.list(limit=1000)
        with pytest.raises(kind) as refused:
            submit(**options)
        assert type(refused.value) is kind and words in str(refused.value)
        assert len(client.list(limit=1000)) == len(before)

    @pytest.mark.parametrize("bad", ["hunter2\0", "hunter2\udcff", "hunter2\ud800"])
    @pytest.mark.parametrize(
        ("options", "what"),
        [
            (lambda bad: {"command": ["true"], "variables": {"A": bad}}, 'the value of "A"'),
            (lambda bad: {"command": [bad]}, "the program"),
            (lambda bad: {"command": ["echo", "x", bad]}, "argument 2"),
            (lambda bad: {"target": "words.py", "argv": [bad]}, "argument 1"),
            (lambda bad: {"target": f"{bad}.py"}, "the file"),
            (lambda bad: {"module": bad}, "the module"),
            (lambda bad: {"command": ["true"], "secrets": [bad]}, "secrets[0]"),
            (lambda bad: {"command": ["true"], "project": bad}, "project"),
            (lambda bad: {"command": ["true"], "environment": bad}, "environment"),
            (lambda bad: {"command": ["true"], "python": bad}, "python"),
            (lambda bad: {"command": ["true"], "folder": f"/{bad}"}, "folder"),
        ],
    )
    def test_what_no_program_can_be_given_is_refused_before_there_is_a_run(
        self, client: Client, rig: Rig, submit: Any, options: Any, what: str, bad: str
    ) -> None:
        """By the field and the reason, never by the value; of several runs, with which of them it is."""
        if "\udcff" in bad and what in ("the program", "argument 1", "argument 2"):
            return  # a byte of a name that is no text, as the command line hands it on: the next test
        before = client.list(limit=1000)
        with pytest.raises(SealrunError) as refused:
            submit(**options(bad))
        error = refused.value
        why = "it holds a NUL, which no " if "\0" in bad else "it is not text in UTF-8"
        assert error.message.startswith(f"{what} is refused: {why}") and error.hint and error.status == 422
        assert "hunter2" not in f"{error} {error.hint} {error.names}"
        with pytest.raises(type(error)) as again:
            client.run_many([{"command": ["true"], "folder": rig.jobs}, {"folder": rig.jobs, **options(bad)}])
        assert again.value.message == f"items[1]: {error.message}"
        assert len(client.list(limit=1000)) == len(before)

    def test_a_word_of_a_command_line_may_be_of_any_bytes(self, submit: Any) -> None:
        """As the name of an old file, in Latin-1: the program has it byte by byte."""
        same = 'test "$1" = "$(printf "caf\\351")"'
        run = submit(command=["sh", "-c", same, "sh", "caf\udce9"])
        assert run.wait().exit_code == 0

    def test_what_is_asked_of_a_run_is_checked_too(self, client: Client, submit: Any) -> None:
        """A state or a stream that there is not is no empty list, and a time is a number."""
        run = submit(command=["true"]).wait()
        for ask in (
            lambda: client.list(state="faild"),
            lambda: client.list(limit="3"),  # type: ignore[arg-type]
            lambda: client.list(limit=-1),
            lambda: client.get(5),  # type: ignore[arg-type]
            lambda: client.get(None),  # type: ignore[arg-type]
            lambda: run.download(5),  # type: ignore[arg-type]
            lambda: run.wait(timeout="5"),
            lambda: run.logs(timeout="5"),
            lambda: run.logs(streams=["stdot"]),
            lambda: run.logs(streams="stdout"),
        ):
            with pytest.raises(RequestUnclear):
                ask()
        with pytest.raises(RequestUnclear, match="a state is one of pending, running, succeeded, failed, "):
            client.list(state="faild")

    def test_a_failed_run_raises_when_its_result_is_asked_for(self, submit: Any) -> None:
        """With reason, message, problem and exit code; waiting alone does not raise."""
        run = submit("jobs.py:fail").wait()
        with pytest.raises(RunFailed) as failed:
            _ = run.result
        error = failed.value
        assert type(error) is RunFailed
        assert (error.state, error.reason, error.exit_code) == ("failed", "exception", 1)
        assert str(error) == error.message == f"run {run.id[:8]} failed: jobs.py:fail raised ValueError"
        assert error.problem is not None and error.problem.message == "bad ***"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.problem) == (RunFailed, str(error), error.problem)

    @pytest.mark.parametrize(
        ("options", "kind", "code"),
        [
            ({"command": ["sh", "-c", "exit 7"]}, RunFailed, 7),
            ({"command": ["sh", "-c", "kill -9 $$"]}, RunFailed, 137),
            ({"command": ["sleep", "60"], "timeout": 0.2}, RunTimedOut, 124),
        ],
    )
    def test_ends_are_told_apart(self, submit: Any, options: dict[str, Any], kind: type[Exception], code: int) -> None:
        """With the exit code that `sealrun run` has for each."""
        with pytest.raises(kind) as failed:
            submit(**options).wait(check=True)
        assert type(failed.value) is kind
        assert isinstance(failed.value, RunUnsuccessful) and failed.value.exit_code == code

    @pytest.mark.parametrize(
        ("reason", "started", "kind"),
        [
            ("lost", True, RunLost),
            ("lost", False, RunNeverStarted),
            ("setup_failed", False, RunNeverStarted),
            ("secrets_unavailable", False, RunNeverStarted),
            ("no_capable_worker", False, RunNeverStarted),
            ("out_of_memory", True, RunOutOfMemory),
        ],
    )
    def test_rarer_ends_are_told_apart_too(
        self, rig: Rig, submit: Any, reason: str, started: bool, kind: type[Exception]
    ) -> None:
        """By the reason that stands in the row."""
        run = submit(command=["false"]).wait()
        rig.execute("UPDATE executor_run SET reason = :reason WHERE id = :id", reason=reason, id=run.id)
        if not started:
            rig.execute("UPDATE executor_run SET started_at = NULL WHERE id = :id", id=run.id)
        with pytest.raises(kind) as failed:
            _ = run.result
        assert type(failed.value) is kind

    def test_settings_that_cannot_be_used_are_told_at_once(self) -> None:
        """All problems together, before anything is connected to."""
        with pytest.raises(SettingsProblem):
            Client(settings={"SEALRUN_BROKER_URL": "nonsense", "SEALRUN_LEASE_SECONDS": "soon"})
        with pytest.raises(RequestUnclear):
            Client(settings={"PATH": "/bin"})
        with pytest.raises(RequestUnclear, match="in settings, SEALRUN_HOME is not text"):
            Client(settings={"SEALRUN_HOME": 5})  # type: ignore[dict-item]
        with pytest.raises(RequestUnclear, match="settings is a mapping of names to texts"):
            Client(settings=5)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("typed", "meant"), [("argz", "args or argv"), ("tiemout", "timeout"), ("positional", None), ("hunter", None)]
    )
    def test_an_option_that_is_not_there_has_a_hint(self, submit: Any, typed: str, meant: str | None) -> None:
        """Where one is near, among those that say what to run, too."""
        with pytest.raises(RequestUnclear) as refused:
            submit(command=["true"], **{typed: 5})
        assert refused.value.message == f"there is no option {typed}"
        assert refused.value.hint == (f"did you mean {meant}?" if meant else None)


class TestPlaces:
    def test_threads_share_a_client(self, submit: Any) -> None:
        """Each has its own run, and none waits for another."""
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda n: submit("jobs.py:add", args={"n": n}).result["sum"], range(12)))
        assert results == list(range(1, 13))

    def test_an_event_loop_may_be_running(self, submit: Any) -> None:
        """As in a notebook: nothing needs one, and waiting in a thread leaves it free."""

        async def cell() -> tuple[Any, list[int]]:
            ticks: list[int] = []

            async def tick() -> None:
                while True:
                    ticks.append(1)
                    await asyncio.sleep(0.005)

            ticking = asyncio.create_task(tick())
            run = submit("jobs.py:add", args={"n": 1})
            await asyncio.to_thread(run.wait)
            ticking.cancel()
            return submit("jobs.py:add", args={"n": 5}).result["sum"], ticks

        found, ticks = asyncio.run(cell())
        assert found == 6
        assert len(ticks) > 1

    def test_both_sides_of_a_fork_go_on(self, client: Client, rig: Rig, submit: Any) -> None:
        """The child opens connections of its own, and its end closes none of the parent's."""
        only_beside_the_database(
            client
        )  # it looks at the connections to a database; see the tests of a server for those
        run = submit("jobs.py:add", args={"n": 1}).wait()
        parents = client._at.db
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(int(PATIENCE))
                own = submit("jobs.py:add", args={"n": 40}).result["sum"]
                fresh = client._at.db is not parents and run.state == "succeeded"
                os.write(writing, f"{own} {fresh}".encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as said:
            assert said.read() == "41 True"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client._at.db is parents
        assert submit("jobs.py:add", args={"n": 2}).result["sum"] == 3

    def test_no_connection_is_open_when_a_child_is_made(self, tmp_path: Path) -> None:
        """SQLite's locks belong to a process: a child that found one open would take them for its own."""
        own = Client(settings={"SEALRUN_HOME": str(tmp_path / "home")})
        assert own.list() == []
        assert any(str(tmp_path) in name for name in _open_files())
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = sum(str(tmp_path) in name for name in _open_files())
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert own.list() == []

    def test_nothing_is_printed_and_no_signal_handler_is_set(self, submit: Any) -> None:
        """In a thread other than the main one, too."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
        out, said = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(said):
            thread = threading.Thread(target=lambda: submit("jobs.py:fail").wait())
            thread.start()
            thread.join()
            list(submit("jobs.py:add", args={"n": 1}).logs(follow=True))
        assert (out.getvalue(), said.getvalue()) == ("", "")
        assert before == {number: signal.getsignal(number) for number in before}

    def test_a_broker_that_is_dead_fails_no_submit(self, rig: Rig) -> None:
        """I7: the run is accepted, and workers look for it."""
        dead = settings_of(rig) | {"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}
        with Client("shop", settings=dead) as client:
            run = client.run(command=["true"], folder=rig.jobs)
            assert run.wait(PATIENCE).state == "succeeded"


def _open_files() -> list[str]:
    found = []
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{entry}"))
    return found


SCRIPT = """
import sys
from executor import Client
from executor.client import Run
client = Client()
run = client.run("jobs.py:add", args={"n": 2})
assert run.result["sum"] == 3, run.show()
sys.stdout.write(run.id)
"""


def test_a_script_with_nothing_configured_starts_a_worker(tmp_path: Path) -> None:
    """As `sealrun run` does, and of its settings; project and folder are those of the current folder."""
    with made() as alone:
        alone.project("shop", {"API_KEY": b"hunter2-prod-key"})
        alone.job(JOBS, "jobs.py")
        (alone.jobs / ".sealrun.toml").write_text('project = "shop"\n')
        (alone.jobs / ".sealrun.toml").chmod(0o644)
        allowing.allow(Path(alone.environ["SEALRUN_HOME"]), project_file(alone.jobs))
        path = f"{Path(alone.python).parent}:{os.defpath}"
        environ = {**alone.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-W", "error", "-c", SCRIPT]
        ended = subprocess.run(command, cwd=alone.jobs, env=environ, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert alone.view(ended.stdout).created_by == read_settings(environ).store.actor
        from executor.runs.workers import list_workers

        (worker,) = [one.pid for one in list_workers(alone.db, alive_only=True)]
        os.kill(worker, signal.SIGTERM)
        eventually(lambda: not alive([worker]), 20, "the worker that was started ends")


def test_importing_the_package_costs_nothing() -> None:
    """What runs inside the trust boundary imports it, too."""
    code = "import sys; before = set(sys.modules); import executor; print(sorted(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-S", "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert told.stdout == "['executor']\n"
    assert executor.Client is Client and "Client" in dir(executor)
    with pytest.raises(AttributeError):
        _ = executor.nonsense  # type: ignore[attr-defined]


def test_every_example_of_the_page_runs(rig: Rig, client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    """docs/reference/api.md, from its first line to its last, in one namespace."""
    page = (CHECKOUT / "docs" / "reference" / "api.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) > 4
    monkeypatch.chdir(rig.jobs)
    for name, value in settings_of(rig).items():
        monkeypatch.setenv(name, value)
    rig.job("def load(day, rows=10):\n    print('loading', day)\n    return {'rows': rows}\n", "jobs/load.py")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()):
        for block in blocks:
            exec(compile(block, "docs/reference/api.md", "exec"), namespace)
