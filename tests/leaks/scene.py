"""One tree of code, a worker that runs it, jobs that do their worst with their secrets, and all that is left to see."""

import base64
import compileall
import contextlib
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import redis
from celery.events.event import get_exchange
from kombu import Queue
from sqlalchemy import text

from executor.broker.embedded import broker_address
from secretstore import audit_reading, vault
from secretstore.key_service import KeyPlace
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from tests.leaks.canaries import Canaries
from tests.leaks.evidence import Eavesdropper, Finding, Search, broker_content, files, memory
from tests.processes import arguments, descendants, environ, eventually, name, of_run
from tests.rig import ACTOR, CHECKOUT, PATIENCE, Rig, Target, command, file, function, rig

JOBS = Path(__file__).with_name("jobs")
Patch = Callable[[Path], None]


@dataclass
class Seen:
    """What was found of the canaries, by place, and the marks that prove that a place was really read."""

    findings: set[Finding] = field(default_factory=set)
    marks: dict[str, bool] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    states: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def findings_in(self, *beginnings: str) -> set[Finding]:
        """Those whose place begins so."""
        return {finding for finding in self.findings if finding.place.startswith(beginnings)}


@contextmanager
def tree(patch: Patch | None = None) -> Iterator[tuple[Path, str]]:
    """A copy of the product, changed or not, in a folder with a name to recognise."""
    mark = f"tree-{secrets.token_hex(8)}"
    folder = Path(mkdtemp(prefix="sealrun-t-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        for package in ("secretstore", "executor"):
            shutil.copytree(CHECKOUT / package, folder / mark / package)
        if patch is not None:
            patch(folder / mark)
        # Once and not in each process; what is not patched kept its time and size, and so its byte code.
        compileall.compile_dir(folder / mark, quiet=2)
        yield folder / mark, mark
    finally:
        shutil.rmtree(folder)


def observe(patch: Patch | None = None, canaries: Canaries | None = None) -> Seen:
    """Let everything happen once and look everywhere."""
    seen, canaries = Seen(), canaries or Canaries()
    started = time.time() - 1
    with tree(patch) as (code, mark), rig(tree=code) as made:
        made.keep_broker()
        made.project("shop", canaries.values())
        _connect(made, canaries)
        made.project("plain")
        scene = _Scene(made, canaries, seen, started)
        scene.queue_jobs()
        made.start_worker("-l", "DEBUG", "-E", slots=3)
        scene.finish_jobs()
        scene.look_while_a_run_waits(mark)
        scene.look_afterwards()
        made.workers[0].end()
        scene.look_at_what_is_left()
    return seen


def _connect(made: Rig, canaries: Canaries) -> None:
    """A secret that is a file, sources that become files, and a catalog whose token does not fit into a header."""
    for title, value in canaries.of_files.items():
        vault.put(made.db, "shop", "default", title, value, actor=ACTOR, pins=made.pins, as_file=True)
    lake = {"bucket": "raw", "credentials": {"$secret": "LAKE"}}
    vault.create_connection(made.db, "shop", "default", "source", "lake", "s3", lake, actor=ACTOR)
    ledger = {"url": {"$secret": "DATABASE"}}
    vault.create_connection(made.db, "shop", "default", "source", "ledger", "postgres", ledger, actor=ACTOR)
    main = {"endpoint": "http://127.0.0.1:9", "token": {"$secret": "PLAIN"}}
    vault.create_connection(made.db, "shop", "default", "catalog", "main", "unity-catalog", main, actor=ACTOR)


class _Scene:
    def __init__(self, made: Rig, canaries: Canaries, seen: Seen, started: float) -> None:
        self.made, self.canaries, self.seen, self.started = made, canaries, seen, started
        self.keys = _private_keys(made)
        self.search = Search(canaries.needles() | self.keys)
        self.key_search = Search(self.keys)
        for path in JOBS.iterdir():
            if path.suffix == ".py":
                made.job(path.read_text(), path.name)
        address = broker_address(made.home)
        password, _, path = address.removeprefix("redis+socket://:").partition("@")
        self.client = redis.Redis(unix_socket_path=path, password=password)
        self.ear = Eavesdropper(address)
        self.mark = f"mark-{secrets.token_hex(12)}"
        self.jobs: dict[str, str] = {}

    def queue_jobs(self) -> None:
        """Messages lie in the broker while nobody takes them, and somebody listens to events, as Flower does."""
        with self.made.app.connection_for_write() as connection:
            events = Queue("listening", get_exchange(connection), routing_key="#")
            events(connection.default_channel).declare()
        targets: dict[str, Target] = {
            "prints": file("worst.py", "print"),
            "reports": file("worst.py", "report"),
            "notes": function("worst.py", "noted"),
            "leaves": file("worst.py", "leave"),
            "passes on": file("worst.py", "pass_on"),
            "dies": file("worst.py", "die"),
            "returns": function("worst.py", "returned"),
            "raises": function("worst.py", "raised"),
            "shell": command(
                "bash",
                "-xc",
                'echo "$PLAIN" "$KEY"; printf "%q\\n" "$PLAIN" "$KEY";'
                ' cat "$AWS_SHARED_CREDENTIALS_FILE" "$PGSERVICEFILE"; head -2 "$CERT"; exec ls "/$DATABASE"',
            ),
        }
        for title, target in targets.items():
            self.jobs[title] = self.made.submit(target, variables={"MARK": self.mark})
        # An error that is made of a secret's name: a variable that takes it.
        self.jobs["conflict"] = self.made.submit(file("worst.py", "print"), variables={"PLAIN": self.mark})
        content = broker_content(self.client)
        bodies = _bodies(content)
        self._look("broker, queued", [content, bodies])
        self.seen.marks["broker, queued"] = all(run_id.encode() in bodies for run_id in self.jobs.values())

    def finish_jobs(self) -> None:
        for title, run_id in self.jobs.items():
            ended = self.made.ended(run_id)
            self.seen.states[title] = ended.view.state, ended.view.reason
            self.seen.texts[title] = ended.stdout + ended.stderr
            self._look(f"view of a run that {title}", [repr(ended).encode()])

    def look_while_a_run_waits(self, tree_mark: str) -> None:
        """One run holds its secrets and waits; beside it one without any. Everything else must be clean."""
        made, seen = self.made, self.seen
        (worker,) = made.workers
        holder = made.submit(file("worst.py", "wait"), variables={"MARK": self.mark})
        made.says(holder, "waiting")
        (holding,) = worker.supervisors()
        bystander = made.submit(file("worst.py", "wait"), project="plain", variables={"MARK": self.mark})
        made.says(bystander, "waiting")
        (beside,) = set(worker.supervisors()) - {holding}
        self.client.set("planted", self.mark)
        broker = self.client.info("server")["process_id"]
        (other,) = of_run(bystander)
        ours = set(descendants(beside)) - {other}  # in a box there is its own first process, before the run's
        watched = {
            "worker": worker.pid,
            "zygote": worker.zygote,
            "broker": broker,
            "supervisor of another run": beside,
            "other run": other,
        }
        marks = dict.fromkeys(watched, self.mark) | {"zygote": tree_mark}
        watched |= (boxes := {f"process {pid} beside the other run": pid for pid in ours})
        marks |= dict.fromkeys(boxes, tree_mark)

        def strangers() -> list[str]:
            known = {*watched.values(), *descendants(beside), holding, *descendants(holding)}
            return [name(pid) for pid in set(descendants(worker.pid)) - known]

        # Openers, and what clears up after a run, may still be about to end.
        eventually(lambda: not strangers(), PATIENCE, lambda: f"processes this test does not know: {strangers()}")
        for place, pid in watched.items():
            self._look(f"memory of the {place}, during", memory(pid))
            # In the heap and the mappings beside it, where Python's objects live; not only in argv.
            seen.marks[f"memory of the {place}"] = _holds(marks[place], memory(pid, ("[heap]", "")))
            self._look(f"argv and environment of the {place}", [arguments(pid), repr(environ(pid)).encode()])
        held = self.search.within("the supervisor that holds them", memory(holding))
        seen.marks["canaries in the supervisor that holds them"] = {
            (finding.canary, finding.form) for finding in held
        } >= {(canary, "raw") for canary in ("whole PLAIN", "whole ACCOUNT", "whole DATABASE", "whole KEY", "plain")}
        seen.findings |= self.key_search.within("keys in the memory of a supervisor", memory(holding))
        self._look("argv and environment of the supervisor", [arguments(holding), repr(environ(holding)).encode()])
        seen.marks["no opener stays"] = not [pid for pid in descendants(worker.pid) if name(pid) == "sealrun-opener"]
        gone = [holding, beside, *descendants(holding), *descendants(beside)]
        for run_id in (holder, bystander):
            made.let_go(run_id)
            made.ended(run_id)
        eventually(lambda: not set(gone) & set(descendants(worker.pid)), PATIENCE, "supervisors and runs are gone")
        self.jobs |= {"waits": holder, "waits beside it": bystander}
        for place in ("worker", "zygote", "broker"):
            self._look(f"memory of the {place}, after", memory(watched[place]))

    def look_afterwards(self) -> None:
        """All that is stored while the worker still lives: SQLite's journal has not been folded in yet."""
        made, seen = self.made, self.seen
        eventually(self._linked, PATIENCE, "what runs left waiting is linked")
        for path in sorted(made.home.glob("sealrun.db*")):
            self._look(path.name, [path.read_bytes()])
        seen.marks["sealrun.db-wal"] = _holds(self.mark, [(made.home / "sealrun.db-wal").read_bytes()])
        with made.db.reading() as session:
            tables = session.connection().exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.all():
                rows = session.connection().execute(text(f'SELECT * FROM "{table}"')).all()
                cells = [_bytes(cell) for row in rows for cell in row]
                self._look(f"table {table}", [b"\n".join(cells)])
                seen.marks[f"table {table}"] = bool(cells)
                if table == "secretstore_audit_event":
                    seen.marks[f"table {table} has what runs left waiting"] = b"secrets.open" in cells
        self._look("broker, after", [broker_content(self.client)])
        heard = self.ear.stop()
        self._look("what the broker was told", [heard])
        bodies = _bodies(heard)
        seen.marks["what the broker was told"] = all(run_id.encode() in bodies for run_id in self.jobs.values())
        self._look("broker messages and Celery's events, decoded", [bodies])
        seen.marks["Celery's events"] = b"task-succeeded" in bodies and all(
            one.encode() in bodies for one in self.jobs.values()
        )
        log = made.workers[0].log.read_bytes()
        self._look("worker log", [log])
        seen.marks["worker log"] = all(run_id.encode() in log for run_id in self.jobs.values())

    def _linked(self) -> bool:
        return any(event.action == "secrets.open" for event in audit_reading.list_events(self.made.db, "shop"))

    def look_at_what_is_left(self) -> None:
        """Files: of the workspaces, of the rig, of every folder where something temporary may lie."""
        made, seen = self.made, self.seen
        planted = made.workspaces / "planted"
        planted.write_text(self.mark)
        for folder in (made.folder, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):
            for path, content in files(folder, self.started, self._is_anothers):
                if path != made.key_file:
                    self._look(f"file {path}", [content])
                if path == planted:  # another test's lies beside it
                    seen.marks["files"] = self.mark.encode() in content
        left = sorted(path.name for path in made.workspaces.glob("[!.]*") if path != planted)
        seen.texts["left in the workspaces"] = ", ".join(left)

    def _is_anothers(self, path: str) -> bool:
        """Whether a folder is that of a rig, or of a server, of another test that runs beside this one."""
        theirs = path.startswith(("/tmp/sealrun-t-", "/tmp/sealrun-weed-")) and path.count("/") == 2
        return theirs and path not in (str(self.made.folder), str(self.made.tree.parent))

    def _look(self, place: str, chunks) -> None:  # type: ignore[no-untyped-def]  # Iterable[bytes]
        self.seen.findings |= self.search.within(place, chunks)


def _bytes(cell: object) -> bytes:
    """A cell of a table; where it is compressed, as output is, what it was made from."""
    if not isinstance(cell, bytes):
        return str(cell).encode()
    with contextlib.suppress(zlib.error):
        return zlib.decompress(cell)
    return cell


def _bodies(content: bytes) -> bytes:
    """The bodies of messages, decoded."""
    return b"\n".join(map(base64.b64decode, re.findall(rb'body\\?": \\?"([A-Za-z0-9+/=]+)', content)))


def _holds(mark: str, chunks) -> bool:  # type: ignore[no-untyped-def]  # Iterable[bytes]
    return bool(Search({("mark", "raw"): mark.encode()}).within("", chunks))


def _private_keys(made: Rig) -> dict[tuple[str, str], bytes]:
    """The environment's private key and the key that wraps it, as needles of their own."""
    with made.db.reading() as session:
        environment = vault.get_environment(made.db, "shop", "default")
        row = (
            session.connection()
            .execute(
                text("SELECT wrapped_private_key, fingerprint FROM secretstore_key_pair WHERE environment_id = :id"),
                {"id": environment.id},
            )
            .one()
        )
    context = wrapping_context(KeyPlace("shop", environment.project_id, "default", environment.id), row[1])
    private = LocalKeys(made.key_file).unwrap(row[0], context)
    parts = {"ML-KEM seed": private[1:65], "X25519 scalar": private[65:97], "Ed25519 seed": private[97:129]}
    needles = {}
    for title, part in parts.items():
        needles |= {(title, "raw"): part, (title, "hex"): part.hex().encode()}
    local = made.key_file.read_text().split(":")[-1].strip().encode()
    return needles | {("local key", "base64"): local}
