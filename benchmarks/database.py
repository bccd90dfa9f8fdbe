"""What one run's database work costs a worker: statements, round trips, commits and CPU, act by act.

  claim    the run is taken, with a lease
  gate     state, variables, ciphertexts of ten secrets and the receipt
  finish   outcome, the end of the output, receipt
  all      the three of them: a short run's whole work

Each act is done as `executor.worker.dispatch` does it, in this thread, whose CPU time is measured; nothing is run. With
`--beside`, another checkout's code does the same in turns with this one's, each in a process of its own.

    python benchmarks/database.py [--database URL] [--beside CHECKOUT [--beside-database URL]] [--runs 300]
        [--profile]

Without --database it is SQLite. Two checkouts have a database each: their tables may differ. Start it with a virtual
environment's own interpreter.
"""

import argparse
import contextlib
import cProfile
import json
import os
import pstats
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ACTS = ("claim", "gate", "finish")
ROUND = 20  # runs of one side before the other's turn
SECRETS = 10


def main() -> None:
    options = _options()
    if options.serve:
        _serve(options)
        return
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder, contextlib.ExitStack() as ending:
        place = Path(folder)
        trees = {"here": ROOT, **({"beside": options.beside} if options.beside else {})}
        databases = {"here": options.database, "beside": options.beside_database}
        sides = {
            name: ending.enter_context(_side(name, tree, place, databases[name], options))
            for name, tree in trees.items()
        }
        for side in sides.values():
            _ask(side, ROUND)
        spent: dict[str, dict[str, list[float]]] = {name: {act: [] for act in ACTS} for name in sides}
        for _ in range(max(options.runs // ROUND, 1)):
            for name, side in sides.items():
                for act, series in _ask(side, ROUND).items():
                    spent[name][act] += series
        # Last: whoever has listened to an engine has made its statements dearer.
        _print(spent, {name: _ask(side, 0) for name, side in sides.items()})


def _print(spent: dict[str, dict[str, list[float]]], counted: dict[str, Any]) -> None:
    print(f"{'':<8} {'':<8} {'statements':>11} {'round trips':>12} {'commits':>8} {'CPU-ms':>8}")
    for name, acts in spent.items():
        all_of = [0.0, 0.0, 0.0, 0.0]
        for act in ACTS:
            told = [*counted[name][act], statistics.median(acts[act])]
            all_of = [one + more for one, more in zip(all_of, told, strict=True)]
            print(f"{name:<8} {act:<8} {told[0]:>11} {told[1] or '':>12} {told[2]:>8} {told[3]:>8.2f}")
        print(f"{name:<8} {'all':<8} {all_of[0]:>11} {all_of[1] or '':>12} {all_of[2]:>8} {all_of[3]:>8.2f}")


@contextlib.contextmanager
def _side(
    name: str, tree: Path, place: Path, database: str | None, options: argparse.Namespace
) -> Iterator["subprocess.Popen[str]"]:
    """A process with the code of one checkout."""
    words = [sys.executable, __file__, "--serve", "--home", str(place / name)]
    words += ["--database", database] if database else []
    words += ["--profile"] if options.profile else []
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True, env=environ, cwd=tree) as process:
        assert process.stdin is not None
        yield process
        process.stdin.close()
        process.wait(60)


def _ask(side: "subprocess.Popen[str]", runs: int) -> Any:
    """So many runs, each act's CPU-ms; for 0 what one run sends: statements, round trips, commits by act."""
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write(f"{runs}\n")
    side.stdin.flush()
    answer = side.stdout.readline()
    if not answer:
        raise SystemExit("a side has ended")
    return json.loads(answer)


def _serve(options: argparse.Namespace) -> None:
    worker = _Worker(options)
    profile = cProfile.Profile(time.thread_time) if options.profile else None
    for line in sys.stdin:
        asked = int(line)
        if asked == 0:
            print(json.dumps(_counted(worker)), flush=True)
            continue
        spent: dict[str, list[float]] = {act: [] for act in ACTS}
        waiting = [worker.accept() for _ in range(asked)]
        for run_id in waiting:
            for act, do in worker.acts(run_id):
                began = time.thread_time()
                if profile is not None:
                    profile.runcall(do)
                else:
                    do()
                spent[act].append((time.thread_time() - began) * 1000)
        print(json.dumps(spent), flush=True)
    if profile is not None:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(45)


def _counted(worker: "_Worker") -> dict[str, list[int]]:
    """Statements, round trips (PostgreSQL's, as psycopg waits for answers) and commits of one run."""
    from sqlalchemy import event

    counts = [0, 0, 0]

    def counting(which: int) -> Callable[..., None]:
        def count(*_: object) -> None:
            counts[which] += 1

        return count

    statement, commit = counting(0), counting(2)
    event.listen(worker.db.engine, "before_cursor_execute", statement)
    event.listen(worker.db.engine, "commit", commit)
    found = {}
    with _waits(worker.db.dialect, counting(1)):
        for act, do in worker.acts(worker.accept()):
            counts[:] = 0, 0, 0
            do()
            found[act] = list(counts)
    event.remove(worker.db.engine, "before_cursor_execute", statement)
    event.remove(worker.db.engine, "commit", commit)
    return found


_SENDING_NOTHING = ("_rollback_gen", "_commit_gen", "_enter_gen", "_set_autocommit_gen")


@contextlib.contextmanager
def _waits(dialect: str, count: Callable[..., None]) -> Iterator[None]:
    if dialect != "postgresql":
        yield
        return
    import psycopg

    plain, fetching = psycopg.Connection.wait, psycopg.Pipeline._fetch_gen

    def wait(self: Any, act: Any, *arguments: Any, **named: Any) -> Any:
        idle = self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        # In a pipeline it is only waited until a statement is sent. Other acts send nothing where nothing has begun.
        if self._pipeline is None and not (idle and act.__name__ in _SENDING_NOTHING):
            count()
            if idle and not self.autocommit:  # psycopg begins a transaction first, and waits for that
                count()
        return plain(self, act, *arguments, **named)

    def fetch(self: Any, *, flush: bool) -> Any:
        if self.result_queue:
            count()
        return fetching(self, flush=flush)

    psycopg.Connection.wait = wait  # type: ignore[method-assign]  # undone below
    psycopg.Pipeline._fetch_gen = fetch  # type: ignore[method-assign]  # undone below
    try:
        yield
    finally:
        psycopg.Connection.wait = plain  # type: ignore[method-assign]  # as it was
        psycopg.Pipeline._fetch_gen = fetching  # type: ignore[method-assign]  # as it was


class _Worker:
    """What a worker has, of the checkout that is on the path."""

    def __init__(self, options: argparse.Namespace) -> None:
        os.environ["SEALRUN_HOME"] = str(options.home)
        if options.database:
            os.environ["SEALRUN_DATABASE_URL"] = options.database
        from executor.database import migrate, open_database
        from executor.keys.creation import birth
        from executor.runs import Offer
        from executor.settings import read_here
        from secretstore import key_files, keyring, vault
        from secretstore.database import Database
        from secretstore.key_service import KeyAccess
        from secretstore.pins import Pins

        if options.database:
            migrate(Database(options.database))
        settings = read_here()
        self.db = open_database(settings)
        key = Path(settings.store.keys.removeprefix("local:"))
        if not key.exists():
            key_files.create_local_key(key)
        actor = vault.Actor("bench", "bench")
        name = f"bench-{secrets.token_hex(4)}"
        vault.create_project(self.db, name, actor=actor, birth=birth(settings))
        pins = Pins(settings.store.home / "known_keys", self.db.url_shown)
        for number in range(SECRETS):
            value = secrets.token_urlsafe(24).encode()
            vault.put(self.db, name, "default", f"BENCH_{number}", value, actor=actor, pins=pins)
        self.place = vault.get_environment(self.db, name, "default")
        services = keyring.offered(KeyAccess(settings.store.keys))
        self.offer = Offer("bench", "here", ("sealrun",), "namespace", ("full", "none"), key_services=services)

    def accept(self) -> str:
        """A run that waits."""
        from executor import runs
        from executor.models import RunSpec

        spec = RunSpec(
            project_id=self.place.project_id,
            project=self.place.project,
            environment_id=self.place.id,
            environment=self.place.name,
            target={"kind": "file", "path": "job.py", "argv": []},
            source_root="/srv/jobs",
            host="here",
        )
        return runs.accept(self.db, spec, "bench").run_id

    def acts(self, run_id: str) -> Iterator[tuple[str, Callable[[], None]]]:
        """The acts of a run, in order, each to be done before the next is asked for."""
        from executor import runs
        from executor.runs import output
        from executor.runs.grant import read_given
        from executor.schemas.output import Piece
        from secretstore import vault

        taken: Any = None

        def claim() -> None:
            nonlocal taken
            taken = runs.claim(self.db, run_id, self.offer, 30.0)

        def gate() -> None:
            run, lease = taken
            variables: dict[str, str] = {}

            def read(session: Any) -> Any:
                if hasattr(vault, "ask_variables"):
                    configured = vault.ask_variables(session, run.environment_id)
                    given = read_given(session, run)
                else:  # another checkout
                    found = vault.plain_variables(session, run.environment_id)
                    configured, given = (lambda: found), read_given(session, run)
                variables.update(configured() | run.variables)
                return given

            given = runs.pass_gate(self.db, lease, read, rung="namespace", controls=CONTROLS, packages=None)
            assert given.bundle is not None and len(given.bundle.items) == SECRETS

        def finish() -> None:
            now = datetime.now(UTC)
            rows = output.rows(taken[1], [Piece(1, "stdout", now, b"1796000000.123 10\n")])
            outcome = runs.Outcome("succeeded", exit_code=0, opened_at=now, dropped_at=now, metrics=METRICS, rows=rows)
            assert runs.finish(self.db, taken[1], outcome) == "succeeded"

        yield "claim", claim
        yield "gate", gate
        yield "finish", finish


CONTROLS = {f"control_{number}": "in force, as the receipt says it" for number in range(25)}
METRICS = {
    "wall_seconds": 0.041, "cpu_seconds": 0.02, "peak_memory_bytes": 9_000_000, "stdout_kept_bytes": 18,
    "phases": {"setup": 0.003, "gate": 0.004, "open": 0.004, "start": 0.002, "run": 0.03},
}  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--database")
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--beside-database")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
