"""A process tree ends as a whole, whatever it did to get away. I8.

Each case runs in a process of its own that is a subreaper, as a supervisor is; its descendants all carry a mark in
their environment, by which the test looks for survivors itself.
"""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox import tree
from tests.executor.conftest import ROOT, open_to_all
from tests.processes import eventually

BEGIN = """
import os, signal, subprocess, sys, time
sys.path[:0] = [sys.argv[1]]
from executor.sandbox import kernel, tree
kernel.become_subreaper()

def run(code, **more):
    "A child that runs Python code and says when it is set up."
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **more)
    assert child.stdout.readline() == "ready\\n"
    return child
"""

TREES = {
    "a plain child": "print('ready', flush=True); import time; time.sleep(600)",
    "a session of its own": "import os, time; os.setsid(); print('ready', flush=True); time.sleep(600)",
    "a daemon": """
import os, time
if os.fork(): os.wait(); print('ready', flush=True); os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.setsid(); time.sleep(600)
""",
    "a daemon whose parent lives": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    time.sleep(600)
os.wait(); print('ready', flush=True); time.sleep(600)
""",
    "deaf to signals": """
import signal, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print('ready', flush=True); time.sleep(600)
""",
    "stopped": """
import os, signal, time
pid = os.fork()
if pid == 0:
    time.sleep(600)
os.kill(pid, signal.SIGSTOP); print('ready', flush=True); time.sleep(600)
""",
    "a wide and deep tree": """
import os, time
for level in range(5):
    if os.fork() == 0: continue
    if os.fork() == 0: continue
    break
else: level = 9
if level == 0: time.sleep(0.2); print('ready', flush=True)
time.sleep(600)
""",
    "starts a new process for each that dies": """
import os, time
def keep(n):
    while True:
        pid = os.fork()
        if pid == 0:
            keep(n - 1) if n else time.sleep(600)
        if n == 3: print('ready', flush=True)
        os.waitpid(pid, 0)
keep(3)
""",
    "hops from process to process": """
import os, time
print('ready', flush=True)
while True:
    if os.fork(): os._exit(0)
    os.setsid()
""",
    "hops behind two names at once": """
import os
print('ready', flush=True)
os.fork()
while True:
    if os.fork(): os._exit(0)
""",
    "many that are orphaned at once": """
import os, time
for _ in range(60):
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        time.sleep(600)
print('ready', flush=True); os._exit(0)
""",
    "threads with children": """
import subprocess, threading, time
def one(): subprocess.Popen(["sleep", "600"]).wait()
threads = [threading.Thread(target=one) for _ in range(3)]
for thread in threads: thread.start()
time.sleep(0.2)
print('ready', flush=True)
""",
}


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the environment of all processes of one test; none of them outlives it."""
    word = f"SEALRUN_TEST_TREE={uuid.uuid4().hex}"
    yield word
    while left := survivors(word):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


def survivors(mark: str) -> list[int]:
    """Processes that carry the mark and are more than zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes()
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, ProcessLookupError):
                continue
            if mark.encode() in environ and state not in "ZX":
                found.append(int(entry))
    return found


def reaper(code: str, mark: str, *arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run a piece of code as a subreaper of its own."""
    name, value = mark.split("=")
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(ROOT), *arguments],
        env={"PATH": "/usr/bin:/bin", name: value},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("code", TREES.values(), ids=TREES.keys())
def test_nothing_of_a_tree_is_left(code: str, mark: str) -> None:
    """I8: when `end_tree` has said so there is no process left, and no zombie either."""
    ended = reaper(
        "run(sys.argv[2])\nstarted = time.monotonic()\nprint(tree.end_tree(), tree.children(os.getpid()))\n"
        "assert time.monotonic() - started < 5",
        mark,
        code,
    )
    assert (ended.stdout, ended.stderr) == ("True []\n", "")
    assert survivors(mark) == []


BOMB = """
import os, time
until = time.monotonic() + 30  # so that a test that fails does not take the machine with it
most = len(os.listdir('/proc')) + int(os.environ['MOST'])
print('ready', flush=True)
while time.monotonic() < until:
    if len(os.listdir('/proc')) > most: time.sleep(0.001)
    elif os.fork() == 0: os.setsid()
"""


@pytest.mark.parametrize("uid", [None, 60616], ids=["listed", "by its user id"])
def test_a_fork_bomb_ends_within_the_patience(mark: str, uid: int | None) -> None:
    """I8: all of it forks whenever there is room, each into a session of its own."""
    if uid is not None and os.geteuid() != 0:
        pytest.skip("only root lends user ids")
    user = "" if uid is None else f", user={uid}, group={uid}, cwd='/', executable='{open_interpreter()}'"
    ended = reaper(
        f"os.environ['MOST'] = '150'\nrun(sys.argv[2]{user})\ntime.sleep(0.1)\n"
        f"print(tree.end_tree(patience=20, uid={uid}))",
        mark,
        BOMB,
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")
    assert survivors(mark) == []


def open_interpreter() -> str:
    """Some Python that every user may execute."""
    for path in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(path) and open_to_all(Path(path)):
            return path
    pytest.skip("no Python that other users may execute")


def test_a_chain_longer_than_pythons_recursion_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each the child of the one before: a shell loop makes it in a second."""
    monkeypatch.setattr(tree, "children", lambda pid: [pid + 1] if pid < 5000 else [])
    assert list(tree.descendants((), 0)) == list(range(1, 5001))


def test_patience_ends_too(mark: str) -> None:
    """A process that cannot be killed holds nobody up for ever: here the signals are lost on their way."""
    ended = reaper(
        "child = run('print(\"ready\", flush=True); import time; time.sleep(600)')\n"
        "tree.send = lambda *_: None\n"
        "started = time.monotonic()\n"
        "print(tree.end_tree(patience=0.3), 0.2 < time.monotonic() - started < 5)\n"
        "child.kill()",
        mark,
    )
    assert (ended.stdout, ended.stderr) == ("False True\n", "")


def test_patience_ends_too_where_there_is_always_one_more(mark: str) -> None:
    """Also while it is still stopping them: a tree that changes faster than it is listed."""
    ended = reaper(
        "number = iter(range(10**9, 10**12))\n"
        "tree.children = lambda _: [next(number)] if _ == os.getpid() else []\n"
        "started = time.monotonic()\n"
        "print(tree.end_tree(patience=0.3), time.monotonic() - started < 5)\n",
        mark,
        timeout=20,
    )
    assert (ended.stdout, ended.stderr) == ("False True\n", "")


def test_spared_children_and_what_descends_from_them_live_on(mark: str) -> None:
    """The zygote ends what a dead supervisor left, not the others' runs; nor does it take their status."""
    ended = reaper(
        'family = \'import subprocess; subprocess.Popen(["sleep", "600"]); print("ready", flush=True); '
        "import time; time.sleep(600)'\n"
        "spared, other = run(family), run(family)\n"
        "before = set(tree.descendants((), spared.pid))\n"
        "print(tree.end_tree(spare=[spared.pid]))\n"
        "print(spared.poll(), before == set(tree.descendants((), spared.pid)), len(before))\n"
        "state = open(f'/proc/{spared.pid}/stat').read().split()[2]\n"
        "print(state)\n"
        "print(tree.end_tree())\n",
        mark,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["True", "None True 1", "S", "True"]
    assert survivors(mark) == []


def test_children_are_found_without_the_kernels_list(mark: str) -> None:
    """A kernel without CONFIG_PROC_CHILDREN: the scan of /proc finds the same."""
    ended = reaper(
        'child = run(\'import os, time; os.fork(); print("ready", flush=True) if os.getppid() == %d else 0; '
        "time.sleep(600)' % os.getpid())\n"
        "print(tree._children_by_scan(os.getpid()) == tree.children(os.getpid()) == [child.pid])\n"
        "print(tree._children_by_scan(child.pid) == tree.children(child.pid) != [])\n"
        "tree.end_tree()",
        mark,
    )
    assert (ended.stdout, ended.stderr) == ("True\nTrue\n", "")


# Sweeping -----------------------------------------------------------------------------------------


def test_a_sweep_finds_a_runs_remains_by_their_home(tmp_path: Path, mark: str) -> None:
    """I8: worker, zygote and supervisor died at once; what still carries the run's HOME goes, and nothing else.

    However far back it stands in the environment.
    """
    name, value = mark.split("=")
    place, other = tmp_path / "r-1", tmp_path / "r-11"
    padding = {f"V{number}": "x" * 100_000 for number in range(3)}
    started = {
        home: subprocess.Popen(["sleep", "600"], env={name: value, **more, "HOME": f"{home}/home"})
        for home, more in ((place, padding), (other, {}))
    }
    try:
        ended = reaper("print(tree.sweep(sys.argv[2], None))", mark, str(place))
        assert (ended.stdout, ended.stderr) == ("1\n", "")
        assert started[place].wait(10) == -9
        assert started[other].poll() is None
        assert reaper("print(tree.sweep(sys.argv[2], None))", mark, str(place)).stdout == "0\n"
    finally:
        for process in started.values():
            process.kill()
            process.wait()


def test_a_sweep_finds_what_a_lent_user_id_still_runs(tmp_path: Path, mark: str, root: None) -> None:
    """I8: with an id of its own nothing gets away by a new environment."""
    name, value = mark.split("=")
    hidden = subprocess.Popen(
        ["setsid", "sleep", "600"], env={name: value, "PATH": "/usr/bin"}, user=60615, group=60615
    )
    try:
        eventually(lambda: survivors(mark), 10, "the process does not start")
        assert reaper("print(tree.sweep(sys.argv[2], None))", mark, str(tmp_path)).stdout == "0\n"
        ended = reaper("print(tree.sweep(sys.argv[2], 60615) > 0)", mark, str(tmp_path))
        assert (ended.stdout, ended.stderr) == ("True\n", "")
        assert hidden.wait(10) == -9
        eventually(lambda: not survivors(mark), 10, "something of it lives")
    finally:
        hidden.kill()
        hidden.wait()


def test_who_reads_from_another_process_is_known() -> None:
    """By standard input alone: who reads what its child prints is its parent, and hears a signal before it."""
    with (
        subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE) as writer,
        subprocess.Popen(["cat"], stdin=writer.stdout) as reader,
    ):
        assert tree.readers([writer.pid, reader.pid]) == {reader.pid}
        assert tree.readers([os.getpid(), writer.pid]) == set()
        writer.kill()
        writer.wait()
        assert tree.readers([writer.pid, reader.pid]) == set()


def test_a_process_of_any_name_is_passed_over() -> None:
    """Where a kernel does not list children: any user's process may have a name that is no text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with open("/proc/self/comm", "wb") as name:
                name.write(b"\xff) R 1\xfe")
            os.write(writer, b"!")
            time.sleep(60)
        finally:
            os._exit(0)
    try:
        os.read(reader, 1)
        assert pid in tree._children_by_scan(os.getpid())
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        for end in (reader, writer):
            os.close(end)
