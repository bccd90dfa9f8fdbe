"""What the record costs: linking and verifying a long audit chain, and asking a million receipts who saw a secret.

    python benchmarks/audit.py [--events 1000000] [--receipts 1000000] [--secrets 10000] [--server postgresql://…/postgres]

The chain is made by the product's own linking, so its hashes are right. Verifying runs in a process of its own, whose
peak memory is told. Without --server it works on a SQLite file in a temporary folder; with it, in a database of its own
on that server. Both are removed at the end.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_CHUNK = 50_000
_VERIFY = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from secretstore import audit_reading
from secretstore.database import Database
db = Database(sys.argv[2])
began = time.perf_counter()
found = audit_reading.verify(db, sys.argv[3])
seconds = time.perf_counter() - began
# Not ru_maxrss, which begins with what the parent had.
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
memory = int(peak.split()[1]) / 1024
print(json.dumps({"ok": found.ok, "checked": found.checked, "seconds": seconds, "memory": memory}))
"""


def main() -> None:
    options = _options()
    with _database(options.server) as url:
        from executor import database
        from secretstore.database import Database

        db = Database(url)
        database.migrate(db)
        try:
            print(f"{db.dialect}, Python {sys.version.split()[0]}")
            _audit(db, url, options.events)
            _receipts(db, options.secrets, options.receipts)
        finally:
            db.close()


def _audit(db: Any, url: str, events: int) -> None:
    from secretstore import audit, audit_reading
    from secretstore.models import Project

    with db.writing() as session:
        session.add(
            Project(
                id="id-of-large",
                name="large",
                network="full",
                sandbox_min="process",
                max_running=None,
                created_by="bench",
            )
        )
    for project, count in (("empty", 1), ("small", min(10_000, events)), ("large", events)):
        began, linked = time.perf_counter(), 0.0
        for start in range(0, count, _CHUNK):
            _leave(db, project, start, min(start + _CHUNK, count))
            before = time.perf_counter()
            audit.link_waiting(db)
            linked += time.perf_counter() - before
        if count > 1:
            made = time.perf_counter() - began
            print(
                f"{project}: {count:,} events left in {made - linked:.1f} s, linked at {count / linked:,.0f} a second"
            )
        told = subprocess.run(
            [sys.executable, "-c", _VERIFY, str(ROOT), url, project], capture_output=True, text=True, check=True
        ).stdout
        found = json.loads(told)
        assert found["ok"] and found["checked"] == count, found
        rate = f"{count / found['seconds']:,.0f} rows a second, " if count > 1 else ""
        print(f"{project}: verify {count:,}: {found['seconds']:.2f} s, {rate}peak {found['memory']:.1f} MB")
    _analyse(db)
    print(f"large: newest 50: {_timed(lambda: audit_reading.list_events(db, 'large', limit=50)):.0f} ms")


def _analyse(db: Any) -> None:
    """What PostgreSQL does by itself within minutes of such a change."""
    from sqlalchemy import text

    if db.dialect == "postgresql":
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _leave(db: Any, project: str, start: int, end: int) -> None:
    from sqlalchemy import insert

    from secretstore.models import WaitingAuditEvent

    at = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {
            "project_id": f"id-of-{project}",
            "project": project,
            "at": at + timedelta(seconds=number),
            "actor": "ada@example",
            "origin": "worker w1@example",
            "action": "secrets.open",
            "subject": "default",
            "detail": json.dumps(
                {"attempt": 1, "generation": 1, "phase": "run", "run": f"{number:032x}", "secrets": 10}
            ),
            "outcome": "begun",
        }
        for number in range(start, end)
    ]
    with db.writing() as session:
        session.connection().execute(insert(WaitingAuditEvent), rows)


def _receipts(db: Any, secrets: int, receipts: int) -> None:
    """Each run was given ten secrets; half of the secrets were never given."""
    from sqlalchemy import insert

    from executor.models import Receipt, ReceiptSecret, Run
    from executor.records import secret_uses
    from secretstore import vault
    from secretstore.key_files import create_local_key
    from secretstore.keyring import generate_wrapped
    from secretstore.local_keys import LocalKeys
    from secretstore.models import Secret

    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        key = Path(folder, "local.key")
        create_local_key(key)
        keys, actor = LocalKeys(key), vault.Actor("bench", "bench")
        project = vault.create_project(
            db, "shop", actor=actor, birth=lambda place, generation: generate_wrapped(keys, place, generation)
        )
    environment = vault.get_environment(db, "shop", "default")
    ids = [f"{number:032x}" for number in range(secrets)]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with db.writing() as session:
        session.connection().execute(
            insert(Secret),
            [
                {
                    "id": secret_id, "project_id": project.id, "environment_id": environment.id,
                    "name": f"SECRET_{number:05}", "current_version": 1, "last_version": 1, "maskable": True,
                    "created_by": "bench", "updated_by": "bench", "created_at": at, "updated_at": at,
                }
                for number, secret_id in enumerate(ids)
            ],
        )  # fmt: skip
    used, runs = ids[: secrets // 2], receipts // 10
    for start in range(0, runs, _CHUNK // 10):
        numbers = range(start, min(start + _CHUNK // 10, runs))
        with db.writing() as session:
            execute = session.connection().execute
            execute(insert(Run), [_run(f"{number:032x}", project.id, environment.id, at) for number in numbers])
            execute(
                insert(Receipt),
                [
                    {
                        "run_id": f"{number:032x}", "attempt": 1, "phase": "run", "status": "closed",
                        "environment_id": environment.id, "generation": 1, "fingerprint": "f" * 64,
                        "key_service": "local:bench", "secrets": 10, "opening_at": at, "opened_at": at,
                        "dropped_at": at,
                    }
                    for number in numbers
                ],
            )  # fmt: skip
            execute(
                insert(ReceiptSecret),
                [
                    {
                        "run_id": f"{number:032x}", "attempt": 1, "phase": "run",
                        "secret_id": used[(number * 10 + place) % len(used)], "name": "SECRET",
                        "version": 1 + number % 10, "channel": "environment",
                        "given_at": at + timedelta(seconds=number),
                    }
                    for number in numbers
                    for place in range(10)
                ],
            )  # fmt: skip
    _analyse(db)
    print(f"{secrets:,} secrets, {receipts:,} rows of receipts:")
    print(f"  list_secrets: {_timed(lambda: vault.list_secrets(db, 'shop')):.0f} ms")
    assert len(secret_uses.last_used(db, project.id)) == len(used)
    print(f"  last_used, all of the project: {_timed(lambda: secret_uses.last_used(db, project.id)):.0f} ms")
    print(f"  versions_used: {_timed(lambda: secret_uses.versions_used(db, used[0])):.1f} ms")
    print(f"  runs_given, newest 20: {_timed(lambda: secret_uses.runs_given(db, used[0], 1)):.1f} ms")


def _run(run_id: str, project_id: str, environment_id: str, at: datetime) -> dict[str, Any]:
    return {
        "id": run_id, "project_id": project_id, "project": "shop", "environment_id": environment_id,
        "environment": "default", "target": {"kind": "command", "argv": ["true"]}, "source_root": "/", "variables": {},
        "queue": "sealrun", "host": "bench", "retry_when_lost": False, "state": "succeeded", "attempt": 1,
        "fencing_token": 1, "created_at": at, "created_by": "bench",
    }  # fmt: skip


def _timed(work: Any) -> float:
    """The best of three, in milliseconds."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took) * 1000


@contextlib.contextmanager
def _database(server: str | None) -> Iterator[str]:
    if server is None:
        with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
            yield f"sqlite:///{folder}/bench.db"
        return
    import psycopg

    name = f"sealrun_bench_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")  # type: ignore[arg-type]  # a name of ours
        try:
            yield f"{server.rsplit('/', 1)[0]}/{name}".replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]  # the same


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--server", metavar="URL")
    return parser.parse_args()


if __name__ == "__main__":
    main()
