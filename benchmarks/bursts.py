"""Ten thousand runs of one project at once: what another project's run waits, what a claim costs, and what memory.

  claim    a claim, and the look for whose turn it is, with 10 and with so many runs waiting
  burst    so many runs of one project wait when a worker with two slots starts; meanwhile another project
           submits one run after another: submit to its first line, beside the same with nothing else waiting
  memory   bytes for each waiting run in the database, the broker and the worker, and for each slot that is at work

What is compared is done with the same worker on the same machine.

    python benchmarks/bursts.py [--count 10000] [--probes 40] [--broker redis://127.0.0.1:6379/11] [--database URL]
        [--only PART…]

Without --broker and --database it uses the embedded broker and SQLite. Start it with a virtual environment's own
interpreter. The broker's part of the memory is Redis' own count.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import runs as bench  # the benchmark beside this one: its home, projects and jobs

from executor import runs
from executor.broker.doorbell import ring
from executor.broker.embedded import broker, broker_address
from executor.broker.notices import _client as redis_client
from executor.database import migrate
from executor.models import RunSpec, new_id
from executor.records import history
from executor.runs import Offer, workers
from executor.runs.conditions import RUN
from executor.schemas.run_request import RunRequest
from executor.submission.specification import specify
from secretstore import keyring
from secretstore.database import Database
from secretstore.key_service import KeyAccess

CROWD, PROBE = 10, 9  # secrets of the two projects, by which they are told apart
SLOTS = 2
SLEEPERS = (2, 12)  # slots at work whose memory is compared


def main() -> None:
    options = _options()
    with bench.a_home(options.broker, options.database) as place, contextlib.ExitStack() as ending:
        if not options.broker:
            ending.enter_context(broker(place / "home"))
        if options.database:
            migrate(Database(options.database))
        sealrun = bench.Sealrun(place)
        (sealrun.jobs / "sleep.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
        for name, part in PARTS.items():
            if not options.only or name in options.only:
                print(f"\n{name}")
                part(sealrun, options)


def claim(sealrun: bench.Sealrun, options: argparse.Namespace) -> None:
    """Of a queue that no worker serves; claimed here, and not executed."""
    spec = _spec(sealrun, CROWD, "bench-nobody")
    key_services = keyring.offered(KeyAccess(sealrun.settings.store.keys))
    offer = Offer("bench", sealrun.settings.host, ("bench-nobody",), "landlock", key_services=key_services)
    asked: dict[str, Callable[[str], object]] = {
        "claim": lambda run_id: runs.claim(sealrun.db, run_id, offer, 600),
        **_turns(sealrun, offer),
    }
    waiting: list[str] = []
    figures: dict[str, list[float]] = {name: [] for name in asked}
    for depth in (10, options.count):
        waiting += _crowd(sealrun, spec, depth - len(waiting))
        for name, ask in asked.items():
            series = []
            for number in range(100):
                run_id = runs.accept(sealrun.db, spec, "bench").run_id if name == "claim" else waiting[number % 10]
                began = time.thread_time()
                ask(run_id)
                series.append((time.thread_time() - began) * 1000)
            figures[name].append(statistics.median(series))
    print(f"  {'CPU-ms, p50, with':<32} {'10':>9} {options.count:>9,} waiting")
    for name, (few, many) in figures.items():
        print(f"  {name:<32} {few:>9.2f} {many:>9.2f} {many / few:>6.2f}")
    _cancel(sealrun, CROWD)


def _turns(sealrun: bench.Sealrun, offer: Offer) -> dict[str, Callable[[str], object]]:
    try:
        from executor.runs.turns import turns
    except ImportError:  # a checkout without them
        return {}
    return {"whose turn it is": lambda _: turns(sealrun.db, offer)}


def burst(sealrun: bench.Sealrun, options: argparse.Namespace) -> None:
    """The probes of a project that has nothing else, alone and behind a crowd."""
    spec = _spec(sealrun, CROWD, "sealrun")
    with _worker(sealrun.place, SLOTS):
        for _ in range(3):
            _probe(sealrun)
        alone = [_probe(sealrun) for _ in range(options.probes)]
    for run_id in _crowd(sealrun, spec, options.count):
        ring(sealrun.app, run_id, spec.queue)
    with _worker(sealrun.place, SLOTS):
        first = _over(sealrun)
        began = time.monotonic()
        behind = [_probe(sealrun) for _ in range(options.probes)]
        seconds = time.monotonic() - began
        left = options.count - _over(sealrun)
        rate = (_over(sealrun) - first) / seconds
    for name, series in (("nothing else waits", alone), (f"behind {options.count:,}", behind)):
        p50, p95 = statistics.median(series), sorted(series)[len(series) * 95 // 100]
        shown = f"p50 {p50:>8.1f} ms {p50 / statistics.median(alone):>6.2f}   p95 {p95:>8.1f} ms"
        print(f"  {name:<24} {shown}   longest {max(series):>8.1f} ms")
    print(f"  the crowd went on beside the probes: {rate:.1f} runs a second; {left:,} of it waited at the end")
    _cancel(sealrun, CROWD)


def memory(sealrun: bench.Sealrun, options: argparse.Namespace) -> None:
    """PSS of the worker and of all that it started; the database's and the broker's own count of theirs."""
    slots = {}
    for count in SLEEPERS:
        with _worker(sealrun.place, count) as pid:
            sleeping = [sealrun.submit("sleep.py", secrets=CROWD) for _ in range(count)]
            bench._wait_for(lambda these=sleeping: all(bench.logs.read(sealrun.db, one)[0] for one in these))
            slots[count] = _pss(pid)
            for run_id in sleeping:
                runs.cancel(sealrun.db, run_id, "bench")
            bench._wait_for(
                lambda these=sleeping: all(history.state_of(sealrun.db, one) == "cancelled" for one in these)
            )
    few, many = SLEEPERS
    each = (slots[many] - slots[few]) / (many - few)
    print(
        f"  worker with {few} slots at work {slots[few] / 1e6:.1f} MB, with {many} {slots[many] / 1e6:.1f} MB", end=""
    )
    print(f": {each / 1e6:.2f} MB a slot, its supervisor and the run's own interpreter among it")
    with _worker(sealrun.place, SLOTS) as pid:
        # Two that sleep keep the worker from the rest.
        sleeping = [sealrun.submit("sleep.py", secrets=CROWD) for _ in range(SLOTS)]
        bench._wait_for(lambda: all(bench.logs.read(sealrun.db, one)[0] for one in sleeping))
        spec = _spec(sealrun, CROWD, "sealrun")
        before = (_pss(pid), sealrun.db.size()[0], _broker_bytes(sealrun))
        for run_id in _crowd(sealrun, spec, options.count):
            ring(sealrun.app, run_id, spec.queue)
        time.sleep(5)  # two looks of every duty
        after = (_pss(pid), sealrun.db.size()[0], _broker_bytes(sealrun))
        for name, one, other in zip(("worker", "database", "broker"), before, after, strict=True):
            print(
                f"  {name:<9} {(other - one) / options.count:>8,.0f} bytes for each of {options.count:,} waiting runs"
            )
        _cancel(sealrun, CROWD)


def _spec(sealrun: bench.Sealrun, secrets: int, queue: str) -> RunSpec:
    request = RunRequest(
        target=bench.parse(["stamp.py"]),
        project=sealrun.project(secrets),
        folder=sealrun.jobs,
        bundle=False,
        search_path=os.defpath,
    )
    return RunSpec(**{**specify(sealrun.db, sealrun.settings, request).spec.model_dump(), "queue": queue})


def _crowd(sealrun: bench.Sealrun, spec: RunSpec, count: int) -> list[str]:
    """So many runs that are accepted at one moment: the rows as `accept` writes them, in one transaction."""
    first = runs.accept(sealrun.db, spec, "bench").run_id
    table = RUN
    with sealrun.db.writing() as session:
        row = dict(session.connection().execute(table.select().where(table.c.id == first)).mappings().one())
        more = [{**row, "id": new_id()} for _ in range(count - 1)]
        if more:
            session.connection().execute(table.insert(), more)
    return [first, *(one["id"] for one in more)]


def _probe(sealrun: bench.Sealrun) -> float:
    began = time.time()
    return (sealrun.stamp(sealrun.submit("stamp.py", secrets=PROBE)) - began) * 1000


def _over(sealrun: bench.Sealrun) -> int:
    """How many of the crowd are over."""
    from sqlalchemy import text

    project = _spec(sealrun, CROWD, "sealrun").project_id
    asked = text("SELECT count(*) FROM executor_run WHERE project_id = :project AND state = 'succeeded'")
    with sealrun.db.engine.connect() as connection:
        return int(connection.execute(asked, {"project": project}).scalar_one())


def _cancel(sealrun: bench.Sealrun, secrets: int) -> None:
    project = _spec(sealrun, secrets, "sealrun").project_id
    with sealrun.db.writing() as session:
        runs.cancel_all(session, sealrun.db, project, "bench", "the series is over")


def _pss(pid: int) -> int:
    """Bytes of a process and all of its descendants, each shared page divided among those that share it."""
    total = 0
    for one in (pid, *_descendants(pid)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def _broker_bytes(sealrun: bench.Sealrun) -> int:
    url = sealrun.settings.broker_url or broker_address(sealrun.settings.store.home)
    if not url.startswith("redis"):
        return 0
    with redis_client(url.replace("redis+socket://", "unix://", 1)) as client:
        return int(client.info("memory")["used_memory"])


@contextlib.contextmanager
def _worker(place: Path, slots: int) -> Iterator[int]:
    log = place / f"worker-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "celery", "-A", "executor.celery_app", "worker", "-P", "threads", "-c", str(slots)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "SEALRUN_STOP_GRACE_SECONDS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen([*command, "-l", "WARNING"], stdout=out, stderr=out, cwd=place, env=environ)
        try:
            until = time.monotonic() + 60
            while not any(one.pid == process.pid for one in workers.list_workers(_db(), alive_only=True)):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(log.read_text())
                time.sleep(0.05)
            yield process.pid
        except SystemExit:
            print(log.read_text(errors="replace"), file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def _db() -> Database:
    return bench.open_database(bench.read_here())


PARTS: dict[str, Callable[[Any, argparse.Namespace], None]] = {"claim": claim, "burst": burst, "memory": memory}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=40)
    parser.add_argument("--broker")
    parser.add_argument("--database")
    parser.add_argument("--only", nargs="*", choices=PARTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
