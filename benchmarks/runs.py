"""What a run costs beside its start: its output, its first line, its environment, its result; and a long queue.

  output       MB/s from a job's pipe to rows in the database, masked, beside a task that stores what it reads unmasked
  first line   from the moment a job prints a line to the moment a follower has it
  environment  submit to the first line with a cached Python environment of its own, beside the system's interpreter
  connections  submit to the first line with so many data sources, and with one as a function's parameter
  result       submit to the outcome of a function that returns so many bytes
  flood        submit to the first line beside a run that prints without end, one that computes without end, and alone
  queue        claim, listing and the search for unheard bells, with 10 and with 10,000 runs waiting

What is compared is done in turns within one series on the same machine.

    python benchmarks/runs.py [--broker redis://127.0.0.1:6379/11] [--database URL] [--only PART…]

Without --broker and --database it uses the embedded broker and SQLite. Start it with a virtual environment's own
interpreter. `environment` has a package index of its own on this machine, with one small package.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from executor import runs  # the checkout's own, whatever is installed
from executor.broker.embedded import broker
from executor.celery_app import make_app
from executor.database import migrate, open_database
from executor.keys.creation import birth
from executor.models import RunSpec
from executor.python.choice import choose_interpreter
from executor.records import history, logs  # the checkout's own, whatever is installed
from executor.runs import Offer
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import OVER
from executor.settings import read_here
from executor.submission.specification import specify
from executor.submission.submit import submit
from executor.submission.target import parse
from secretstore import key_files, keyring, vault
from secretstore.database import Database
from secretstore.key_service import KeyAccess
from secretstore.pins import Pins
from tests.documents.index import Index

PATIENCE = 120.0
SYSTEM_PYTHON = choose_interpreter(None, None, os.defpath)  # no shim: a look behind one takes longer than a run
ACTOR = vault.Actor("bench", "bench")
LOUD = """
import os, sys
line = b"x" * 99 + b"\\n"
chunk = line * 655
for _ in range(int(sys.argv[1]) * 1048576 // len(chunk)):
    view = memoryview(chunk)
    while view:
        view = view[os.write(1, view):]
"""
LINES = """
import time
for _ in range(60):
    print(time.time(), flush=True)
    time.sleep(0.05)
"""
FLOOD = """
import itertools, json, random
for number in itertools.count():
    print(json.dumps({"number": number, "value": random.random(), "what": "a line as a log has it"}))
"""
SPIN = "print('begun', flush=True)\nwhile True: pass\n"
STAMP = "import time\nprint(time.time(), flush=True)\n"
TAKES = "import time\ndef takes(data=None):\n    print(time.time(), flush=True)\n"
RETURNS = "def returns(size: int):\n    return 'x' * size\n"


@contextlib.contextmanager
def a_home(broker: str | None, database: str | None) -> Iterator[Path]:
    """A folder of its own for all that sealrun keeps, by the settings of this process and of those it starts."""
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        os.environ |= {
            "SEALRUN_HOME": str(place / "home"),
            "SEALRUN_CACHE": str(place / "cache"),
            "SEALRUN_WORKSPACES": str(place / "runs"),
        }
        for name, value in (("SEALRUN_BROKER_URL", broker), ("SEALRUN_DATABASE_URL", database)):
            if value:
                os.environ[name] = value
        yield place


def main() -> None:
    options = _options()
    with a_home(options.broker, options.database) as place, Index() as index, _sealrun(place, index.url) as sealrun:
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                print(f"\n{name}")
                part(sealrun)


class Sealrun:
    """One home, one worker with two slots, and short words for what the parts do."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.settings = read_here()
        self.db = open_database(self.settings)
        self.app = make_app(self.settings)
        self.jobs = place / "jobs"
        self.jobs.mkdir()
        for name, code in (
            ("loud.py", LOUD),
            ("lines.py", LINES),
            ("flood.py", FLOOD),
            ("spin.py", SPIN),
            ("stamp.py", STAMP),
            ("takes.py", TAKES),
            ("returns.py", RETURNS),
        ):
            (self.jobs / name).write_text(code)
        key = Path(self.settings.store.keys.removeprefix("local:"))
        if not key.exists():
            key_files.create_local_key(key)
        self.projects: dict[int, str] = {}

    def project(self, count: int) -> str:
        """A project with so many secrets."""
        if count not in self.projects:
            name = f"bench-{count}-{secrets.token_hex(3)}"
            vault.create_project(self.db, name, actor=ACTOR, birth=birth(self.settings))
            pins = Pins(self.settings.store.home / "known_keys", self.db.url_shown)
            for number in range(count):
                value = secrets.token_urlsafe(24).encode()
                vault.put(self.db, name, "default", f"BENCH_{number}", value, actor=ACTOR, pins=pins)
            self.projects[count] = name
        return self.projects[count]

    def submit(self, *words: str, secrets: int = 10, **asked: Any) -> str:
        """Hand in a run of these words; its id."""
        request = RunRequest(
            target=parse(list(words)),
            project=self.project(secrets),
            folder=self.jobs,
            bundle=False,
            search_path=os.defpath,
            **asked,
        )
        return submit(self.db, self.app, specify(self.db, self.settings, request).spec, "bench").run_id

    def over(self, run_id: str) -> history.RunView:
        """Wait for its end, which has to be a good one."""
        until = time.monotonic() + PATIENCE
        while history.state_of(self.db, run_id) not in OVER:
            if time.monotonic() > until:
                raise SystemExit(f"run {run_id} does not end")
            time.sleep(0.002)
        view = history.show(self.db, run_id)
        if view.state != "succeeded":
            raise SystemExit(f"run {run_id} {view.state}: {view.message}")
        return view

    def stamp(self, run_id: str) -> float:
        """What the run printed first: the moment at which it did."""
        self.over(run_id)
        return float(logs.read(self.db, run_id)[0][0].data.split()[0])


def output(sealrun: Sealrun, size: int = 48) -> None:
    """A job that prints 48 MiB in lines of 100 bytes, as fast as it is read."""
    rates: dict[str, list[float]] = {}
    for _ in range(3):
        rates.setdefault("pipe into a table, unmasked", []).append(_naive_output(sealrun, size))
        for count in (0, 10, 100):
            view = sealrun.over(sealrun.submit("loud.py", str(size), secrets=count))
            assert view.started_at and view.finished_at
            rate = size / (view.finished_at - view.started_at).total_seconds()
            rates.setdefault(f"sealrun, {count} secrets", []).append(rate)
    base = max(next(iter(rates.values())))
    for name, series in rates.items():
        print(f"  {name:<32} {max(series):>7.1f} MiB/s {max(series) / base:>6.2f}")


def _naive_output(sealrun: Sealrun, size: int) -> float:
    """What a task without sealrun would do: read the pipe, store 64 KiB pieces, commit each."""
    with contextlib.closing(sqlite3.connect(sealrun.place / "naive.db")) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table if not exists log (id integer primary key, data blob)")
        began = time.monotonic()
        command = [SYSTEM_PYTHON, str(sealrun.jobs / "loud.py"), str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while data := process.stdout.read(1 << 16):
                db.execute("insert into log (data) values (?)", (data,))
                db.commit()
        return size / (time.monotonic() - began)


def first_line(sealrun: Sealrun) -> None:
    """A line every 50 ms; a reader that asks every 10 to 100 ms, as `runs logs -f` does."""
    late: list[float] = []
    for _ in range(3):
        run_id = sealrun.submit("lines.py")
        place, over, pause = logs.Place(), False, 0.01
        while not over:
            over = history.state_of(sealrun.db, run_id) in OVER
            pieces, place = logs.read(sealrun.db, run_id, place)
            seen = time.time()
            for piece in pieces:
                late += [(seen - float(line)) * 1000 for line in piece.data.split()]
            pause = 0.01 if pieces else min(pause * 1.3, 0.1)
            time.sleep(pause)
    late.sort()
    middle, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    print(f"  {len(late)} lines: p50 {middle:.0f} ms, p99 {p99:.0f} ms, longest {late[-1]:.0f} ms")


def environment(sealrun: Sealrun, rounds: int = 40) -> None:
    """One small package, built once; then in turns with and without."""
    ways: dict[str, dict[str, Any]] = {
        "system's interpreter": {},
        "environment of its own": {"packages": ["humanize==4.9.0"]},
    }
    began = time.monotonic()
    sealrun.over(sealrun.submit("stamp.py", **ways["environment of its own"]))
    print(f"  built in {time.monotonic() - began:.2f} s")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, asked in ways.items():
            began = time.time()
            times[name].append((sealrun.stamp(sealrun.submit("stamp.py", **asked)) - began) * 1000)
    middles = {name: statistics.median(series) for name, series in times.items()}
    base = middles["system's interpreter"]
    for name, middle in middles.items():
        print(f"  {name:<32} p50 {middle:>6.1f} ms {middle / base:>6.2f}")


def connections(sealrun: Sealrun, rounds: int = 60) -> None:
    """S3 sources in files, each of one more JSON secret; in turns with none of them given."""
    ways: dict[str, tuple[int, dict[str, Any]]] = {
        "none, 11 secrets": (10, {"connections": False}),
        "1 source, 11 secrets": (10, {}),
        "1 source, as a parameter": (10, {"sources": {"data": "lake-0"}}),
    }
    project, pins = sealrun.project(10), Pins(sealrun.settings.store.home / "known_keys", sealrun.db.url_shown)
    crowded = sealrun.project(11)
    for place, count in ((project, 1), (crowded, 10)):
        for number in range(count):
            keys = {"aws_access_key_id": secrets.token_hex(10), "aws_secret_access_key": secrets.token_urlsafe(30)}
            value = json.dumps(keys).encode()
            vault.put(sealrun.db, place, "default", f"LAKE_{number}", value, actor=ACTOR, pins=pins)
            settings = {"bucket": "lake", "region": "eu-north-1", "credentials": {"$secret": f"LAKE_{number}"}}
            vault.create_connection(
                sealrun.db, place, "default", "source", f"lake-{number}", "s3", settings, actor=ACTOR
            )
    ways |= {"none, 21 secrets": (11, {"connections": False}), "10 sources, 21 secrets": (11, {})}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (count, asked) in ways.items():
            began = time.time()
            run_id = sealrun.submit("takes.py:takes", secrets=count, **asked)
            times[name].append((sealrun.stamp(run_id) - began) * 1000)
    for name, series in times.items():
        base = statistics.median(times["none, 21 secrets" if "21" in name else "none, 11 secrets"])
        print(f"  {name:<32} p50 {statistics.median(series):>6.1f} ms {statistics.median(series) / base:>6.2f}")


def result(sealrun: Sealrun, rounds: int = 15) -> None:
    """A function that returns a text of so many bytes."""
    sizes = (10, 1 << 10, 64 << 10, 512 << 10, 1000 << 10)
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            began = time.monotonic()
            view = sealrun.over(sealrun.submit("returns.py:returns", values={"size": size}))
            times[size].append((time.monotonic() - began) * 1000)
            assert len(view.result) == size
    base = statistics.median(times[sizes[0]])
    for size, series in times.items():
        middle = statistics.median(series)
        print(f"  {size:>9,} bytes {'p50':>20} {middle:>6.1f} ms {middle / base:>6.2f}")


def _wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("a run beside neither began nor ended within a minute")
        time.sleep(0.05)


def flood(sealrun: Sealrun, rounds: int = 6, starts: int = 25) -> None:
    """The other slot of the same worker is taken by what goes on without end; then it is free, in turns."""
    vault.set_project(sealrun.db, sealrun.project(10), output_limit=1 << 40, actor=ACTOR)
    times: dict[str, list[float]] = {"alone": [], "spin.py": [], "flood.py": []}
    printed = 0.0
    for _ in range(rounds):
        for name, series in times.items():
            beside = None if name == "alone" else sealrun.submit(name)
            if beside:
                _wait_for(lambda run=beside: logs.read(sealrun.db, run, limit=1)[0])
            for _ in range(starts):
                began = time.time()
                series.append((sealrun.stamp(sealrun.submit("stamp.py")) - began) * 1000)
            if beside:
                runs.cancel(sealrun.db, beside, "bench")
                _wait_for(lambda run=beside: history.show(sealrun.db, run).state in OVER)
                view = history.show(sealrun.db, beside)
                if name == "flood.py" and view.metrics:
                    printed += view.metrics["stdout_kept_bytes"] / (1 << 20) / view.metrics["wall_seconds"] / rounds
    base = times["alone"]
    for name, series in times.items():
        p50, p95 = statistics.median(series), _p95(series)
        text = "alone" if name == "alone" else f"beside {name}"
        print(f"  {text:<20} p50 {p50:>6.1f} ms {p50 / statistics.median(base):>6.2f}", end="")
        print(f"   p95 {p95:>6.1f} ms {p95 / _p95(base):>6.2f}")
    print(f"  the flood was stored at {printed:.0f} MiB/s")


def _p95(series: list[float]) -> float:
    return sorted(series)[len(series) * 95 // 100]


def queue(sealrun: Sealrun) -> None:
    """Runs with secrets, of a queue that the worker does not serve; claimed here, and not executed."""
    request = RunRequest(
        target=parse(["stamp.py"]),
        project=sealrun.project(10),
        folder=sealrun.jobs,
        bundle=False,
        search_path=os.defpath,
    )
    spec = RunSpec(**{**specify(sealrun.db, sealrun.settings, request).spec.model_dump(), "queue": "bench-nobody"})
    key_services = keyring.offered(KeyAccess(sealrun.settings.store.keys))
    offer = Offer("bench", sealrun.settings.host, ("bench-nobody",), "landlock", key_services=key_services)
    asked: dict[str, Callable[[str], object]] = {
        "submit (row, commit)": lambda _: runs.accept(sealrun.db, spec, "bench").run_id,
        "claim": lambda run_id: runs.claim(sealrun.db, run_id, offer, 600),
        "unheard bells, two of them": lambda _: runs.unclaimed(sealrun.db, offer, 0, 2),
        "runs list (20)": lambda _: history.list_runs(sealrun.db, spec.project_id),
        "runs list --state pending": lambda _: history.list_runs(sealrun.db, spec.project_id, state="pending"),
        "cancel": lambda run_id: runs.cancel(sealrun.db, run_id, "bench"),
    }
    waiting: list[str] = []
    figures: dict[str, list[float]] = {name: [] for name in asked}
    for depth in (10, 10_000):
        while len(waiting) < depth:
            waiting.append(runs.accept(sealrun.db, spec, "bench").run_id)
        for name, ask in asked.items():
            series = []
            for number in range(20):
                run_id = (
                    waiting[-1 - number % 10] if name != "cancel" else runs.accept(sealrun.db, spec, "bench").run_id
                )
                began = time.monotonic()
                ask(run_id)
                series.append((time.monotonic() - began) * 1000)
            figures[name].append(statistics.median(series))
    print(f"  {'p50 ms with':<32} {'10':>9} {'10,000':>9} waiting")
    for name, (few, many) in figures.items():
        print(f"  {name:<32} {few:>9.2f} {many:>9.2f} {many / few:>6.2f}")


PARTS: dict[str, Callable[[Sealrun], None]] = {
    "output": output,
    "first line": first_line,
    "environment": environment,
    "connections": connections,
    "result": result,
    "flood": flood,
    "queue": queue,
}


@contextlib.contextmanager
def _sealrun(place: Path, index: str) -> Iterator[Sealrun]:
    os.environ["SEALRUN_PACKAGE_INDEX"] = index
    with contextlib.ExitStack() as ending:
        if "SEALRUN_BROKER_URL" not in os.environ:
            ending.enter_context(broker(place / "home"))
        if "SEALRUN_DATABASE_URL" in os.environ:
            migrate(Database(os.environ["SEALRUN_DATABASE_URL"]))
        sealrun = Sealrun(place)
        ending.enter_context(_worker(place))
        yield sealrun


@contextlib.contextmanager
def _worker(place: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "executor.celery_app", "worker", "-P", "threads", "-c", "2"]
    with (place / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-l", "INFO"], stdout=log, stderr=log, cwd=place, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            until = time.monotonic() + 30
            while b"ready." not in (place / "worker.log").read_bytes():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit((place / "worker.log").read_text())
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--broker")
    parser.add_argument("--database")
    parser.add_argument("--only", nargs="*", choices=PARTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
