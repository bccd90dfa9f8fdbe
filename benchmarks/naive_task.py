"""The task `start_latency.py` measures itself against: secrets as an argument, subprocess.run, one commit."""

import os
import sqlite3
import subprocess
import threading

from celery import Celery

app = Celery("naive", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_default_queue="naive",
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)
_local = threading.local()


@app.task
def run_job(number: str, python: str, job: str, values: dict[str, str]) -> None:
    """Run one job and keep its output."""
    ended = subprocess.run(
        [python, job], env={"PATH": os.environ["PATH"], **values}, capture_output=True, text=True, check=False
    )
    db = _database()
    with db:
        db.execute("insert into result values (?, ?, ?, ?)", (number, ended.returncode, ended.stdout, ended.stderr))


def _database() -> sqlite3.Connection:
    """One connection a thread, with the durability sealrun's database has."""
    if not hasattr(_local, "db"):
        _local.db = _open()
    return _local.db


def _open() -> sqlite3.Connection:
    db = sqlite3.connect(os.environ["BENCH_RESULTS"], timeout=30)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table if not exists result (id text primary key, code integer, stdout text, stderr text)")
    return db


_open().close()
