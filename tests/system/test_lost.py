"""Processes killed or stopped at the worst moments: no process of a run outlives it, no run is lost or runs twice."""

import os
import re
import signal
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import update
from sqlmodel import col

from executor import runs
from executor.models import Run
from tests.processes import alive, children, descendants, eventually, is_alive, name, of_run
from tests.rig import PATIENCE, Rig, Worker, command, file, rig

KEY = b"hunter2-prod-key-5417"
# A program with two daemons of the stubborn kind: sessions of their own, double-forked, deaf to every polite signal.
DAEMONS = """
import os, signal, time
told, tell = os.pipe()
def stubborn():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("pid", os.getpid(), flush=True)
    os.write(tell, b".")
    until = time.monotonic() + 120
    while time.monotonic() < until:
        time.sleep(0.05)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            stubborn()
        os._exit(0)
    os.wait()
    os.read(told, 1)
stubborn()
"""
SECOND_WAITS = """
import os, pathlib, sys, time
if os.environ["HOME"].endswith("-2/home"):
    print("second attempt", flush=True)
    until = time.monotonic() + 60
    while not pathlib.Path(os.environ["TMPDIR"], "go").exists() and time.monotonic() < until:
        time.sleep(0.01)
    sys.exit()
"""
AT_ONCE = 10.0
"""Seconds in which what takes a fraction of one has happened; the deadline at which a supervisor ends its run by itself
is further away than that, at the usual lease."""


@pytest.fixture
def place() -> Iterator[Rig]:
    """A rig of one test alone."""
    with rig() as made:
        made.project("shop", {"API_KEY": KEY})
        made.start_worker()
        yield made


@pytest.fixture
def hasty() -> Iterator[Rig]:
    """The same with the shortest lease there is."""
    with rig(settings={"SEALRUN_LEASE_SECONDS": "3"}) as made:
        made.project("shop", {"API_KEY": KEY})
        made.start_worker()
        yield made


def with_daemons(place: Rig) -> tuple[str, list[int]]:
    """A run that executes, and every process of it."""
    run_id = place.submit(file(place.job(DAEMONS)))
    pids = place.pids(run_id, 3)
    assert set(of_run(run_id)) >= set(pids)
    return run_id, pids


def gone(pids: list[int], run_id: str, within: float = AT_ONCE) -> None:
    """I8: none of them lives, nor does anything else that was started with the run's id."""
    eventually(lambda: not alive(pids) and not of_run(run_id), within, lambda: f"gone: {alive(pids)} {of_run(run_id)}")


def unfinished(worker: Worker) -> set[str]:
    """Messages that a worker has received and not come to the end of, by Celery's own log."""
    said = worker.said()
    return set(re.findall(r"Task executor.execute\[(\S+)\] received", said)) - set(
        re.findall(r"Task executor.execute\[(\S+)\] succeeded", said)
    )


def expire(place: Rig, run_id: str) -> None:
    """The lease of a run that nobody holds any more is over, as it would be some time later."""
    with place.db.writing() as session:
        session.exec(update(Run).where(col(Run.id) == run_id).values(lease_until=place.db.after(-1)))


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


class TestKilled:
    def test_worker(self, place: Rig) -> None:
        """I7, I8: the worker killed: the run's tree is dead at once, and the next worker says what happened."""
        (worker,) = place.workers
        run_id, pids = with_daemons(place)
        zygote = worker.zygote
        kill(worker.pid)
        gone(pids, run_id)
        eventually(lambda: not is_alive(zygote), AT_ONCE, "the zygote ends too")
        expire(place, run_id)
        place.start_worker()
        ended = place.ended(run_id)
        assert ended.how == ("failed", "lost", None)
        assert "may have done part of its work" in str(ended.view.message)
        assert ended.view.receipt is not None and ended.view.receipt.status == "opening"
        assert len(place.attempts(run_id)) == 1

    @pytest.mark.long
    def test_worker_of_a_run_that_may_be_repeated(self, place: Rig) -> None:
        """I7: a run that says it is safe to repeat gets another attempt, and what both printed is kept."""
        (worker,) = place.workers
        code = "import os\nprint('attempt in', os.environ['HOME'])\n" + DAEMONS.replace(
            "import os", "if os.environ['HOME'].endswith('-2/home'): raise SystemExit\nimport os", 1
        )
        run_id = place.submit(file(place.job(code)), retries=9, retry_on=["lost"])
        pids = place.pids(run_id, 3)
        kill(worker.pid)
        gone(pids, run_id)
        expire(place, run_id)
        place.start_worker()
        ended = place.ended(run_id)
        assert ended.how == ("succeeded", None, 0)
        assert [attempt.state for attempt in place.attempts(run_id)] == ["lost", "succeeded"]
        assert ended.stdout.count("attempt in") == 2

    def test_worker_before_the_gate(self, place: Rig) -> None:
        """I7: an attempt lost before its gate is always repeated, and was given nothing."""
        (worker,) = place.workers
        zygote = worker.zygote
        os.kill(zygote, signal.SIGSTOP)
        run_id = place.submit(command("echo", "ran"))
        eventually(lambda: place.attempts(run_id), PATIENCE, "the run is claimed")
        kill(worker.pid)
        os.kill(zygote, signal.SIGCONT)
        expire(place, run_id)
        place.start_worker()
        ended = place.ended(run_id)
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "ran\n")
        first, second = ended.view.attempts
        assert (first.state, first.receipts) == ("lost", ())
        assert second.receipt is not None
        assert (second.state, second.receipt.status) == ("succeeded", "closed")

    def test_supervisor(self, place: Rig) -> None:
        """I4, I8: the supervisor killed: its tree is dead at once, the receipt stands, the worker goes on."""
        (worker,) = place.workers
        run_id, pids = with_daemons(place)
        kill(*worker.supervisors())
        gone(pids, run_id)
        ended = place.ended(run_id)
        assert ended.how == ("failed", "lost", None)
        assert "supervisor" in str(ended.view.message)
        receipt = ended.view.receipt
        assert receipt is not None
        assert receipt.status in ("opening", "closed")
        assert [entry.name for entry in receipt.secrets] == ["API_KEY"]
        assert place.run(command("true")).how == ("succeeded", None, 0)
        eventually(lambda: not place.place(run_id).exists(), PATIENCE, "its workspace is removed")

    def test_zygote(self, place: Rig) -> None:
        """I8: the zygote killed: when the run ends nothing of it stays, and the worker has another zygote."""
        (worker,) = place.workers
        run_id, pids = with_daemons(place)
        first = worker.zygote
        kill(first)
        assert place.run(command("echo", "on")).stdout == "on\n"
        assert worker.zygote != first
        if not place.view(run_id).over:
            runs.cancel(place.db, run_id, "tester")
        gone(pids, run_id)
        assert place.ended(run_id).view.state in ("cancelled", "failed")

    def test_all_three_at_once(self, place: Rig) -> None:
        """I8: with nobody left to see it, the next worker ends what is left and removes its place."""
        (worker,) = place.workers
        run_id, pids = with_daemons(place)
        supervisors = worker.supervisors()
        os.kill(worker.zygote, signal.SIGSTOP)
        for pid in supervisors:
            os.kill(pid, signal.SIGSTOP)
        kill(worker.pid, worker.zygote, *supervisors)
        expire(place, run_id)
        place.start_worker()
        gone(pids, run_id)
        eventually(lambda: not place.place(run_id).exists(), PATIENCE, "its workspace is removed")
        assert place.ended(run_id).how == ("failed", "lost", None)


class TestEnds:
    def test_daemons_end_with_the_run(self, place: Rig) -> None:
        """I8: a run that exits leaves no daemon behind, though daemons hold its pipes open."""
        code = DAEMONS.removesuffix("stubborn()\n") + "print('done')\nraise SystemExit(4)\n"
        run_id = place.submit(file(place.job(code)))
        pids = place.pids(run_id, 2)
        assert place.ended(run_id).how == ("failed", "exit_code", 4)
        gone(pids, run_id)

    def test_cancelled(self, place: Rig) -> None:
        """I8: a cancelled run that ignores TERM is killed after its time of grace, daemons included."""
        run_id, pids = with_daemons(place)
        runs.cancel(place.db, run_id, "tester")
        ended = place.ended(run_id)
        assert (ended.how[:2], ended.view.signal) == (("cancelled", "cancelled"), 9)
        gone(pids, run_id)

    def test_out_of_time(self, place: Rig) -> None:
        """I8: so is a run that is out of time."""
        ended, _ = place.out_of_time(file(place.job(DAEMONS)), lambda printed: printed.count("pid ") == 3)
        assert (ended.how[:2], ended.view.signal) == (("failed", "timed_out"), 9)
        told = [int(line.split()[1]) for line in ended.stdout.splitlines()]
        gone(place.outside(ended.view.id, told), ended.view.id)


class TestStopped:
    def test_worker_that_hangs_beyond_its_lease(self, hasty: Rig) -> None:
        """I6: its supervisor ends the run by itself, another worker takes over, the first wakes and changes nothing."""
        place = hasty
        (first,) = place.workers
        second = place.start_worker()
        code = SECOND_WAITS + DAEMONS
        run_id = place.submit(file(place.job(code)), retries=9, retry_on=["lost"])
        pids = place.pids(run_id, 3)
        (holder,) = [one for one in (first, second) if one.supervisors()]
        with place.db.writing():  # so that it does not stop as the one writer that SQLite has
            os.kill(holder.pid, signal.SIGSTOP)
        eventually(lambda: len(place.attempts(run_id)) > 1 or not alive(pids), PATIENCE, "the run is ended")
        assert not alive(pids), "it was taken over before it was ended"
        place.says(run_id, "second attempt")
        assert place.place(run_id, 1).exists()
        assert unfinished(holder)
        os.kill(holder.pid, signal.SIGCONT)
        # Celery logs the end of the task: only then has the woken worker had its say about the first attempt.
        eventually(lambda: not unfinished(holder), PATIENCE, "the woken worker lets go")
        assert place.view(run_id).state == "running"
        place.let_go(run_id, 2)
        ended = place.ended(run_id)
        assert ended.how == ("succeeded", None, 0)
        assert [attempt.state for attempt in place.attempts(run_id)] == ["lost", "succeeded"]
        eventually(lambda: not list(place.workspaces.glob(f"{run_id}*")), PATIENCE, "both workspaces are removed")


class TestTwoWorkers:
    @pytest.mark.long
    def test_each_run_exactly_once(self, place: Rig) -> None:
        """I6: forty runs, two workers, each message sent twice: a journal that the runs write has each once."""
        journal: list[str] = []

        class Entry(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                journal.append(self.rfile.readline().decode().strip())

        class Journal(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

        second = place.start_worker()
        with Journal(("127.0.0.1", 0), Entry) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            port = server.server_address[1]
            target = command("bash", "-c", f'echo "$SEALRUN_RUN_ID" > /dev/tcp/127.0.0.1/{port}; echo once')
            submitted = [place.submit(target) for _ in range(40)]
            for run_id in submitted:
                place.ring(run_id)
            ended = [place.ended(run_id, within=60) for run_id in submitted]
            eventually(lambda: len(journal) >= len(submitted), PATIENCE, "all that was written is read")
            server.shutdown()
        assert Counter(journal) == Counter(submitted)
        assert {one.stdout for one in ended} == {"once\n"}
        assert {one.view.attempt for one in ended} == {1}
        assert {one.view.worker.partition("@")[0] for one in ended if one.view.worker} == {"w0", "w1"}
        assert not second.supervisors()


def test_helpers_see_what_they_say() -> None:
    """What the tests above conclude from would also tell them of a process that lives."""
    assert is_alive(os.getpid()) and not alive([2**22])
    pid = os.fork()
    if pid == 0:
        os.execve("/bin/sleep", ["sleep", "30"], {"SEALRUN_RUN_ID": "of-this-test"})
    eventually(lambda: of_run("of-this-test") == [pid], 5, "it is seen")
    assert pid in children(os.getpid()) and pid in descendants(os.getpid()) and name(pid) == "sleep"
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid), 5, "a zombie is not alive")
    os.waitpid(pid, 0)
