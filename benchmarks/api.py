"""What the HTTP API costs where there is much: lists and single things, and how soon a follower sees a line.

    python benchmarks/api.py [--database postgresql://…] [--secrets 10000] [--runs 100000] [--followers 100]

  bare        an endpoint of FastAPI's that answers a constant, and one with 100 models, in a process of its own
  list, show  pages of 100 secrets and runs, one run, and the audit, of a `sealrun serve` in a process of its own
  follow      every follower has a run of its own, into which a line is written once a second; from the commit of the
              line to its event at the follower
  memory      of the server, before, while everybody follows, and after

Bare endpoints and ours are asked in turns by one client. Without --database it works in a SQLite file of its own; a
PostgreSQL database has to be one that may be filled.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import httpx2 as httpx
from sqlalchemy import insert

from executor.database import migrate
from executor.keys.creation import birth
from executor.models import LogChunk, Run, RunSpec
from executor.people import accounts, memberships, tokens
from executor.people.principal import INSTALLATION, operator
from executor.settings import read_settings
from executor.submission.standby import own_command
from secretstore import vault
from secretstore.database import Database, utc_now
from secretstore.key_files import create_local_key
from secretstore.models import Secret, new_id

ACTOR = vault.Actor("bench", "bench")
BARE = """
import socket, sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class Item(BaseModel):
    name: str
    environment: str
    version: int
    created_by: str
    at: float

app = FastAPI()
items = [Item(name=f"SECRET_{n}", environment="default", version=1, created_by="ada", at=1.5) for n in range(100)]

@app.get("/one")
def one() -> dict[str, str]:
    return {"status": "ok"}

@app.get("/page")
def page() -> list[Item]:
    return items

taken = socket.socket(fileno=int(sys.argv[1]))
uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[taken])
"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Lists, single things and followers of the HTTP API.")
    parser.add_argument("--database", help="a PostgreSQL database that may be filled (else a SQLite file)")
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--followers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=20, help="for which everybody follows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        environ = {
            "PATH": os.defpath, "HOME": folder, "SEALRUN_HOME": f"{folder}/home",
            "SEALRUN_DATABASE_URL": options.database or f"sqlite:///{folder}/home/sealrun.db",
            "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0",  # nothing is submitted
        }  # fmt: skip
        filled = Filled(environ, options)
        client = httpx.Client(headers=filled.headers, timeout=60)
        with served(environ) as (ours, pid), bare() as beside, client:
            report_requests(client, ours, beside, filled, options.rounds)
            before = memory(pid)
            delays, most = asyncio.run(followed(ours, filled, options, pid))
            after = memory(pid)
        ordered = sorted(delays)
        print(
            f"\n{options.followers} followers, {len(delays):,} lines: p50 {statistics.median(ordered) * 1e3:.0f} ms, "
            f"p95 {ordered[int(len(ordered) * 0.95)] * 1e3:.0f} ms, most {ordered[-1] * 1e3:.0f} ms"
        )
        print(f"memory of the server: {before:.0f} MiB before, {most:.0f} while they follow, {after:.0f} after")


class Filled:
    """A database with a project, its secrets and its runs, and a token for all of it."""

    def __init__(self, environ: dict[str, str], options: argparse.Namespace) -> None:
        settings = read_settings(environ)
        settings.store.home.mkdir(mode=0o700)
        create_local_key(settings.store.key_files[0])
        self.db = Database(settings.store.database_url)
        migrate(self.db)
        self.project = f"bench-{new_id()[:8]}"
        vault.create_project(self.db, self.project, actor=ACTOR, birth=birth(settings))
        self.place = vault.get_environment(self.db, self.project, "default")
        by, name = operator("bench"), f"bench-{new_id()[:8]}"
        accounts.create(self.db, name, service=True, actor=ACTOR)
        memberships.give(self.db, name, "admin", INSTALLATION, actor=ACTOR, by=by)
        token = tokens.create(self.db, name, "t", "admin", INSTALLATION, actor=ACTOR, by=by).token
        self.headers = {"authorization": f"Bearer {token}"}
        self.runs = list(self._runs(options))
        self._secrets(options.secrets)

    def _secrets(self, count: int) -> None:
        given = {
            "project_id": self.place.project_id, "environment_id": self.place.id, "maskable": True,
            "current_version": 1, "last_version": 1, "created_by": "ada", "updated_by": "ada",
        }  # fmt: skip
        with self.db.writing() as session:
            for start in range(0, count, 1_000):
                some = range(start, min(start + 1_000, count))
                session.add_all(Secret(id=new_id(), name=f"SECRET_{number}", **given) for number in some)
                session.flush()

    def _runs(self, options: argparse.Namespace) -> Iterator[str]:
        """The ids of those that are followed; the others are over."""
        now = utc_now()
        spec = RunSpec(
            project_id=self.place.project_id, project=self.project, environment_id=self.place.id, environment="default",
            target={"kind": "command", "argv": ["true"]}, source_root="/srv", host="elsewhere",
        )  # fmt: skip
        given = Run(**spec.model_dump(), created_by="ada", created_at=now, rung_at=now).model_dump()
        with self.db.writing() as session:
            for start in range(0, options.runs, 5_000):
                rows = []
                for number in range(start, min(start + 5_000, options.runs)):
                    live = number < options.followers
                    at = now - timedelta(seconds=options.runs - number)
                    more = {"id": new_id(), "created_at": at, "attempt": 1, "state": "running" if live else "succeeded"}
                    rows.append({**given, **more, "finished_at": None if live else at})
                    if live:
                        yield more["id"]
                session.connection().execute(insert(Run), rows)

    def write(self, sequence: int) -> None:
        """A line for every run that is followed, in a transaction each second: what it says is when that began."""
        with self.db.writing() as session:
            rows = [
                {"run_id": run, "attempt": 1, "sequence": sequence, "stream": "stdout", "at": utc_now(),
                 "packed": False, "data": repr(time.time()).encode()}
                for run in self.runs
            ]  # fmt: skip
            session.connection().execute(insert(LogChunk), rows)


def report_requests(client: httpx.Client, ours: str, beside: str, filled: Filled, rounds: int) -> None:
    """Print p50 and p95 of each kind of request, and how many times that of the bare one beside it."""
    of = f"{ours}/projects/{filled.project}"
    middle = client.get(f"{of}/secrets", params={"limit": 1000}).json()["next"]
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "bare": (f"{beside}/one", {}),
        "bare, 100 items": (f"{beside}/page", {}),
        "health": (f"{ours}/health", {}),
        "list secrets, 100": (f"{of}/secrets", {}),
        "list secrets, 100, later": (f"{of}/secrets", {"cursor": middle}),
        "list runs, 100": (f"{ours}/runs", {"project": filled.project, "limit": 100}),
        "list runs of all, 100": (f"{ours}/runs", {"limit": 100}),
        "show run": (f"{ours}/runs/{filled.runs[0]}", {}),
        "audit, 50": (f"{of}/audit", {"limit": 50}),
    }
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (url, query) in asked.items():
            began = time.perf_counter()
            answer = client.get(url, params=query)
            taken[name].append(time.perf_counter() - began)
            assert answer.status_code == 200, f"{name}: {answer.text[:300]}"
    print(f"{'':<26}{'p50 ms':>9}{'p95 ms':>9}{'p95 / bare':>12}")
    for name, seconds in taken.items():
        base = taken["bare, 100 items" if "100" in name or "50" in name else "bare"]
        p95 = _at(seconds, 0.95)
        print(f"{name:<26}{_at(seconds, 0.5):>9.1f}{p95:>9.1f}{p95 / _at(base, 0.95):>12.1f}")


async def followed(ours: str, filled: Filled, options: argparse.Namespace, pid: int) -> tuple[list[float], float]:
    """How long each line was on its way, and the most memory meanwhile."""
    delays: list[float] = []
    begun = asyncio.Semaphore(0)

    async def follow(run: str) -> None:
        async with client.stream("GET", f"{ours}/runs/{run}/events") as answer:
            begun.release()
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and '"data":"' in line:
                    written = base64.b64decode(line.partition('"data":"')[2].partition('"')[0])
                    delays.append(time.time() - float(written))

    limits = httpx.Limits(max_connections=options.followers)
    async with httpx.AsyncClient(headers=filled.headers, timeout=None, limits=limits) as client:
        tasks = [asyncio.create_task(follow(run)) for run in filled.runs]
        for _ in tasks:
            await begun.acquire()
        most = 0.0
        for sequence in range(1, options.seconds + 1):
            await asyncio.to_thread(filled.write, sequence)
            await asyncio.sleep(1)
            most = max(most, memory(pid))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return delays, most


@contextlib.contextmanager
def served(environ: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The URL of a server's API, and its process."""
    with _process(lambda fd: own_command("serve", "--listen-fd", fd), environ, "/api/v1/health/ready") as (url, pid):
        yield url + "/api/v1", pid


@contextlib.contextmanager
def bare() -> Iterator[str]:
    """The URL of the bare endpoints."""
    with _process(lambda fd: [sys.executable, "-c", BARE, fd], dict(os.environ), "/one") as (url, _):
        yield url


@contextlib.contextmanager
def _process(command: Callable[[str], list[str]], environ: dict[str, str], ready: str) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        known = {**environ, "SEALRUN_LISTEN": address}
        process = subprocess.Popen(command(str(taken.fileno())), env=known, pass_fds=[taken.fileno()])
    try:
        httpx.get(f"http://{address}{ready}", timeout=60).raise_for_status()
        yield f"http://{address}", process.pid
    finally:
        process.terminate()
        process.wait()


def memory(pid: int) -> float:
    """MiB that a process has in memory."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _at(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(len(seconds) * share)] * 1e3


if __name__ == "__main__":
    main()
