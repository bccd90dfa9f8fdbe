"""The zygote, from the worker's end: clean, alone, quick, and replaced when it dies."""

import fcntl
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from executor.boundary.plans import SigningKey
from executor.boundary.supervision import Supervision, Zygote
from executor.boundary.wire import Kind, send
from executor.errors import ZygoteFailed
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.key_service import KeyAccess
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.processes import alive, children, eventually, is_alive

CANARY = "canary-in-the-workers-environment"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A zygote of a worker whose environment holds a canary."""
    os.environ["SEALRUN_TEST_CANARY"] = CANARY
    started = Zygote()
    try:
        started.start()
        yield started
    finally:
        del os.environ["SEALRUN_TEST_CANARY"]
        started.stop()


def test_openers_insist_on_the_plans_of_the_signers_it_was_started_with() -> None:
    """Whatever a request says of plans: the zygote has been told before there was any."""
    sealed = SealedItem("s1", "KEY", 1, b"sealed")
    bundle = SealedBundle("shop", "p1", "default", "e1", 1, "f1", "local:0", b"wrapped", (sealed,))
    request = {"access": KeyAccess("local:/nowhere/local.key").to_json(), "bundle": bundle.to_json()}
    said = {}
    for signers in ((), (SigningKey(Ed25519PrivateKey.generate()).signer,)):
        own = Zygote(signers=signers)
        own.start()
        try:
            with own.pair() as supervision:
                send(supervision.opener, Kind.BUNDLE, request)
                answer = supervision.answers.receive(30)
                assert answer is not None and answer.kind is Kind.NOT_OPENED
                said[bool(signers)] = answer.json()["error"]
        finally:
            own.stop()
    assert said == {False: "wrap_broken", True: "plan_refused"}


def own_zygote() -> Zygote:
    started = Zygote()
    started.start()
    return started


def ready(supervision: Supervision) -> bool:
    frame = supervision.frames.receive(30)
    return frame is not None and frame.kind is Kind.READY


def proc(pid: int | None, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def status(pid: int | None) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in proc(pid, "status").decode().splitlines() if ":\t" in line)


# What it is ---------------------------------------------------------------------------------------


def test_it_starts_with_nothing(zygote: Zygote) -> None:
    """I3: an empty environment, a session of its own, the root folder, one thread, none of the worker's descriptors."""
    assert proc(zygote.pid, "environ") == b""
    assert CANARY.encode() not in proc(zygote.pid, "cmdline")
    assert os.getsid(zygote.pid or 0) == zygote.pid != os.getsid(0)
    assert os.readlink(f"/proc/{zygote.pid}/cwd") == "/"
    assert status(zygote.pid)["Threads"] == "1"
    assert status(zygote.pid)["Name"] == "sealrun-zygote"
    links = {fd: os.readlink(f"/proc/{zygote.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote.pid}/fd")}
    beyond = sorted(re.sub(r"\d+", "N", link) for fd, link in links.items() if int(fd) > 2)
    assert beyond == ["pipe:[N]", "pipe:[N]", "socket:[N]"], links
    assert links["0"] == "/dev/null"


def test_it_imports_neither_database_nor_broker(zygote: Zygote) -> None:
    """I1: what it forks can reach neither; their libraries are not even mapped."""
    maps = proc(zygote.pid, "maps").decode()
    assert not re.search(r"sqlalchemy|psycopg|kombu|celery|_sqlite3|redis", maps)


def test_it_does_not_hear_the_terminal(zygote: Zygote) -> None:
    """Ctrl-C, a closed terminal and a polite word are for the worker, which tells it by closing its channel."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(zygote.pid or 0, number)
    with zygote.pair() as supervision:
        assert ready(supervision)


def test_neither_it_nor_its_forks_can_be_read_or_leave_a_core(as_ordinary_user: OrdinaryUser) -> None:
    """I1: also to their own user: /proc gives them to root, and ptrace does not attach."""
    code = """
import os, sys, time
sys.path[:0] = [sys.argv[1]]
from executor.boundary.supervision import Zygote
from executor.sandbox import tree
zygote = Zygote()
zygote.start()
with zygote.pair() as pair:
    assert pair.frames.receive(30).kind.name == "READY"
    until = time.monotonic() + 30
    while len(tree.children(zygote.pid)) < 2:  # The supervisor may be ready before the opener is there.
        assert time.monotonic() < until, "no opener"
        time.sleep(0.01)
    for pid in [zygote.pid, *tree.children(zygote.pid)]:
        for name in ("environ", "mem", "maps"):
            try:
                open(f"/proc/{pid}/{name}", "rb").close()
                print("open:", name)
            except PermissionError:
                pass
        limits = open(f"/proc/{pid}/limits").read()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        print(os.stat(f"/proc/{pid}/environ").st_uid, core.split()[4:6])
zygote.stop()
"""
    ended = as_ordinary_user(code, ROOT)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["0 ['0', '0']"] * 3


# Pairs --------------------------------------------------------------------------------------------


def test_it_forks_a_supervisor_and_an_opener(zygote: Zygote) -> None:
    """Each with its own channel and no other's; both end when the context is left."""
    with zygote.pair() as supervision:
        assert ready(supervision)
        # The supervisor may be ready before the opener is there.
        pair = eventually(lambda: len(found := children(zygote.pid or 0)) == 2 and found, 10, "they are not two")
        assert pair
        names = eventually(
            lambda: (
                (found := sorted(status(pid)["Name"] for pid in pair)) == ["sealrun-opener", "sealrun-superv"] and found
            ),
            10,
            "they do not take their names",
        )
        assert len(names) == 2
        for pid in pair:
            assert proc(pid, "environ") == b""
            beyond = [fd for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]
            assert len(beyond) == 2, "its channel, and the one between the two"
    eventually(lambda: not children(zygote.pid or 0), 10, "a supervisor or an opener stays behind")


def test_the_end_of_a_supervisor_is_told(zygote: Zygote) -> None:
    """Its wait status comes once it is reaped; until then there is none."""
    with zygote.pair() as supervision:
        assert ready(supervision)
        assert supervision.reaped(0.05) is None
        supervision.supervisor.shutdown(socket.SHUT_WR)
        found = supervision.reaped(10)
        assert found is not None and os.WIFEXITED(found) and os.WEXITSTATUS(found) == 1
    with zygote.pair() as supervision:
        assert ready(supervision)
        (pid,) = (pid for pid in children(zygote.pid or 0) if status(pid)["Name"] == "sealrun-superv")
        os.kill(pid, signal.SIGKILL)
        found = supervision.reaped(10)
        assert found is not None and os.WTERMSIG(found) == signal.SIGKILL


def test_an_opener_whose_gate_stays_shut_opens_nothing(zygote: Zygote) -> None:
    """End-of-file instead of a bundle: it ends without a word."""
    with zygote.pair() as supervision:
        supervision.opener.shutdown(socket.SHUT_WR)
        assert supervision.answers.receive(10) is None


def test_an_opener_that_cannot_open_says_why_without_quoting(zygote: Zygote) -> None:
    """I10: one NOT_OPENED frame with a sentence; nothing of what was sent is in it."""
    for request in (
        {"access": {"keys": "nonsense:hunter2"}, "bundle": "{}"},
        {"access": {"keys": "local:/nowhere"}, "bundle": '{"hunter2": 1}'},
    ):
        with zygote.pair() as supervision:
            send(supervision.opener, Kind.BUNDLE, request)
            frame = supervision.answers.receive(10)
            assert frame is not None and frame.kind is Kind.NOT_OPENED
            assert "hunter2" not in frame.payload.decode() and frame.json()["message"]


def test_nonsense_on_a_channel_ends_that_pair_alone(zygote: Zygote) -> None:
    """What is no frame, or not the frame that is due."""
    for nonsense in (b"\xff" * 64, b"\x29\x00\x00\x00\x00", b""):
        with zygote.pair() as supervision:
            assert ready(supervision)
            supervision.supervisor.sendall(nonsense)
            supervision.supervisor.shutdown(socket.SHUT_WR)
            assert supervision.frames.receive(10) is None
            assert supervision.reaped(10) is not None
    with zygote.pair() as supervision:
        assert ready(supervision)


def test_many_threads_ask_at_once(zygote: Zygote) -> None:
    """A pool of slots: each gets a pair of its own, and none of them is mixed up or left over."""
    pid = zygote.pid

    def one(_: int) -> bool:
        with zygote.pair() as supervision:
            return ready(supervision) and supervision.reaped(0) is None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))
    assert zygote.pid == pid
    eventually(lambda: not children(pid or 0), 10, "something stays behind")
    eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 6, 10, "descriptors are left open in the zygote")


# Its end ------------------------------------------------------------------------------------------


def test_a_killed_zygote_is_replaced(zygote: Zygote) -> None:
    """The next pair comes from a new one; what it had forked ends with its worker's channels."""
    own = own_zygote()
    try:
        first = own.pid or 0
        with own.pair() as before:
            assert ready(before)
            forked = children(first)
            os.kill(first, signal.SIGKILL)
            eventually(lambda: not is_alive(first), 10, "it does not die")
            with own.pair() as after:
                assert ready(after)
                assert own.pid not in (None, first)
            assert before.reaped(1) is None, "nobody is left who could know"
        eventually(lambda: not alive(forked), 10, "its forks live on without a worker")
    finally:
        own.stop()


def test_it_ends_with_its_worker() -> None:
    """I8: also with one that was killed: its channel is then closed, and it takes its forks with it."""
    pipes = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            own = own_zygote()
            with own.pair() as supervision:
                ready(supervision)
                pair = eventually(lambda: len(found := children(own.pid or 0)) == 2 and found, 10, "they are not two")
                os.write(pipes[1], f"{own.pid} {' '.join(map(str, pair or []))}".encode())
                time.sleep(600)
        finally:
            os._exit(1)  # not on, into the tests of its parent
    started = [int(pid) for pid in os.read(pipes[0], 1000).split()]
    before = alive(started)
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert len(before) == 3
    eventually(lambda: not alive(started), 15, "something outlives its worker")


def test_stopping_waits_until_it_is_gone() -> None:
    """And a stopped one may be asked again: it is then started anew."""
    own = own_zygote()
    first = own.pid
    own.stop()
    assert not is_alive(first or 0)
    with own.pair() as supervision:
        assert ready(supervision)
    own.stop()


def test_orphans_of_a_dead_supervisor_are_ended(zygote: Zygote) -> None:
    """I8: what a killed supervisor had started becomes the zygote's child, and does not stay; other pairs do."""
    with zygote.pair() as other, zygote.pair() as supervision:
        assert ready(other) and ready(supervision)
        job = {
            "target": {"kind": "command", "argv": ["true"]},
            "python": "",
            "folder": "/",
            "view": {"rung": "process", "readable": [], "writable": ["/nowhere"], "forbidden": [], "uid": None},
            "limits": {},
            "base": {},
        }
        send(supervision.supervisor, Kind.JOB, job)
        found = eventually(
            lambda: [pid for pid in children(zygote.pid or 0) if children(pid)], 10, "no process of the run is prepared"
        )
        waiting = children(found[0])
        os.kill(found[0], signal.SIGKILL)
        assert supervision.reaped(10) is not None
        eventually(lambda: not alive(waiting), 10, "the run's process outlives its supervisor")
        assert other.reaped(0) is None
        send(other.supervisor, Kind.JOB, job)


def test_descriptors_beyond_selects_reach_work() -> None:
    """A worker with thousands of connections: the channels, and the zygote's own end of them, lie beyond 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this process may not open so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while held[-1] < 1100:
            held.append(fcntl.fcntl(held[0], fcntl.F_DUPFD_CLOEXEC, 3))
        own = own_zygote()
        try:
            with own.pair() as supervision:
                assert supervision.supervisor.fileno() > 1023
                assert ready(supervision)
                supervision.supervisor.shutdown(socket.SHUT_WR)
                assert supervision.reaped(10) is not None
        finally:
            own.stop()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_zygote_that_cannot_fork_lives_on(as_ordinary_user: OrdinaryUser) -> None:
    """No process to be had for a moment: the worker sees a pair that does not come up, and the next one does."""
    code = """
import os, resource, sys
sys.path[:0] = [sys.argv[1]]
from executor.boundary.supervision import Zygote
zygote = Zygote()
zygote.start()
before = resource.prlimit(zygote.pid, resource.RLIMIT_NPROC)
resource.prlimit(zygote.pid, resource.RLIMIT_NPROC, (1, before[1]))
pid = zygote.pid
with zygote.pair() as pair:
    print(pair.frames.receive(10))
    print(pair.reaped(10))
resource.prlimit(zygote.pid, resource.RLIMIT_NPROC, before)
with zygote.pair() as pair:
    print(pair.frames.receive(10).kind.name, zygote.pid == pid)
zygote.stop()
"""
    ended = as_ordinary_user(code, ROOT)
    if "PermissionError" in ended.stderr:
        pytest.skip("an ordinary user may not set limits of a process that is not dumpable")
    assert (ended.stdout, ended.stderr) == ("None\nNone\nREADY True\n", "")


def test_too_many_descriptors_on_their_way_are_no_broken_channel(as_ordinary_user: OrdinaryUser) -> None:
    """Somebody of its user keeps as many there as the worker may have: it is told, and its zygote lives."""
    code = """
import errno, os, resource, socket, sys
sys.path[:0] = [sys.argv[1]]
from executor.boundary.supervision import Zygote
from executor.errors import ZygoteFailed
resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
zygote = Zygote()
zygote.start()
pid = zygote.pid
ours, theirs = socket.socketpair()
socket.send_fds(ours, [b"x"], [0] * 200)
try:
    with zygote.pair():
        pass
except OSError as problem:
    print(problem.errno == errno.ETOOMANYREFS, zygote.pid == pid)
try:
    with zygote.resealer():
        pass
except ZygoteFailed:
    print(zygote.pid == pid)
ours.close()
theirs.close()
with zygote.pair() as pair:
    print(pair.frames.receive(10).kind.name, zygote.pid == pid)
zygote.stop()
"""
    ended = as_ordinary_user(code, ROOT)
    assert (ended.stdout, ended.stderr) == ("True True\nTrue\nREADY True\n", "")


def test_a_zygote_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation: told, and nothing is left of it."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ZygoteFailed, match="exit status 1 before it was ready"):
        own_zygote()
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(ZygoteFailed), Zygote().pair():
        pass
