"""Two machines under one SEALRUN_HOST: workers in host names and process ids of their own, as containers have them.

Each worker is process 1 of its machine, as in a container without an init.
"""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from executor.database import open_database
from executor.runs import workers
from executor.settings import read_settings
from secretstore.key_files import create_local_key
from tests.executor.cli.conftest import PATIENCE, Cli, made
from tests.processes import alive, children, eventually, of_run

MACHINE = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
JOB = """
import os, socket, time
print(socket.gethostname(), flush=True)
while not os.path.exists(os.environ["TMPDIR"] + "/go"):
    time.sleep(0.02)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


class Machine:
    """A worker on a machine of this name."""

    def __init__(self, cli: Cli, name: str, **environ: str) -> None:
        self.name = name
        self.log = cli.folder / f"{name}.log"
        places = {"HOME": "", "WORKSPACES": "-runs", "CACHE": "-cache"}
        own = {f"SEALRUN_{place}": f"{cli.folder}/{name}{word}" for place, word in places.items()}
        with self.log.open("wb") as log:
            self.unshare = subprocess.Popen(
                on(name, *cli.command("worker", "-c", "1", "-n", "one@%h")),
                env={**cli.environ, **own, **environ},
                cwd=cli.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def worker(self) -> int:
        """The process id that the worker, which is 1 there, has here."""
        (found,) = children(self.unshare.pid)
        return found

    def ready(self) -> bool:
        assert self.unshare.poll() is None, self.log.read_text()
        return b"ready: " in self.log.read_bytes()

    def end(self) -> int:
        """End its worker as `docker stop` does; the exit code."""
        if self.unshare.poll() is None:
            for worker in children(self.unshare.pid):  # none where it was killed
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)
        try:
            return self.unshare.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.unshare.kill()  # and the machine with it
            raise


def on(name: str, *command: str) -> list[str]:
    """The words that execute a command on a machine of this name."""
    return [*MACHINE, "sh", "-c", 'hostname "$0" && exec "$@"', name, *command]


@pytest.fixture(scope="module")
def mill(redis_database: str, postgres_database: str) -> Iterator[Cli]:
    """A project on servers that two machines share: a submitter's home, and a database and a key file for all."""
    if subprocess.run([*MACHINE, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("machines of their own need the right to make namespaces")
    shared = {"SEALRUN_BROKER_URL": redis_database, "SEALRUN_HOST": "mill", "SEALRUN_PROJECT": "shop"}
    with made(**shared) as cli:
        cli.forks = True
        cli.environ["SEALRUN_DATABASE_URL"] = postgres_database
        cli.environ["SEALRUN_KEYS"] = f"local:{cli.folder}/local.key"
        create_local_key(cli.folder / "local.key")
        cli.ok("migrate")
        cli.ok("project", "create", "shop")
        cli.ok("secret", "set", "API_KEY", stdin="hunter2-prod-key")
        yield cli


@pytest.fixture(scope="module")
def machines(mill: Cli) -> Iterator[list[Machine]]:
    """Two of them, with one slot each."""
    started = [Machine(mill, name) for name in ("mill-1", "mill-2")]
    try:
        for machine in started:
            eventually(machine.ready, PATIENCE, f"{machine.name} is ready")
        yield started
    finally:
        for machine in started:
            machine.end()


@pytest.mark.long
def test_runs_go_to_every_machine_of_the_name_and_to_no_other(mill: Cli, machines: list[Machine]) -> None:
    """Two at once need both; one submitted under this machine's own name waits for a worker of that name."""
    mill.job("job.py", JOB)
    other = mill.ok("run", "--detach", "--", "true", environ={"SEALRUN_HOST": socket.gethostname()}).strip()
    both = [mill.ok("run", "--detach", "job.py").strip() for _ in machines]

    eventually(lambda: all(shown(mill, run)["state"] == "running" for run in both), PATIENCE, "both run")
    for place in mill.folder.glob("*-runs/*-*/tmp"):
        (place / "go").touch()
    eventually(lambda: all(shown(mill, run)["state"] == "succeeded" for run in both), PATIENCE, "both succeed")

    assert sorted(mill.ok("runs", "logs", run).strip() for run in both) == ["mill-1", "mill-2"]
    assert sorted(shown(mill, run)["worker"] for run in both) == ["one@mill-1", "one@mill-2"]
    assert all([given["name"] for given in shown(mill, run)["receipt"]["secrets"]] == ["API_KEY"] for run in both)
    assert shown(mill, other)["state"] == "pending"


@pytest.mark.long
def test_a_container_is_healthy_by_its_own_worker(mill: Cli, machines: list[Machine]) -> None:
    """Another machine's worker is no sign of life. Process ids are no obstacle: each is 1 in its container."""

    def health(name: str) -> "subprocess.CompletedProcess[str]":
        known = {**mill.environ, "SEALRUN_WORKSPACES": f"{mill.folder}/{name}-runs"}
        check = on(name, *mill.command("worker", "--check"))
        return subprocess.run(check, env=known, cwd=mill.jobs, capture_output=True, text=True, timeout=PATIENCE)

    well = health("mill-1")
    assert (well.returncode, well.stdout) == (0, "worker one@mill-1 (process 1) takes runs\n"), well.stderr
    lonely = health("mill-3")
    assert lonely.returncode == 1 and lonely.stderr.startswith("sealrun: no worker is here: ")


@pytest.mark.long
def test_when_process_1_is_killed_nothing_of_a_run_stays(mill: Cli) -> None:
    """I8: worker, zygote, supervisor and a daemon of the run go at once, by the kernel's hand."""
    mill.job("daemon.py", DAEMON)
    own = {"SEALRUN_HOST": "mill-3"}
    lost = Machine(mill, "mill-3", **own)
    try:
        eventually(lost.ready, PATIENCE, "it is ready")
        run = mill.ok("run", "--detach", "daemon.py", environ=own).strip()
        eventually(lambda: "ready" in mill.ok("runs", "logs", run), PATIENCE, "the run has begun")
        left = of_run(run)
        assert len(left) == 2

        os.kill(lost.worker, signal.SIGKILL)

        eventually(lambda: not alive(left), PATIENCE, "nothing of it is left")
    finally:
        lost.end()


def test_term_to_process_1_is_a_polite_end(mill: Cli, machines: list[Machine]) -> None:
    """A worker answers `docker stop` as it answers TERM anywhere: it says that it leaves, and ends with 0."""
    assert machines[0].end() == 0

    db = open_database(read_settings(mill.environ))
    try:
        beating = [found.name for found in workers.list_workers(db, alive_only=True)]
    finally:
        db.close()
    assert "one@mill-2" in beating and "one@mill-1" not in beating


def shown(cli: Cli, run: str) -> dict[str, object]:
    """A run as `runs show` has it."""
    return cli.json("runs", "show", run, "--json")  # type: ignore[no-any-return]
