"""What is kept of a run beside its outcome: limits on what it prints, metrics, and how it is told to end."""

import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from executor import runs
from executor.cli.shown import verdict
from tests.processes import eventually
from tests.rig import Rig, command, function, rig

KEY = b"hunter2-prod-key-5417"
SETTINGS = {"SEALRUN_TERM_GRACE_SECONDS": "4"}
ENDLESS = "import os\nwhile True: os.write(1, (b'x' * 99 + b'\\n') * 600)\n"
FLOOD = (
    "import os, sys\n"
    "line = b'x' * 99 + b'\\n'\n"
    "for _ in range(100): os.write(1, line * 5000)\n"
    "sys.exit('the last words')\n"
)


@pytest.fixture(scope="module")
def place() -> Iterator[Rig]:
    with rig(settings=SETTINGS) as made:
        made.project("shop", {"API_KEY": KEY})
        made.start_worker()
        yield made


class TestOutput:
    def test_a_flood_is_kept_whole(self, place: Rig) -> None:
        """I7: it is slowed where it has to be, and nothing is dropped, of lines of any length."""
        ended = place.python_run(
            "import sys\n"
            "for number in range(200_000): print(f'{number:079}')\n"
            "print('x' * 3_000_000)\n"
            "sys.exit('the last words')\n"
        )
        assert ended.how == ("failed", "exit_code", 1)
        assert ended.stderr == "the last words\n"
        lines = ended.stdout.splitlines()
        assert lines == [f"{number:079}" for number in range(200_000)] + ["x" * 3_000_000]
        used = ended.view.metrics
        assert used is not None and (used["stdout_kept_bytes"], used["stdout_left_out_bytes"]) == (19_000_001, 0)

    def test_a_run_that_prints_more_than_is_kept_is_ended(self, place: Rig) -> None:
        """Whoever writes it to a file is told by the exit code that it is not whole, and by its reason why."""
        ended = place.python_run(ENDLESS, kept_bytes=2 << 20)
        assert ended.how[:2] == ("failed", "output_limit") and verdict.exit_code(ended.view) == 1
        assert "printed more than the 2 MiB that its project keeps" in str(ended.view.message)
        marks = [line for line in ended.stdout.splitlines() if line != "x" * 99]
        assert marks[0] == "sealrun: the output limit of 2 MiB is reached: the run is ended"
        short = place.python_run("print('y' * 3_000_000)", kept_bytes=2 << 20)
        assert short.how[:2] == ("failed", "output_limit")

    def test_one_that_may_go_on_does(self, place: Rig) -> None:
        """What is beyond is dropped, which is told at its end, and the other stream has room."""
        ended = place.python_run(FLOOD, kept_bytes=2 << 20, output_limit="drop")
        assert ended.how == ("failed", "exit_code", 1)
        assert ended.stderr == "the last words\n"
        marks = [line for line in ended.stdout.splitlines() if line != "x" * 99]
        assert marks[0] == "sealrun: the output limit of 2 MiB is reached: the rest of this stream is not kept"
        assert len(marks) == 2 and marks[1].endswith("bytes were left out at the end of this stream")
        assert len(ended.stdout) < 2 << 20
        used = ended.view.metrics
        assert used is not None
        assert (used["stdout_bytes"], used["stderr_kept_bytes"], used["stderr_left_out_bytes"]) == (50_000_000, 15, 0)
        assert used["stdout_kept_bytes"] + used["stdout_left_out_bytes"] == 50_000_000

    def test_pieces_of_a_stream_are_stored_together(self, place: Rig) -> None:
        """A thousand small writes are no thousand rows."""
        ended = place.python_run("import sys\nfor number in range(2000): print(number, flush=True)\n")
        assert ended.stdout.splitlines() == [str(number) for number in range(2000)]
        rows = place.execute("UPDATE executor_log_chunk SET stream = stream WHERE run_id = :run", run=ended.view.id)
        assert rows < 200


class TestMetrics:
    def test_what_a_run_used(self, place: Rig) -> None:
        """Times, memory and bytes of the whole tree, phases that were, and samples while it went on."""
        ended = place.python_run(
            "import os, subprocess, sys, time\n"
            "burn = 'import time\\nwhile time.process_time() < 0.3: pass'\n"
            "subprocess.run([sys.executable, '-c', burn], check=True)\n"
            "held = bytearray(50 << 20)\n"
            "print('done')\n"
            "until = time.monotonic() + 1.5\n"
            "while time.monotonic() < until: time.sleep(0.05)\n"
        )
        used = ended.view.metrics
        assert ended.view.state == "succeeded" and used is not None
        assert used["cpu_user_seconds"] + used["cpu_system_seconds"] >= 0.3
        assert used["wall_seconds"] >= 1.5 and used["peak_memory_bytes"] >= 50 << 20
        assert list(used["phases"]) == ["queued", "setup", "gate", "start", "run", "drain"]
        assert all(seconds >= 0 for seconds in used["phases"].values())
        (sample, *_) = ended.view.samples
        assert sample.cpu_seconds > 0 and sample.memory_bytes > 0
        assert ended.view.attempts[0].metrics == used

    def test_what_a_run_reports(self, place: Rig) -> None:
        """I5: name, unit and labels are masked, a number that is a secret is left out, and what is bad is told."""
        ended = place.python_run(
            "import json, os\n"
            "key = os.environ['API_KEY']\n"
            "with open(os.environ['SEALRUN_METRICS'], 'a') as out:\n"
            "    metric = {'name': key, 'value': 12, 'unit': key, 'labels': {'table': key, key: 'y'}}\n"
            "    print(json.dumps(metric), file=out)\n"
            "    print('{', key, file=out)\n"
            '    print(\'{"name": "last", "value": 0.5}\', end=\'\', file=out)\n'
        )
        assert [(one.name, one.value, one.unit, one.labels) for one in ended.view.reported] == [
            ("***", 12.0, "***", {"table": "***", "***": "y"}),
            ("last", 0.5, None, None),
        ]
        assert ended.stderr == "sealrun: not all of SEALRUN_METRICS was kept: line 2 is not JSON\n"
        assert KEY.decode() not in str(verdict.document(ended.view))

    def test_a_note_and_causes(self, place: Rig) -> None:
        """I5: keys in the place of a value that is no JSON; every text of an exception and of what it came from."""
        path = place.job(
            "import os\n"
            "key = os.environ['API_KEY']\n"
            "def odd(): return {key: object()}\n"
            "def raises():\n"
            "    try:\n"
            "        raise KeyError(key)\n"
            "    except KeyError as error:\n"
            "        raise type(f'Odd {key}', (Exception,), {})(key) from error\n"
        )
        ended = place.run(function(path, "odd"))
        assert ended.how == ("succeeded", None, 0)
        assert ended.view.note is not None and '$["***"] is an object' in ended.view.note
        ended = place.run(function(path, "raises"))
        assert ended.how == ("failed", "exception", 1) and ended.view.problem is not None
        assert [one.relation for one in ended.view.problem.causes] == ["cause"]
        said = str(verdict.document(ended.view)) + ended.stderr
        assert KEY.decode() not in said and "KeyError: '***'" in said


class TestMemory:
    def test_a_memory_error(self, place: Rig) -> None:
        """A Python target that ran into its own limit says so, with its exit code."""
        ended = place.python_run(
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))\n"
            "held = []\n"
            "while True: held.append(bytearray(1 << 20))\n"
        )
        assert (ended.how, verdict.exit_code(ended.view)) == (("failed", "out_of_memory", 1), 1)
        assert ended.view.message is not None and "ran out of memory; it had" in ended.view.message
        assert ended.stderr.endswith("MemoryError\n")

    def test_a_kill_of_another_kind(self, place: Rig) -> None:
        """SIGKILL alone is no lack of memory."""
        ended = place.python_run("import os\nos.kill(os.getpid(), 9)\n")
        assert (ended.view.reason, ended.view.signal, verdict.exit_code(ended.view)) == ("signal", 9, 137)

    @pytest.mark.long
    def test_the_kernel_ends_what_takes_too_much(self) -> None:
        """A real kill in a real group: named as such, whoever in the tree it met."""
        with memory_group(400 << 20) as group, rig() as made:
            made.project("shop")
            script = made.folder / "join.py"
            script.write_text(
                f"import os, sys\nopen('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
                "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
            )
            made.start_worker(launcher=[str(script)])
            path = made.job("held = []\nwhile True: held.append(b'x' * (4 << 20))\n")
            ended = made.python_run((made.jobs / path).read_text())
            assert (ended.view.reason, ended.view.signal, verdict.exit_code(ended.view)) == ("out_of_memory", 9, 137)
            assert ended.view.message is not None and "ran out of memory: the kernel ended it" in ended.view.message
            ended = made.run(command("sh", "-c", f"{made.python} {path}; exit $?"))
            assert (ended.how, verdict.exit_code(ended.view)) == (("failed", "out_of_memory", 137), 137)


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A group of processes that may have so many bytes; skips where none can be made."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root, f"sealrun-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit))
        except OSError:
            group.rmdir()
            continue
        break
    else:
        pytest.skip("no group with a limit on memory can be made here")
    try:
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), 10, "the group is empty")
        group.rmdir()


DEAF = """
import signal, sys, time
def hear(number, frame):
    print(signal.Signals(number).name, flush=True)
    if "{last}" == signal.Signals(number).name:
        time.sleep(0.1)
        print("cleaned up")
        sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, hear)
print("ready", flush=True)
while True: time.sleep(60)
"""


SAVES = """
import os, signal, sys, time
parent = os.getppid()
def save(number, frame):
    print("stopping", flush=True)
    while os.getppid() == parent: time.sleep(0.01)
    print("saved", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True: time.sleep(60)
"""


class TestEnding:
    @pytest.mark.parametrize(
        "below",
        [
            "sh -c '$PYTHON job.py; true'",
            "bash -c '$PYTHON job.py & wait'",
            "bash -c '$PYTHON job.py | cat'",
            "sh -c 'setsid -w $PYTHON job.py; true'",
            """$PYTHON -c 'import subprocess, sys; subprocess.run([sys.executable, "job.py"])'""",
        ],
    )
    def test_whoever_has_something_to_save_has_time_for_it(self, place: Rig, below: str) -> None:
        """A shell or a wrapper that ends at once does not take what it started with it, nor what it prints."""
        job = place.job(SAVES)
        words = shlex.split(below.replace("job.py", job))
        words = [word.replace("$PYTHON", place.python) for word in words]
        ended, _ = place.out_of_time(command(*words), lambda printed: "ready" in printed)
        assert ended.how[:2] == ("failed", "timed_out")
        assert ended.stdout.splitlines() == ["ready", "stopping", "saved"]

    def test_a_cancelled_run_hears_int_first(self, place: Rig) -> None:
        """What it prints while it ends is kept, a second request changes nothing, and its own code is told."""
        run_id = place.submit({"kind": "file", "path": place.job(DEAF.format(last="SIGINT")), "argv": []})
        place.says(run_id, "ready")
        runs.cancel(place.db, run_id, "tester")
        runs.cancel(place.db, run_id, "tester")
        ended = place.ended(run_id)
        assert ended.how == ("cancelled", "cancelled", 7)
        assert ended.stdout.splitlines() == ["ready", "SIGINT", "cleaned up"]

    @pytest.mark.long
    def test_then_term_then_kill(self, place: Rig) -> None:
        """One that hears neither is killed."""
        run_id = place.submit({"kind": "file", "path": place.job(DEAF.format(last="none")), "argv": []})
        place.says(run_id, "ready")
        runs.cancel(place.db, run_id, "tester")
        ended = place.ended(run_id)
        assert (ended.how[:2], ended.view.signal) == (("cancelled", "cancelled"), signal.SIGKILL)
        assert ended.stdout.splitlines() == ["ready", "SIGINT", "SIGTERM"]

    def test_out_of_time_is_told_by_term(self, place: Rig) -> None:
        """INT is for a person who presses a key."""
        path = place.job(DEAF.format(last="SIGTERM"))
        ended, _ = place.out_of_time({"kind": "file", "path": path, "argv": []}, lambda printed: "ready" in printed)
        assert ended.how == ("failed", "timed_out", 7)
        assert ended.stdout.splitlines() == ["ready", "SIGTERM", "cleaned up"]

    def test_what_is_stopped_hears_it(self, place: Rig) -> None:
        """It need not be killed, as it would be if it slept through its time."""
        ended, _ = place.out_of_time(command("sh", "-c", "echo ready; kill -STOP $$"), lambda printed: bool(printed))
        assert (ended.how[:2], ended.view.signal) == (("failed", "timed_out"), signal.SIGTERM)

    def test_a_shells_children_hear_it_too(self, place: Rig) -> None:
        """The signal goes to the whole tree."""
        script = "sh -c 'trap \"echo child; exit 0\" INT; echo ready; while :; do sleep 0.1; done'; echo after"
        run_id = place.submit(command("sh", "-c", f"trap 'echo parent' INT; {script}"))
        place.says(run_id, "ready")
        runs.cancel(place.db, run_id, "tester")
        ended = place.ended(run_id)
        assert ended.view.state == "cancelled"
        assert ended.stdout.splitlines() == ["ready", "child", "parent", "after"]
