"""sealrun as its users have it, for the tests: a home of its own, real worker processes, and words to drive them."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from executor.broker.doorbell import ring
from executor.broker.embedded import broker
from executor.celery_app import make_app
from executor.database import migrate, open_database
from executor.keys.creation import birth
from executor.models import Attempt, RunSpec
from executor.records import history, logs
from executor.runs.plans import DIRECT, Door
from executor.runs.workers import list_workers
from executor.schemas.runs import RunView
from executor.settings import read_settings
from executor.source import bundles, packing
from executor.submission import submit
from secretstore import vault
from secretstore.key_files import create_local_key
from secretstore.pins import Pins
from tests.databases import sqlite_file
from tests.processes import children, descendants, eventually, innermost, is_alive, name, of_run

CHECKOUT = Path(__file__).resolve().parents[1]
ACTOR = vault.Actor("tester", "test")
PATIENCE = 30.0
"""Seconds a test waits for what takes a fraction of one; only a failure takes so long."""

ORDINARY = 61_205
"""The user id of an ordinary account without a name, lent to a worker where the tests run as root."""

WEAKER = {
    "process": [str(CHECKOUT / "tests/no_namespaces.py"), str(CHECKOUT / "tests/no_landlock.py")],
    "landlock": [str(CHECKOUT / "tests/no_namespaces.py")],
    "namespace": [],
}
"""What makes this machine one that can give a rung and no more: launchers of a worker, or of the tests as a whole."""

Target = dict[str, Any]


def file(path: str, *argv: str) -> Target:
    return {"kind": "file", "path": path, "argv": list(argv)}


def module(name: str, *argv: str) -> Target:
    return {"kind": "module", "module": name, "argv": list(argv)}


def function(path: str, name: str, text: Mapping[str, str] = {}, json: Mapping[str, Any] = {}) -> Target:
    return {"kind": "function", "path": path, "function": name, "text": dict(text), "json": dict(json)}


def command(*argv: str) -> Target:
    return {"kind": "command", "argv": list(argv)}


@dataclass(frozen=True)
class Ended:
    """A run that is over, with what it printed."""

    view: RunView
    stdout: str
    stderr: str

    @property
    def how(self) -> tuple[str, str | None, int | None]:
        return self.view.state, self.view.reason, self.view.exit_code


class Worker:
    """A worker process that a test started."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self.log = log
        self.pid = process.pid

    @property
    def zygote(self) -> int:
        (found,) = [pid for pid in children(self.pid) if name(pid) == "sealrun-zygote"]
        return found

    def supervisors(self) -> list[int]:
        return [pid for pid in children(self.zygote) if name(pid) == "sealrun-superv"]

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """End it politely, or at once where it does not listen; nothing it started stays."""
        family = descendants(self.pid)
        for pid in (self.pid, *family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in family:
            if is_alive(pid) and "valkey" not in name(pid) and "redis" not in name(pid):
                eventually_gone(pid)


def eventually_gone(pid: int) -> None:
    """Wait for a process of ours to end, and end it where it does not."""
    try:
        eventually(lambda: not is_alive(pid), 10, f"process {pid} ends")
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        raise


class Rig:
    """One home of sealrun with a database, a broker, jobs to run, and workers."""

    def __init__(
        self,
        folder: Path,
        *,
        broker: str | None = None,
        database: str | None = None,
        tree: Path = CHECKOUT,
        account: int | None = None,
        settings: Mapping[str, str] = {},
    ) -> None:
        self.folder, self.tree, self.account = folder, tree, account
        self.home = folder / "home"
        self.jobs = folder / "jobs"
        self.python = job_python()
        self.queue = "sealrun" if broker is None else f"sealrun-test-{uuid.uuid4().hex[:12]}"
        folder.chmod(0o755)
        self.jobs.mkdir()
        (folder / "user").mkdir(mode=0o700)
        (folder / "stored").mkdir()
        self.environ = {
            "PATH": os.defpath,
            "HOME": str(folder / "user"),
            "LANG": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,  # packages come from a test's own index, and not from this machine's
            "SEALRUN_HOME": str(self.home),
            "SEALRUN_WORKSPACES": str(folder / "runs"),
            "SEALRUN_CACHE": str(folder / "stored/cache"),
            "SEALRUN_TERM_GRACE_SECONDS": "1",
            "SEALRUN_WARM_SECONDS": "0",
            **({"SEALRUN_BROKER_URL": broker} if broker else {}),
            **({"SEALRUN_DATABASE_URL": database} if database else {}),
            **settings,
        }
        self.settings = read_settings(self.environ)
        self.workspaces = self.settings.workspaces
        self.home.mkdir(mode=0o700, exist_ok=True)
        for key_file in self.settings.store.key_files:
            create_local_key(key_file)
        self.db = self._database()
        self.pins = Pins(self.home / "known_keys", self.db.url_shown)
        self.app = make_app(self.settings)
        self.workers: list[Worker] = []
        self._ending = contextlib.ExitStack()

    @property
    def key_file(self) -> Path:
        """The local key file."""
        return self.settings.store.key_files[0]

    def project(self, name: str, secrets: Mapping[str, bytes] = {}, variables: Mapping[str, str] = {}) -> None:
        """Make a project with what belongs to its environment `default`."""
        vault.create_project(self.db, name, actor=ACTOR, birth=birth(self.settings))
        for key, value in secrets.items():
            vault.put(self.db, name, "default", key, value, actor=ACTOR, pins=self.pins)
        for key, text_ in variables.items():
            vault.set_variable(self.db, name, "default", key, text_, actor=ACTOR)

    def job(self, code: str, path: str | None = None) -> str:
        """Write a Python file into the source root and return its path there."""
        path = path or f"job_{hashlib.sha256(code.encode()).hexdigest()[:12]}.py"
        target = self.jobs / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code)
        target.chmod(0o644)
        return path

    def keep_broker(self) -> None:
        """Have the embedded broker running before a worker is."""
        self._ending.enter_context(broker(self.home))

    def start_worker(
        self, *options: str, launcher: Sequence[str] = (), environ: Mapping[str, str] = {}, slots: int = 2
    ) -> Worker:
        """Start `celery worker` and wait until it serves.

        Args:
            options: for celery, beside what every worker of a rig has.
            launcher: a Python script, with its arguments, that becomes the worker: it is given the rest.
            environ: what is in its environment beside the rig's settings.
            slots: runs at a time.
        """
        python = [sys.executable]
        if self.account is not None:
            python = as_ordinary(self.folder, self.account)
            self._hand_over(self.account)
        log = self.folder / f"worker-{len(self.workers)}.log"
        arguments = ["-m", "celery", "-A", "executor.celery_app", "worker", "-P", "threads"]
        arguments += [
            "-c",
            str(slots),
            "-Q",
            self.queue,
            "-n",
            f"w{len(self.workers)}@%h",
            *(options or ("-l", "INFO")),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*python, *launcher, *arguments],
                cwd=self.folder,
                env={**self.environ, "PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1", **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        eventually(lambda: self._appeared(worker), 2 * PATIENCE, "the worker is ready")
        return worker

    def rung(self, worker: Worker) -> str:
        """The rung a worker says it can give."""
        (found,) = [one.rung for one in list_workers(self.db) if one.pid == worker.pid]
        return found

    @property
    def boxed(self) -> bool:
        """Whether the runs of the workers here have process ids of their own."""
        return any(one.rung == "namespace" for one in list_workers(self.db, alive_only=True))

    def submit(self, target: Target, project: str = "shop", door: Door = DIRECT, **asked: Any) -> str:
        """Hand in a run and return its id."""
        spec = self.spec(target, project, **asked)
        return submit.submit(self.db, self.app, spec, ACTOR.name, door).run_id

    def spec(self, target: Target, project: str = "shop", **asked: Any) -> RunSpec:
        """What a run of the jobs here asks for, looked up."""
        environment = vault.get_environment(self.db, project, "default")
        return RunSpec(
            project_id=environment.project_id,
            project=project,
            environment_id=environment.id,
            environment="default",
            target=target,
            **{
                "source_root": str(self.jobs),
                "host": self.settings.host,
                "python": self.python,
                "queue": self.queue,
                **asked,
            },
        )

    def uploaded(self, project: str = "shop") -> dict[str, Any]:
        """Upload the jobs as they are now; what to tell `submit` of a run that any machine may take."""
        packed = packing.pack(packing.listing(self.jobs, self.settings.source_bytes))
        project_id = vault.get_project(self.db, project).id
        return {"bundle": bundles.upload(self.db, project_id, packed), "host": None, "python": None}

    def ring(self, run_id: str) -> bool:
        """Send the message of a run once more."""
        return ring(self.app, run_id, self.queue)

    def run(self, target: Target, project: str = "shop", **asked: Any) -> Ended:
        """Hand in a run and wait for its end."""
        return self.ended(self.submit(target, project, **asked))

    def python_run(self, code: str, *argv: str, **asked: Any) -> Ended:
        """Run some Python code as a file."""
        return self.run(file(self.job(code), *argv), **asked)

    def out_of_time(self, target: Target, begun: Callable[[str], bool], **asked: Any) -> tuple[Ended, float]:
        """Run what goes on until its time is up, and had `begun` by what it printed; and the seconds that it was given.

        A short time, unless it came to nothing in that: nobody knows how long a busy machine takes to begin.
        """
        for seconds in (0.5, 2.0, 8.0, 20.0):
            ended = self.run(target, timeout=seconds, **asked)
            if begun(ended.stdout):
                return ended, seconds
        raise AssertionError(self.told(ended.view.id))

    def ended(self, run_id: str, within: float = PATIENCE) -> Ended:
        """Wait until a run is over."""
        eventually(lambda: self.view(run_id).over, within, lambda: f"the run is over; {self.told(run_id)}")
        return Ended(self.view(run_id), self.printed(run_id, "stdout"), self.printed(run_id, "stderr"))

    def view(self, run_id: str) -> RunView:
        return history.show(self.db, run_id)

    def printed(self, run_id: str, stream: str = "stdout") -> str:
        """What the database has of a stream, as text."""
        return self.printed_bytes(run_id, stream).decode(errors="replace")

    def printed_bytes(self, run_id: str, stream: str = "stdout") -> bytes:
        place, data = logs.Place(), b""
        while True:
            pieces, place = logs.read(self.db, run_id, place)
            if not pieces:
                return data
            data += b"".join(piece.data for piece in pieces if piece.stream == stream)

    def says(self, run_id: str, word: str, within: float = PATIENCE) -> str:
        """Wait until a run has printed a word; returns all it has printed."""
        eventually(
            lambda: word in self.printed(run_id) or self.view(run_id).over,
            within,
            lambda: f"the run prints {word}; {self.told(run_id)}",
        )
        printed = self.printed(run_id)
        assert word in printed, self.told(run_id)
        return printed

    def pids(self, run_id: str, count: int) -> list[int]:
        """The process ids, as this machine has them, that a run prints as `pid NUMBER` lines, once it has so many."""

        def look() -> list[int]:
            lines = self.printed(run_id).splitlines()
            return [int(line.split()[1]) for line in lines if line.startswith("pid ")]

        eventually(lambda: len(look()) >= count or self.view(run_id).over, PATIENCE, lambda: self.told(run_id))
        assert len(look()) == count, self.told(run_id)
        return self.outside(run_id, look())

    def outside(self, run_id: str, numbers: list[int]) -> list[int]:
        """Process ids as this machine has them, of those that a run has told; in a box, of those that live."""
        if not self.boxed:
            return numbers
        known = {innermost(pid): pid for pid in of_run(run_id)}
        return [known[number] for number in numbers if number in known]

    @property
    def refusal(self) -> str:
        """What the kernel says of a file that a run is not given: in a box it is not there."""
        return "No such file or directory" if self.boxed else "Permission denied"

    def told(self, run_id: str) -> str:
        """All there is to say about a run that a test gave up on."""
        printed = [self.printed(run_id, stream) for stream in ("stdout", "stderr")]
        logs_ = [worker.said()[-3000:] for worker in self.workers]
        return "\n".join(map(str, [self.view(run_id), *self.attempts(run_id), *printed, *logs_]))

    def place(self, run_id: str, attempt: int = 1) -> Path:
        """The workspace of an attempt."""
        return self.workspaces / f"{run_id}-{attempt}"

    def let_go(self, run_id: str, attempt: int = 1) -> None:
        """Release a run that waits for the file `go` in its TMPDIR."""
        (self.place(run_id, attempt) / "tmp" / "go").touch()

    def attempts(self, run_id: str) -> list[Attempt]:
        with self.db.reading() as session:
            return list(session.exec(select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)))

    def execute(self, statement: str, **values: Any) -> int:
        """Change rows behind the product's back; returns how many."""
        with self.db.writing() as session:
            return session.connection().execute(text(statement), values).rowcount

    def close(self) -> None:
        """End every worker, and whatever a failed test left of its runs."""
        try:
            for worker in self.workers:
                worker.end()
        finally:
            self._ending.close()
            if self.settings.broker_url is None:
                os.chown(self.home, os.geteuid(), -1)  # it may have been handed over, and we use our own home alone
                with broker(self.home):
                    pass  # the last to let go stops it, where a killed worker could not
            self._delete_queue()
            self.app.close()
            self.db.engine.dispose()

    def _database(self) -> Any:
        if self.settings.store.database_is_default:
            sqlite_file(self.home / "sealrun.db", migrate)
            return open_database(self.settings)
        from secretstore.database import Database

        db = Database(self.settings.store.database_url)
        migrate(db)
        return db

    def _appeared(self, worker: Worker) -> bool:
        if worker.process.poll() is not None:
            raise AssertionError(f"the worker ended with {worker.process.returncode}:\n{worker.said()}")
        with self.db.reading() as session:
            found = session.connection().execute(
                text("SELECT 1 FROM executor_worker WHERE pid = :pid AND stopped_at IS NULL"), {"pid": worker.pid}
            )
            return found.first() is not None

    def _hand_over(self, account: int) -> None:
        if os.geteuid() == 0:
            # Runs of a worker that was killed may be clearing their folders meanwhile.
            inside = (os.path.join(top, name) for top, *names in os.walk(self.folder) for name in chain(*names))
            for path in map(Path, chain([self.folder], inside)):
                if not path.is_relative_to(self.jobs):
                    with contextlib.suppress(FileNotFoundError):
                        os.chown(path, account, account, follow_symlinks=False)

    def _delete_queue(self) -> None:
        if self.settings.broker_url and self.settings.broker_url.startswith("amqp"):
            with self.app.connection_for_write() as connection:
                connection.default_channel.queue_delete(self.queue)
                connection.default_channel.exchange_delete(self.queue)


@contextlib.contextmanager
def rig(**options: Any) -> Iterator[Rig]:
    """A rig that is cleared away at the end."""
    # Not in pytest's folder, which is closed to the user ids a root worker lends; short, for the broker's socket.
    folder = Path(tempfile.mkdtemp(prefix="sealrun-t-", dir="/tmp"))
    try:
        made = Rig(folder, **options)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def job_python() -> str:
    """A Python for the runs that is not the one of the tests, and that every user may start."""
    for candidate in ("/usr/bin/python3", "/usr/local/bin/python3"):
        other = sys.prefix != sys.base_prefix or Path(candidate).resolve() != Path(sys.executable).resolve()
        if os.access(candidate, os.X_OK) and other:
            return candidate
    from executor.python.choice import choose_interpreter

    return choose_interpreter(CHECKOUT, None, os.environ.get("PATH", os.defpath))


def ordinary_account() -> int | None:
    """The account for a worker that is not root: one without a name, or whoever runs these tests."""
    return ORDINARY if os.geteuid() == 0 else None


def as_ordinary(folder: Path, account: int) -> list[str]:
    """The words that start this interpreter as another account; skips where that is not possible.

    Where the interpreter lives in root's home, the worker gets a mount table of its own in which it is open.
    """
    base = Path(sys.base_prefix).resolve()
    if not all(map(_open_to_all, (Path(sys.prefix), CHECKOUT))):
        pytest.skip(f"an account other than root cannot read {sys.prefix} or {CHECKOUT}")
    become = ["setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups", sys.executable]
    if _open_to_all(base):
        return become
    if subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip(f"an account other than root cannot read {base}, and nothing may be mounted here")
    stage = folder / "stage"
    stage.mkdir(exist_ok=True)
    closed = next(place for place in reversed(base.parents) if not place.stat().st_mode & 0o001)
    return ["unshare", "-m", "sh", "-ec", _OPENED, "sh", str(base), str(stage), str(closed), *become]


_OPENED = """
mount --bind "$1" "$2"
mount -t tmpfs -o mode=755 tmpfs "$3"
mkdir -p "$1"
mount --bind "$2" "$1"
umount "$2"
shift 3
exec "$@"
"""


def _open_to_all(path: Path) -> bool:
    real = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in real.parents) and bool(real.stat().st_mode & 0o004)


__all__ = ["Ended", "Rig", "Worker", "command", "file", "function", "module", "rig"]
