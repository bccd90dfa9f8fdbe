"""Workers killed, hung and restarted at random while runs go through: nothing is lost, twice, or untruly shown.

A daily run has fifty runs, `scripts/test --all` two hundred; `scripts/chaos` has more, and another seed each time.
"""

import contextlib
import os
import random
import signal
import socketserver
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from executor.records import history
from executor.schemas.runs import OVER, RunView
from tests.effort import share
from tests.rig import Rig, Worker, file, rig

LEASE = 3  # seconds
RUNS = int(os.environ.get("SEALRUN_CHAOS_RUNS", share(200)))
SEED = int(os.environ.get("SEALRUN_CHAOS_SEED", "4"))
WITHIN = max(260.0, 60.0 + RUNS)
ACTS = RUNS
"""After so many disturbances the rest goes through in peace: a slow machine would else never come to the end."""
LEFT_ALONE = min(RUNS // 16, 12)
"""So few runs are let go through in peace, or the end would take its time."""
LONG = 8.0
"""Seconds that a few runs take: so much longer than a lease that they are taken over while they would still go on."""
SHARES = (87, 11, 2) if RUNS >= 200 else (60, 34, 6)
"""Of a hundred runs, those that take a moment, longer, and seconds; where there are few, each is likelier to be hit."""
HANGS = max(RUNS // 100, 1)
"""So many times the worker of such a run hangs as soon as it has begun, until long after its lease is over."""

# Each process of a run keeps a line to the journal and writes which attempt it is, a word, and what the clock says.
JOB = """
import os, socket, sys, time
port, seconds, daemons, status = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
attempt = os.path.basename(os.path.dirname(os.environ["HOME"]))

def journal(until, word):
    with socket.create_connection(("127.0.0.1", port)) as line:
        while True:
            line.sendall(f"{attempt} {word} {time.time()}\\n".encode())
            if time.monotonic() >= until:
                break
            word = "goes on"
            time.sleep(0.04)

for _ in range(daemons):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            journal(time.monotonic() + 60, "goes on")
        os._exit(0)
    os.wait()
journal(time.monotonic() + seconds, "begins")
print("x" * 20000, "done", flush=True)
journal(0, "ends")
sys.exit(status)
"""


@dataclass(frozen=True)
class Asked:
    """A run as the test wants it."""

    seconds: float
    daemons: int
    status: int
    safe: bool


@dataclass
class Journal:
    """What the runs wrote: moments of each attempt's code, by run and number, and those of its last act."""

    moments: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def write(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            return  # its writer was killed in the middle
        attempt, _, rest = line.decode().strip().partition(" ")
        run_id, _, number = attempt.rpartition("-")
        word, _, moment = rest.rpartition(" ")
        self.moments[run_id, int(number)].append(float(moment))
        if word == "ends":
            self.ends[run_id].append(float(moment))


@contextlib.contextmanager
def journal() -> Iterator[tuple[Journal, int]]:
    """A journal and the port it is written at."""
    kept = Journal()

    class Line(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionResetError):
                for line in self.rfile:
                    kept.write(line)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 256

    with Server(("127.0.0.1", 0), Line) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield kept, server.server_address[1]
        server.shutdown()


class Observer:
    """Looks at the listing all the time, and notes what it says of a run when that changes."""

    def __init__(self, place: Rig, asked: dict[str, Asked]) -> None:
        self._place, self._asked = place, asked
        self._latest: dict[str, tuple[str, int]] = dict.fromkeys(asked, ("pending", 0))
        self.untrue: list[str] = []
        self.left = len(asked)
        self.begun: list[str] = []

    def look(self) -> None:
        """One listing."""
        views = history.list_runs(self._place.db, limit=len(self._asked))
        assert len(views) == len(self._asked)
        for view in views:
            before, now = self._latest[view.id], (view.state, view.attempt)
            if now != before and not self._legal(view, *before):
                self.untrue.append(f"{view.id}: from {before} to {now}")
            if now != before and view.state == "running" and self._asked[view.id].seconds == LONG:
                self.begun.append(view.id)
            self._latest[view.id] = now
        self.left = sum(not view.over for view in views)

    def _legal(self, view: RunView, state: str, attempt: int) -> bool:
        if state in OVER or view.attempt < attempt:
            return False
        again = self._asked[view.id].safe
        # Between two looks an attempt may have begun and been lost; past its gate only where that is allowed.
        return state != "running" or view.attempt == attempt or again


def asked(chance: random.Random, number: int) -> Asked:
    """Most are short; a few take some seconds, leave daemons, or fail by themselves."""
    seconds = chance.choices((chance.uniform(0, 0.2), chance.uniform(0.2, 1), chance.uniform(1, 5)), SHARES)[0]
    if number % (RUNS // (2 * HANGS)) == 5:
        return Asked(LONG, 1, 0, safe=True)
    return Asked(seconds, chance.choice((0, 0, 0, 1, 2)), chance.choice((0,) * 9 + (3,)), chance.random() < 0.6)


class Evil:
    """Something terrible happens to a worker or a process of it, again and again; there are soon two workers again."""

    def __init__(self, place: Rig, chance: random.Random) -> None:
        self._place, self._chance = place, chance
        self._able = list(place.workers)
        self._repairs: list[threading.Thread] = []
        self._hangs = HANGS
        self.done: Counter[str] = Counter()

    def act(self) -> bool:
        """One disturbance of a worker that is able to work; False where there is none just now."""
        if not self._able:
            return False
        victim = self._chance.choice(self._able)
        what = self._chance.choices(("worker", "zygote", "supervisor", "hangs"), (3, 1, 5, 1))[0]
        self.done[what] += 1
        if what == "worker":
            self._strike(victim, signal.SIGKILL, self._replace, self._chance.uniform(0, 1))
        elif what == "hangs":
            self._strike(victim, signal.SIGSTOP, self._wake, self._chance.uniform(0, 2))
        else:
            with contextlib.suppress(ProcessLookupError, ValueError):  # it is just being replaced, or has just ended
                for pid in [victim.zygote] if what == "zygote" else victim.supervisors()[:1]:
                    os.kill(pid, signal.SIGKILL)
        return True

    def hang_with(self, run_id: str) -> None:
        """The worker of this run hangs, until another has long taken the run over."""
        holder = next((one.worker for one in reversed(self._place.attempts(run_id)) if one.state == "running"), "")
        for worker in self._able if self._hangs else ():
            if holder.startswith(f"w{self._place.workers.index(worker)}@"):
                self._hangs -= 1
                self.done["hangs long"] += 1
                self._strike(worker, signal.SIGSTOP, self._wake, 3 * LEASE)
                return

    def _strike(self, victim: Worker, blow: int, repair: Callable[[Worker, float], None], after: float) -> None:
        self._able.remove(victim)
        os.kill(victim.pid, blow)
        repairing = threading.Thread(target=repair, args=(victim, after))
        repairing.start()
        self._repairs.append(repairing)

    def end(self) -> None:
        """Wait until all is well."""
        for repair in self._repairs:
            repair.join(60)

    def _replace(self, victim: Worker, after: float) -> None:
        victim.process.wait()
        time.sleep(after)
        self._able.append(self._place.start_worker(slots=4))

    def _wake(self, victim: Worker, after: float) -> None:
        time.sleep(after)
        os.kill(victim.pid, signal.SIGCONT)
        self._able.append(victim)


@pytest.fixture
def place(redis_database: str, postgres_database: str) -> Iterator[Rig]:
    """For two workers on one database."""
    with rig(broker=redis_database, database=postgres_database, settings={"SEALRUN_LEASE_SECONDS": str(LEASE)}) as made:
        made.project("shop", {"API_KEY": b"hunter2-prod-key-5417"})
        yield made


def test_two_workers_in_chaos(place: Rig) -> None:
    """I6, I7, I8: each run ends once and truly; no attempt's code runs once its lease is another's or it is over."""
    chance = random.Random(SEED)
    job = file(place.job(JOB))
    with journal() as (written, port):
        wanted: dict[str, Asked] = {}
        for number in range(RUNS):
            one = asked(chance, number)
            target = {**job, "argv": [str(port), f"{one.seconds:.3f}", str(one.daemons), str(one.status)]}
            retries = {"retries": 9, "retry_on": ["lost"]} if one.safe else {}
            wanted[place.submit(target, **retries)] = one
        for _ in range(2):  # not before: a slow machine could be done with most runs by then
            place.start_worker(slots=4)
        observer = Observer(place, wanted)
        done = disturbed(place, chance, observer)
        views = {run_id: history.show(place.db, run_id) for run_id in wanted}
    assert observer.left == 0, f"{observer.left} of {RUNS} runs are not over; seed {SEED}, {done}"
    assert observer.untrue == []
    for run_id, view in views.items():
        assert ends_once(view, wanted[run_id]), f"seed {SEED}: {view}"
        keeps_its_time(view, written)
        if view.state == "succeeded":
            assert place.printed(run_id).count("done\n") >= 1, f"seed {SEED}: {view}"
    lost = sum(attempt.reason == "lost" for view in views.values() for attempt in view.attempts)
    print(f"seed {SEED}: {RUNS} runs, {lost} lost attempts, {done}")
    assert lost > HANGS, f"it was not chaos: {done}"


def disturbed(place: Rig, chance: random.Random, observer: Observer) -> Counter[str]:
    """Disturb the workers until most runs are over, and wait for the rest; what happened."""
    evil = Evil(place, chance)
    until, next_at, next_left = time.monotonic() + WITHIN, time.monotonic(), RUNS
    try:
        while observer.left and time.monotonic() < until:
            observer.look()
            for run_id in observer.begun:
                evil.hang_with(run_id)
            observer.begun.clear()
            # After a while, or, on a fast machine, after so many runs.
            due = time.monotonic() > next_at or observer.left < next_left
            more = observer.left > LEFT_ALONE and sum(evil.done.values()) < ACTS
            if due and more and evil.act():
                next_at, next_left = time.monotonic() + chance.uniform(0.5, 2.5), observer.left - RUNS // 20
            time.sleep(0.1)
    finally:
        evil.end()
    return evil.done


def ends_once(view: RunView, one: Asked) -> bool:
    """Its attempts before the last were lost, the last has the run's outcome, and that is one it can have had."""
    *before, last = view.attempts
    lost_before_gate = [attempt for attempt in before if attempt.started_at is None]
    outcome = (last.state, last.reason, last.exit_code) == (view.state, view.reason, view.exit_code)
    own = ("failed", "exit_code", 3) if one.status else ("succeeded", None, 0)
    lost = ("failed", "lost", None)
    return (
        outcome
        and all(attempt.state == "lost" for attempt in before)
        and (one.safe or before == lost_before_gate)
        and view.retried == len(before) - len(lost_before_gate)
        and (view.state, view.reason, view.exit_code) in ((own,) if one.safe else (own, lost))
    )


def keeps_its_time(view: RunView, written: Journal) -> None:
    """No code of an attempt runs before its gate, nor after its end: only then can the run be another's, or over."""
    for attempt in view.attempts:
        moments = written.moments.get((view.id, attempt.number), [])
        if moments:
            assert attempt.started_at is not None and min(moments) > attempt.started_at.timestamp(), view
            assert attempt.finished_at is not None and max(moments) < attempt.finished_at.timestamp(), (
                f"seed {SEED}: attempt {attempt.number} went on: {view}"
            )
    for earlier, later in pairwise(view.attempts):
        assert earlier.finished_at is not None and earlier.finished_at <= later.claimed_at, view
    assert view.state == "failed" or written.ends[view.id], f"it has succeeded and did not end: {view}"
    known = {(view.id, attempt.number) for attempt in view.attempts}
    assert {key for key in written.moments if key[0] == view.id} <= known


def test_the_journal_would_show_it() -> None:
    """What the test above concludes from also tells of an attempt that goes on."""
    written = Journal()
    for line in b"abc-1 begins 10.5\nabc-1 goes on 11.0\nabc-2 begins 12.0\nabc-2 ends 12.5\nabc-2".splitlines(True):
        written.write(line)
    assert written.moments == {("abc", 1): [10.5, 11.0], ("abc", 2): [12.0, 12.5]}
    assert written.ends == {"abc": [12.5]}
