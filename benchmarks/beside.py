"""The ways to run a small job that the benchmarks put side by side, and the workers that do it.

  popen    subprocess in this process, with the secrets in its environment
  naive    a Celery task that calls subprocess.run(env=…) and stores its output; the secrets travel as its argument
  sealrun  submit: claim, gate, one opening, supervisor, sandbox, masker, receipt

Naive and sealrun have the same broker, pool, concurrency and job, and keep what it prints in the same kind of database
with the same durability (the naive task in one table, committed once). The job stamps its own start (CLOCK_REALTIME).
"""

import compileall
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE), str(HERE / "others")]

import naive_task
import stored
from celery import Celery
from sqlalchemy import text

from executor.broker.embedded import broker_address
from executor.models import RunSpec
from executor.records import history, logs
from executor.submission import submit
from secretstore import vault
from tests.rig import Rig, file
from tests.rig import rig as make_rig

JOB = "import os, time\nprint(time.time(), len([n for n in os.environ if n.startswith('BENCH_')]), flush=True)\n"
PROJECT = "bench"
PATIENCE = 60.0
"""Seconds for one job, or for a burst; only a failure takes so long."""

_OVER = ("succeeded", "failed", "cancelled")
_STATE = text("select state from executor_run where id = :id")
_UNFINISHED = text("select count(*) from executor_run where state in ('pending', 'running')")


@dataclass(frozen=True)
class Done:
    """One job: milliseconds to its own stamp and to the end that the submitter saw, and of processor for submitting."""

    start: float
    end: float
    submit_cpu: float


class Way(Protocol):
    """A way to run the job."""

    def one(self) -> Done:
        """Run it once, with nothing else on its way."""

    def burst(self, count: int) -> float:
        """Run it so many times, handed in at once; runs a second."""


class Popen:
    """The floor: nothing but an interpreter; as many at once as the workers have slots."""

    def __init__(self, command: Sequence[str], values: Mapping[str, str], slots: int) -> None:
        self._command, self._slots = command, slots
        self._environ = {"PATH": os.defpath, **values}

    def one(self) -> Done:
        began, cpu = time.time(), time.thread_time()
        with subprocess.Popen(self._command, env=self._environ, stdout=subprocess.PIPE) as process:
            cpu = time.thread_time() - cpu
            out = process.communicate(timeout=PATIENCE)[0]
        return Done((float(out.split()[0]) - began) * 1000, (time.time() - began) * 1000, cpu * 1000)

    def burst(self, count: int) -> float:
        began, left = time.monotonic(), count
        running: list[subprocess.Popen[bytes]] = []
        while left or running:
            while left and len(running) < self._slots:
                running.append(subprocess.Popen(self._command, env=self._environ, stdout=subprocess.PIPE))
                left -= 1
            with running.pop(0) as process:
                process.communicate(timeout=PATIENCE)
        return count / (time.monotonic() - began)


class Naive:
    """A task that a team would write on its first day; its own table and queue, the same broker."""

    def __init__(self, app: Celery, job: Path, python: str, values: Mapping[str, str], results: str) -> None:
        self._app, self._stored = app, stored.Results(results)
        self._arguments = (python, str(job), dict(values))

    def one(self) -> Done:
        began, cpu = time.time(), time.thread_time()
        number = self._send()
        cpu = time.thread_time() - cpu
        until = time.monotonic() + PATIENCE
        while (out := self._stored.printed(number)) is None:
            _in_time(until)
            time.sleep(0.002)
        return Done((float(out.split()[0]) - began) * 1000, (time.time() - began) * 1000, cpu * 1000)

    def burst(self, count: int) -> float:
        before, began = self._stored.count(), time.monotonic()
        for _ in range(count):
            self._send()
        while self._stored.count() < before + count:
            _in_time(began + PATIENCE)
            time.sleep(0.005)
        return count / (time.monotonic() - began)

    def _send(self) -> str:
        number = secrets.token_hex(8)
        self._app.send_task("run_job", [number, *self._arguments])
        return number


class Sealrun:
    """The real thing, through `submit` and a real worker."""

    def __init__(self, rig: Rig, job: str, secrets: int) -> None:
        self.rig = rig
        environment = vault.get_environment(rig.db, PROJECT, "default")
        self._spec = RunSpec(
            project_id=environment.project_id,
            project=PROJECT,
            environment_id=environment.id,
            environment="default",
            target=file(job),
            source_root=str(rig.jobs),
            host=rig.settings.host,
            python=rig.python,
            queue=rig.queue,
        )
        self._secrets = secrets
        self.submitted: list[str] = []

    def one(self) -> Done:
        began, cpu = time.time(), time.thread_time()
        run_id = self._send()
        cpu = time.thread_time() - cpu
        until = time.monotonic() + PATIENCE
        while self._asked(_STATE, id=run_id) not in _OVER:
            _in_time(until)
            time.sleep(0.002)
        end = time.time()
        view = history.show(self.rig.db, run_id)
        if view.state != "succeeded" or view.receipt is None or len(view.receipt.secrets) != self._secrets:
            raise SystemExit(f"a run did not end as it has to:\n{self.rig.told(run_id)}")
        self.submitted.append(run_id)
        pieces, _ = logs.read(self.rig.db, run_id)
        stamp = float(next(piece for piece in pieces if piece.stream == "stdout").data.split()[0])
        return Done((stamp - began) * 1000, (end - began) * 1000, cpu * 1000)

    def burst(self, count: int) -> float:
        began = time.monotonic()
        for _ in range(count):
            self._send()
        while self._asked(_UNFINISHED):
            _in_time(began + PATIENCE)
            time.sleep(0.005)
        return count / (time.monotonic() - began)

    def _send(self) -> str:
        return submit.submit(self.rig.db, self.rig.app, self._spec, "bench").run_id

    def _asked(self, what: Any, **values: str) -> Any:
        """As light a question as the naive task's results are asked with."""
        with self.rig.db.engine.connect() as connection:
            return connection.execute(what, values).scalar()


def bounded(minutes: float) -> None:
    """End this process politely when it is told to, or has taken too long: whatever it has started ends with it."""

    def late(*_: object) -> None:
        raise SystemExit(f"not done within {minutes:g} minutes")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGALRM, late)
    signal.alarm(round(minutes * 60))


def compiled() -> None:
    """Have the product's byte code ready, which the workers of a rig do not write."""
    for package in ("executor", "secretstore"):
        compileall.compile_dir(ROOT / package, quiet=1)


def values_of(count: int) -> dict[str, str]:
    """So many secrets."""
    return {f"BENCH_{number}": secrets.token_urlsafe(24) for number in range(count)}


@contextlib.contextmanager
def a_rig(values: Mapping[str, str], **options: Any) -> Iterator[Rig]:
    """A home with a project that has these secrets and a job to run; its worker is not there yet."""
    with make_rig(**options) as made:
        if made.settings.broker_url is None:
            made.keep_broker()
        made.project(PROJECT, {name: value.encode() for name, value in values.items()})
        made.job(JOB, "job.py")
        yield made


@contextlib.contextmanager
def naive_way(
    rig: Rig, values: Mapping[str, str], slots: int, launcher: Sequence[str] = ()
) -> Iterator[tuple[Naive, int]]:
    """The naive task with a worker of its own, beside this rig's; the way, and the worker's process id."""
    broker = rig.settings.broker_url or broker_address(rig.home)
    results = rig.environ.get("SEALRUN_DATABASE_URL", f"sqlite:///{rig.folder}/naive.db")
    queue = f"naive-{uuid.uuid4().hex[:12]}"
    app = naive_task.make_app(broker, queue)
    way = Naive(app, rig.jobs / "job.py", rig.python, values, results)
    log = rig.folder / "naive.log"
    command = ["-m", "celery", "-A", "naive_task", "worker", "-P", "threads", "-c", str(slots), "-l", "INFO"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *launcher, *command, "-n", "naive@%h", "--without-gossip", "--without-mingle"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=rig.folder,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(HERE),
                "BENCH_BROKER": broker,
                "BENCH_QUEUE": queue,
                "BENCH_RESULTS": results,
            },
        )
    try:
        until = time.monotonic() + PATIENCE
        while b"ready." not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the naive worker does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield way, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        app.close()


def _in_time(until: float) -> None:
    if time.monotonic() > until:
        raise SystemExit(f"a job did not end within {PATIENCE:g} seconds")
