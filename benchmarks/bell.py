"""What a bell costs: CPU of who rings and of the worker that hears it, per message, and with which settings.

The worker is a Celery worker with sealrun's consumer and task, whose runs are over at once: what is left is the share
of Celery, kombu and the client library. `celery` beside it is an application as Celery makes it, rung by `send_task`.
Ways are taken in turns within one series; times are of the process (utime and stime of /proc), so that other load
hardly matters.

    python benchmarks/bell.py [--rounds 5] [--messages 500] [--only redis rabbitmq embedded]

Redis and RabbitMQ are those of this machine (SEALRUN_TEST_REDIS_URL, SEALRUN_TEST_AMQP_URL, else their usual ports);
embedded is sealrun's own. Start it with a virtual environment's own interpreter.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from executor.broker.application import make_app
from executor.broker.doorbell import TASK, register, ring, ring_all
from executor.broker.embedded import broker, broker_address
from executor.settings import read_settings

QUEUE = "sealrun-bench"
PATIENCE = 120.0
SLOTS = 2
TICK = 1000 / os.sysconf("SC_CLK_TCK")

# The worker's settings beside sealrun's own. Each is measured as the one difference.
WAYS: dict[str, dict[str, Any]] = {
    "celery": {},
    "sealrun": {},
    "rate limits": {"worker_disable_rate_limits": False},
    "prefetch 4 a slot": {"worker_prefetch_multiplier": 4},
    "acknowledged late": {"late": True},
    "events": {"worker_send_task_events": True},
}


def main() -> None:
    options = _options()
    if options.worker:
        work(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory(prefix="sealrun-bell-") as folder:
        home = Path(folder)
        with broker(home):
            brokers = {
                "redis": os.environ.get("SEALRUN_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
                "rabbitmq": os.environ.get("SEALRUN_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//"),
                "embedded": broker_address(home),
            }
            for name, url in brokers.items():
                if not options.only or name in options.only:
                    measure(name, url, home, options.rounds, options.messages)


def measure(name: str, url: str, home: Path, rounds: int, messages: int) -> None:
    """Every way in every round; medians of milliseconds of CPU per message."""
    rung: dict[str, list[float]] = {}
    heard: dict[str, list[float]] = {way: [] for way in WAYS}
    settings = read_settings({"SEALRUN_HOME": str(home), "SEALRUN_BROKER_URL": url})
    app = make_app(settings)
    with contextlib.ExitStack() as ending:
        workers = {way: ending.enter_context(worker(way, url, home, messages)) for way in WAYS}
        for _ in range(rounds):
            for way, process in workers.items():
                ids = [uuid4().hex for _ in range(messages)]
                queue = f"{QUEUE}-{list(WAYS).index(way)}"
                before = spent(process.pid)
                if way == "celery":
                    rung.setdefault("send_task", []).append(_took(lambda ids=ids, q=queue: _send(app, ids, q)))
                elif way == "sealrun":
                    rung.setdefault("ring", []).append(_took(lambda ids=ids, q=queue: [ring(app, i, q) for i in ids]))
                else:
                    rung.setdefault("ring_all", []).append(
                        _took(lambda ids=ids, q=queue: ring_all(app, [(i, q) for i in ids]))
                    )
                assert process.stdout is not None
                if process.stdout.readline() != b"heard\n":
                    raise SystemExit(f"the worker {way} has ended")
                heard[way].append((spent(process.pid) - before) / messages)
        for way in WAYS:
            with contextlib.suppress(Exception), app.connection_for_write() as connection:
                connection.default_channel.queue_delete(f"{QUEUE}-{list(WAYS).index(way)}")
    print(f"\n{name}: CPU-ms a message, medians of {rounds} rounds of {messages}")
    for way, series in rung.items():
        print(f"  rung by {way:<24}{statistics.median(series) / messages:>8.3f}")
    base = statistics.median(heard["sealrun"])
    for way, series in heard.items():
        print(f"  heard by {way:<23}{statistics.median(series):>8.3f}{statistics.median(series) / base:>8.2f}")


@contextlib.contextmanager
def worker(way: str, url: str, home: Path, messages: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker of its own queue; its `heard` lines tell of each round."""
    asked = {"way": way, "url": url, "home": str(home), "messages": messages}
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", json.dumps(asked)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit(f"the worker {way} does not start")
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Counting:
    """A worker's life whose runs are over at once."""

    def __init__(self, messages: int, out: int) -> None:
        self.queues = ()
        self._out = out
        self._left = self._messages = messages

    def execute(self, run_id: str) -> None:
        self._left -= 1
        if not self._left:
            self._left = self._messages
            os.write(self._out, b"heard\n")

    def turn(self) -> None:
        """Nobody asks."""


def work(asked: dict[str, Any]) -> None:
    """The worker's process."""
    from celery import Celery, signals

    out = os.dup(1)
    os.dup2(2, 1)  # Celery prints a banner
    signals.worker_ready.connect(lambda **_: os.write(out, b"ready\n") and None, weak=False)
    way, queue = asked["way"], f"{QUEUE}-{list(WAYS).index(asked['way'])}"
    if way == "celery":
        app = Celery("naive", broker=asked["url"])
        life = Counting(asked["messages"], out)
        app.task(name=TASK)(life.execute)
    else:
        app = make_app(read_settings({"SEALRUN_HOME": asked["home"], "SEALRUN_BROKER_URL": asked["url"]}))
        register(app)
        changed = dict(WAYS[way])
        if changed.pop("late", False):
            app.tasks[TASK].acks_late = True
        app.conf.update(changed)
        app.sealrun_life = Counting(asked["messages"], out)
    app.Worker(queues=[queue], concurrency=SLOTS, pool="threads", hostname=f"{queue}@%h", loglevel="WARNING").start()


def _send(app: Any, ids: list[str], queue: str) -> None:
    for run_id in ids:
        app.send_task(TASK, [run_id], queue=queue, ignore_result=True)


def _took(act: Any) -> float:
    began = time.process_time()
    act()
    return (time.process_time() - began) * 1000


def spent(pid: int) -> float:
    """Milliseconds of CPU of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
