"""How long from submit to the first line of a run's own code, and how many runs a second, beside doing without sealrun.

Three ways to run the same small job, interleaved in one series on the same machine:

  popen    subprocess.Popen in this process, with the secrets in its environment
  naive    a Celery task that calls subprocess.run(env=…) and stores its output; the secrets travel as its argument
  sealrun  submit: claim, gate, one opening, supervisor, sandbox, masker, receipt

Naive and sealrun use the same broker, pool, concurrency and job, and both keep the output in the same kind of database
(the naive task in one table of one SQLite file, committed once). Times are stamped by the job itself (CLOCK_REALTIME).

    python benchmarks/start_latency.py [--runs 60] [--broker redis://127.0.0.1:6379/11] [--database URL]

Without --broker both use sealrun's embedded one. Start it with a virtual environment's own interpreter.
"""

import argparse
import contextlib
import os
import secrets
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from secretstore.vault import EnvironmentView

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

JOB = "import os, time\nprint(time.time(), len([n for n in os.environ if n.startswith('BENCH_')]), flush=True)\n"
SLOTS = 2
_STATE = text("select state from executor_run where id = :id")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "jobs").mkdir()
        job = place / "jobs" / "job.py"
        job.write_text(JOB)
        os.environ |= {
            "SEALRUN_HOME": str(place / "home"),
            "BENCH_RESULTS": str(place / "naive.db"),
        }
        for name, value in (("SEALRUN_BROKER_URL", options.broker), ("SEALRUN_DATABASE_URL", options.database)):
            if value:
                os.environ[name] = value
        with _subjects(job, place) as subjects:
            print(f"{options.runs} runs each way, interleaved; {SLOTS} slots; Python {sys.version.split()[0]}")
            _latency(subjects, options.runs)
            _throughput(subjects, options.burst)
            _phases(subjects["sealrun"])


class Popen:
    """The floor: nothing but an interpreter."""

    def __init__(self, job: Path, python: str) -> None:
        self._job, self._python = job, python

    def submit(self, values: dict[str, str]) -> float:
        began = time.time()
        out = subprocess.run(
            [self._python, str(self._job)], env={"PATH": os.environ["PATH"], **values}, capture_output=True, check=True
        ).stdout
        return float(out.split()[0]) - began

    def burst(self, count: int, values: dict[str, str]) -> float:
        began = time.time()
        left = [(self._python, str(self._job)) for _ in range(count)]
        running: list[subprocess.Popen[bytes]] = []
        while left or running:
            while left and len(running) < SLOTS:
                running.append(subprocess.Popen(left.pop(), env={"PATH": os.environ["PATH"], **values}, stdout=-1))
            running.pop(0).communicate()
        return count / (time.time() - began)


class Naive:
    """A task a team would write on its first day; its own table, its own queue, the same broker."""

    def __init__(self, job: Path, python: str, results: str) -> None:
        import naive_task

        self._task = naive_task.run_job
        self._job, self._python = str(job), python
        self._db = sqlite3.connect(results, timeout=30)
        self._number = 0

    def submit(self, values: dict[str, str]) -> float:
        began = time.time()
        number = self._send(values)
        while (row := self._db.execute("select stdout from result where id = ?", (number,)).fetchone()) is None:
            time.sleep(0.002)
        return float(row[0].split()[0]) - began

    def burst(self, count: int, values: dict[str, str]) -> float:
        began = time.time()
        numbers = [self._send(values) for _ in range(count)]
        marks = ",".join("?" * count)
        while self._db.execute(f"select count(*) from result where id in ({marks})", numbers).fetchone()[0] < count:
            time.sleep(0.005)
        return count / (time.time() - began)

    def _send(self, values: dict[str, str]) -> str:
        number = secrets.token_hex(8)
        self._task.apply_async([number, self._python, self._job, values])
        return number


class Sealrun:
    """The real thing, through `submit` and a real worker."""

    def __init__(self, job: Path, python: str) -> None:
        from executor.celery_app import make_app
        from executor.database import open_database
        from executor.settings import read_here

        self._settings = read_here()
        self.db = open_database(self._settings)
        self._app = make_app(self._settings)
        self._job, self._python = job, python
        self._known: dict[int, EnvironmentView] = {}
        self.submitted: dict[int, list[str]] = {}

    def submit(self, values: dict[str, str]) -> float:
        from executor.records import history, logs

        self._environment(values)
        began = time.time()
        run_id = self._send(values)
        while self._state(run_id) not in ("succeeded", "failed"):
            time.sleep(0.002)
        run = history.show(self.db, run_id)
        assert run.state == "succeeded", run.message
        assert run.receipt is not None and len(run.receipt.secrets) == len(values)
        self.submitted.setdefault(len(values), []).append(run_id)
        return float(logs.read(self.db, run_id)[0][0].data.split()[0]) - began

    def burst(self, count: int, values: dict[str, str]) -> float:
        began = time.time()
        left = [self._send(values) for _ in range(count)]
        while left:
            left = [run_id for run_id in left if self._state(run_id) not in ("succeeded", "failed")]
            time.sleep(0.005)
        return count / (time.time() - began)

    def _state(self, run_id: str) -> str:
        """As light a question as the naive task's results are asked with."""
        with self.db.engine.connect() as connection:
            return str(connection.execute(_STATE, {"id": run_id}).scalar())

    def _send(self, values: dict[str, str]) -> str:
        from executor.models import RunSpec
        from executor.submission.submit import submit

        place = self._environment(values)
        spec = RunSpec(
            project_id=place.project_id,
            project=place.project,
            environment_id=place.id,
            environment=place.name,
            target={"kind": "file", "path": self._job.name, "argv": []},
            source_root=str(self._job.parent),
            host=self._settings.host,
            python=self._python,
        )
        return submit(self.db, self._app, spec, "bench").run_id

    def _environment(self, values: dict[str, str]) -> "EnvironmentView":
        """One project per number of secrets, made before the clock starts (see `warm`)."""
        from executor.keys.creation import birth
        from secretstore import local_keys, vault
        from secretstore.pins import Pins

        if len(values) not in self._known:
            actor = vault.Actor("bench", "bench")
            key = Path(self._settings.store.keys.removeprefix("local:"))
            if not key.exists():
                local_keys.create_local_key(key)
            name = f"bench-{len(values)}-{secrets.token_hex(3)}"
            vault.create_project(self.db, name, actor=actor, birth=birth(self._settings))
            pins = Pins(self._settings.store.home / "known_keys", self.db.url_shown)
            for secret, value in values.items():
                vault.put(self.db, name, "default", secret, value.encode(), actor=actor, pins=pins)
            self._known[len(values)] = vault.get_environment(self.db, name, "default")
        return self._known[len(values)]


def _latency(subjects: dict[str, Any], runs: int) -> None:
    print(f"\n{'secrets':>8} {'way':<8} {'p50 ms':>8} {'p95 ms':>8} {'p50 / naive':>12}")
    for count in (0, 10, 100):
        values = _values(count)
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for subject in subjects.values():
            for _ in range(3):
                subject.submit(values)
        for _ in range(runs):
            for name, subject in subjects.items():
                times[name].append(subject.submit(values) * 1000)
        base = statistics.median(times["naive"])
        for name, series in times.items():
            p95 = statistics.quantiles(series, n=20)[-1]
            middle = statistics.median(series)
            print(f"{count:>8} {name:<8} {middle:>8.1f} {p95:>8.1f} {middle / base:>12.2f}")


def _throughput(subjects: dict[str, Any], count: int) -> None:
    values = _values(10)
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(3):
        for name, subject in subjects.items():
            rates[name].append(subject.burst(count, values))
    print(f"\nruns a second, bursts of {count} with 10 secrets, best of 3:")
    best = {name: max(series) for name, series in rates.items()}
    for name, rate in best.items():
        print(f"{'':>8} {name:<8} {rate:>8.1f} {rate / best['naive']:>21.2f}")


def _phases(subject: Sealrun) -> None:
    """Where a run's time goes, from the moments its rows hold; medians over the latency series with ten secrets."""
    from sqlmodel import select

    from executor.models import Attempt, LogChunk, Receipt, Run

    parts: dict[str, list[float]] = {}
    with subject.db.reading() as session:
        for run_id in subject.submitted[10]:
            run = session.get(Run, run_id)
            attempt = session.get(Attempt, (run_id, 1))
            receipt = session.get(Receipt, (run_id, 1, "run"))
            first = session.exec(select(LogChunk).where(LogChunk.run_id == run_id)).first()
            assert run and attempt and first and attempt.started_at and run.finished_at
            stamp = float(first.data.split()[0])
            moments = [
                ("accepted to claimed (bell, claim)", run.created_at.timestamp(), attempt.claimed_at.timestamp()),
                ("claimed to gate (place, fork, gate)", attempt.claimed_at.timestamp(), attempt.started_at.timestamp()),
                ("gate to first line (open, mask, start)", attempt.started_at.timestamp(), stamp),
                ("first line to outcome committed", stamp, run.finished_at.timestamp()),
            ]
            if receipt and receipt.opened_at:
                moments.append(
                    ("  of it: gate to opened", attempt.started_at.timestamp(), receipt.opened_at.timestamp())
                )
            for name, begin, end in moments:
                parts.setdefault(name, []).append((end - begin) * 1000)
    print("\nwhere sealrun's time goes with 10 secrets, p50 ms:")
    for name, series in parts.items():
        print(f"  {name:<42} {statistics.median(series):6.1f}")


def _values(count: int) -> dict[str, str]:
    return {f"BENCH_{number}": secrets.token_urlsafe(24) for number in range(count)}


@contextlib.contextmanager
def _subjects(job: Path, place: Path) -> Iterator[dict[str, Any]]:
    from executor.broker.embedded import broker, broker_address
    from executor.python.choice import choose_interpreter

    python = choose_interpreter(job.parent, None, os.environ["PATH"])
    with contextlib.ExitStack() as ending:
        if "SEALRUN_BROKER_URL" not in os.environ:
            ending.enter_context(broker(place / "home"))
            os.environ["BENCH_BROKER"] = broker_address(place / "home")
        else:
            os.environ["BENCH_BROKER"] = os.environ["SEALRUN_BROKER_URL"]
        if "SEALRUN_DATABASE_URL" in os.environ:
            from executor.database import migrate
            from secretstore.database import Database

            migrate(Database(os.environ["SEALRUN_DATABASE_URL"]))
        sealrun = Sealrun(job, python)
        naive = Naive(job, python, os.environ["BENCH_RESULTS"])
        for app in ("executor.celery_app", "naive_task"):
            ending.enter_context(_worker(app, place))
        yield {"popen": Popen(job, python), "naive": naive, "sealrun": sealrun}


@contextlib.contextmanager
def _worker(app: str, place: Path) -> Iterator[None]:
    log = open(place / f"{app}.log", "wb")  # noqa: SIM115  # lives as long as the worker
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "threads", "-c", str(SLOTS), "-l", "INFO"]
    here = os.pathsep.join([str(ROOT), str(Path(__file__).resolve().parent)])
    process = subprocess.Popen(
        [*command, "-n", f"{app}@bench", "--without-gossip", "--without-mingle", "--without-heartbeat"],
        stdout=log, stderr=log, cwd=place, env={**os.environ, "PYTHONPATH": here},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while b"ready." not in (place / f"{app}.log").read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((place / f"{app}.log").read_text())
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--burst", type=int, default=40)
    parser.add_argument("--broker")
    parser.add_argument("--database")
    return parser.parse_args()


if __name__ == "__main__":
    main()
