"""The job as every peer does it: secrets as an argument, subprocess.run, one commit. Standard library alone."""

import os
import sqlite3
import subprocess
import threading
from typing import Any

_local = threading.local()


class Results:
    """One table; a connection of its own with the durability sealrun's database has."""

    def __init__(self, url: str) -> None:
        """`url` is one for SQLAlchemy, of SQLite or PostgreSQL."""
        scheme, _, place = url.partition("://")
        self._mark = "?" if scheme == "sqlite" else "%s"
        self._db: Any
        if scheme == "sqlite":
            self._db = sqlite3.connect(place.removeprefix("/"), timeout=30, isolation_level=None)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
        else:
            import psycopg

            self._db = psycopg.connect(f"postgresql://{place}", autocommit=True)
        self._db.execute(
            "create table if not exists naive_result (id text primary key, code integer, stdout text, stderr text)"
        )

    def keep(self, *row: object) -> None:
        """One row: id, exit code, what it printed, what it complained of; a commit."""
        marks = ", ".join([self._mark] * 4)
        self._db.execute(f"insert into naive_result values ({marks})", row)

    def printed(self, number: str) -> str | None:
        """What a job printed, once it is over."""
        found = self._db.execute(f"select stdout from naive_result where id = {self._mark}", (number,)).fetchone()
        return found and str(found[0])

    def count(self) -> int:
        """How many jobs are over."""
        return int(self._db.execute("select count(*) from naive_result").fetchone()[0])


def run_job(number: str, python: str, job: str, values: dict[str, str]) -> None:
    """Run one job and keep its output; BENCH_RESULTS says where."""
    ended = subprocess.run(
        [python, job], env={"PATH": os.environ["PATH"], **values}, capture_output=True, text=True, check=False
    )
    if not hasattr(_local, "results"):
        _local.results = Results(os.environ["BENCH_RESULTS"])
    _local.results.keep(number, ended.returncode, ended.stdout, ended.stderr)
