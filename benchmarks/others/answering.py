"""How a peer is driven: a process of the peer's own Python, a line of JSON for each thing asked and answered.

It is started with one argument, a JSON object: `python` and `job` are what to run, with `values` in its environment;
`slots` at once; `broker` is the URL of a Redis, `results` that of a database (see `stored`), `folder` its own.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stored import Results

PATIENCE = 120.0
"""Seconds for one job, or for a burst; only a failure takes so long."""


def asked() -> dict[str, Any]:
    """What it is to do; where its jobs leave their results is in the environment of all that it starts."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    here = os.path.dirname(os.path.abspath(__file__))
    os.environ |= {"BENCH_RESULTS": told["results"], "PYTHONPATH": here}
    return told


def stored_way(told: dict[str, Any], submit: Callable[[list[Any]], object]) -> tuple[Any, Any]:
    """`one` and `burst` of a peer whose jobs call `stored.run_job`; `submit` is given its arguments."""
    results = Results(told["results"])

    def send() -> str:
        number = secrets.token_hex(8)
        submit([number, told["python"], told["job"], told["values"]])
        return number

    def one() -> dict[str, float]:
        began, cpu = time.time(), time.thread_time()
        number = send()
        cpu = time.thread_time() - cpu
        until = time.monotonic() + PATIENCE
        while (out := results.printed(number)) is None:
            in_time(until)
            time.sleep(0.002)
        stamp, end = float(out.split()[0]), time.time()
        return {"start": (stamp - began) * 1000, "end": (end - began) * 1000, "submit_cpu": cpu * 1000}

    def burst(count: int) -> float:
        before, began = results.count(), time.monotonic()
        for _ in range(count):
            send()
        while results.count() < before + count:
            in_time(began + PATIENCE)
            time.sleep(0.005)
        return count / (time.monotonic() - began)

    return one, burst


def in_time(until: float) -> None:
    """Give up once it is too late."""
    if time.monotonic() > until:
        raise SystemExit(f"a job did not end within {PATIENCE:g} seconds")


def answer(
    version: str, one: Callable[[], dict[str, float]], burst: Callable[[int], float], workers: Sequence[int] = ()
) -> None:
    """Say that it is ready, then do what is asked until nobody asks any more."""
    print(json.dumps({"version": version, "workers": list(workers)}), flush=True)
    for line in sys.stdin:
        count = json.loads(line)
        print(json.dumps(burst(count) if count else one()), flush=True)


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """One of its processes, in the log's folder."""
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something of it is ready."""
    late = time.monotonic() + PATIENCE
    while not condition():
        in_time(late)
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Whether its server does."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer_:
            return bool(answer_.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """For its server."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def end(processes: list["subprocess.Popen[bytes]"]) -> None:
    """End what a peer has started, politely first."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
