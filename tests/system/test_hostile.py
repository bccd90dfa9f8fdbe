"""Runs that mean harm to the log, the result, the outputs or the supervisor. The worker serves on after each."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import runs
from executor.errors import Problem
from executor.records import files
from tests.processes import alive, eventually, of_run
from tests.rig import PATIENCE, Rig, command, function, rig

KEY = "hunter2-prod-key-5417"
MIB = 1 << 20
KEEPS_LITTLE = {"kept_bytes": MIB, "output_limit": "drop"}
WORDS = ("exit_code", "timed_out", "traceback", "succeeded", "setup_failed", "cancelled", "exception", "tree_ended")


@pytest.fixture(scope="module")
def place() -> Iterator[Rig]:
    """A worker with small limits."""
    limits = {"SEALRUN_RESULT_LIMIT_KIB": "64", "SEALRUN_OUTPUT_LIMIT_MIB": "1"}
    with rig(settings=limits) as made:
        made.project("shop", {"API_KEY": KEY.encode()})
        made.project("words", {f"WORD_{number}": word.encode() for number, word in enumerate(WORDS)})
        made.start_worker()
        yield made


@pytest.fixture(autouse=True)
def still_serves(place: Rig) -> Iterator[None]:
    """Whatever a run did, its worker takes the next one, and has no supervisor and no workspace too many."""
    yield
    assert place.run(command("echo", "next")).stdout == "next\n"
    (worker,) = place.workers
    eventually(lambda: not worker.supervisors(), PATIENCE, "no supervisor is left")
    eventually(lambda: not list(place.workspaces.glob("[!.]*")), PATIENCE, "no workspace is left")
    assert KEY not in worker.said()


class TestRows:
    @pytest.mark.parametrize("bad", ["hunter2\0", "hunter2\udcff", "hunter2\ud800"])
    @pytest.mark.parametrize("name", ["A", "TZ"])
    def test_a_variable_that_no_program_can_be_given_is_a_sentence(self, place: Rig, name: str, bad: str) -> None:
        """Of a row that was not submitted by this version, and of a name that Python reads as it starts, too."""
        ended = place.python_run("print('began')", variables={name: bad})
        assert ended.how == ("failed", "setup_failed", None) and not ended.stdout
        said = str(ended.view.message)
        assert f'the value of "{name}" is refused: it ' in said and "hunter2" not in said


class TestStreams:
    def test_flood(self, place: Rig) -> None:
        """A run that prints eight times what is kept ends as it would; the log is cut at its limit, and says so."""
        code = "import os, sys\nblock = (b'x' * 1023 + b'\\n') * 64\nfor _ in range(128):\n    os.write(1, block)\n"
        ended = place.python_run(code + "sys.exit(3)\n", **KEEPS_LITTLE)
        assert ended.how == ("failed", "exit_code", 3)
        lines = ended.stdout.splitlines()
        assert lines[-2] == "sealrun: the output limit of 1 MiB is reached: the rest of this stream is not kept"
        assert lines[-1] == f"sealrun: {8 * MIB - 896 * 1024:,} bytes were left out at the end of this stream"
        assert lines[:-2] == ["x" * 1023] * 896 and ended.stderr == "", "an eighth is held for the other stream"

    def test_flood_of_secrets(self, place: Rig) -> None:
        """I5: the limit counts what is kept, and no cut leaves a piece of a secret."""
        code = "import os\nkey = os.environ['API_KEY'].encode()\n"
        code += f"for _ in range(20):\n    os.write(1, key * {MIB // 21})\n"
        ended = place.python_run(code + "os.write(2, key[:-1])", **KEEPS_LITTLE)
        kept, *marks = ended.stdout.splitlines()
        assert set(kept) == {"*"} and all(mark.startswith("sealrun: ") for mark in marks)
        assert KEY[:5] not in ended.stdout + ended.stderr

    def test_one_endless_line(self, place: Rig) -> None:
        """Megabytes without a newline are kept up to the limit, and what is said of it stands in lines of its own."""
        kept, *marks = place.python_run(f"print('y' * {3 * MIB})", **KEEPS_LITTLE).stdout.splitlines()
        assert kept == "y" * (MIB - MIB // 8) and len(marks) == 2

    def test_not_text(self, place: Rig) -> None:
        """Bytes that are no text are kept as they are."""
        run = place.run(command("printf", r"\377\000\033[31m\r\n"))
        assert run.how == ("succeeded", None, 0)
        assert place.printed_bytes(run.view.id) == b"\xff\x00\x1b[31m\r\n"

    def test_closed_streams(self, place: Rig) -> None:
        """A run that closes its streams goes on, and its exit code counts."""
        ended = place.python_run("import os\nfor fd in (0, 1, 2, 4):\n    os.close(fd)\nos._exit(9)")
        assert ended.how == ("failed", "exit_code", 9)

    def test_daemons_that_hold_the_pipes(self, place: Rig) -> None:
        """Fifty daemons that hold stdout open and flood it do not keep a run from ending."""
        code = """
import os, time
told, tell = os.pipe()
waiting, go = os.pipe()
for _ in range(50):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(1, b"pid %d\\n" % os.getpid())
            os.write(tell, b".")
            os.read(waiting, 1)
            until = time.monotonic() + 60
            while time.monotonic() < until:
                os.write(2, b"z" * 4096)
        os._exit(0)
for _ in range(50):
    os.read(told, 1)
os.write(go, b"." * 50)
os._exit(0)
"""
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0)
        pids = [int(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("pid ")]
        assert len(pids) == 50
        outside = place.outside(ended.view.id, pids)
        eventually(lambda: not alive(outside) and not of_run(ended.view.id), PATIENCE, "no daemon is left")

    def test_deaf_to_signals(self, place: Rig) -> None:
        """A run that ignores all it can is ended by KILL after the time of grace."""
        code = "import signal, time\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        code += "    except (OSError, ValueError): pass\nprint('deaf', flush=True)\nuntil = time.monotonic() + 60\n"
        code += "while time.monotonic() < until: time.sleep(0.1)\n"
        run_id = place.submit({"kind": "file", "path": place.job(code), "argv": []})
        place.says(run_id, "deaf")
        runs.cancel(place.db, run_id, "tester")
        ended = place.ended(run_id)
        assert (ended.how[:2], ended.view.signal) == (("cancelled", "cancelled"), 9)


# The leader's own child, or a daemon, traces it; what it says first is which process to look for.
TRACER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
kind, options = sys.argv[1], int(sys.argv[2])
told, tell = os.pipe()
ready, go = os.pipe()
leader = os.getpid()
child = os.fork()
if child == 0:
    os.setsid()
    if kind == "daemon" and os.fork():
        os._exit(0)
    os.read(ready, 1)
    seized = libc.ptrace(0x4206, leader, None, options)
    print("pid", os.getpid(), "seized" if seized == 0 else os.strerror(ctypes.get_errno()), flush=True)
    os.write(tell, b".")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(0.05)
    os._exit(0)
if kind == "daemon":
    os.waitpid(child, 0)  # a child's end is a signal, at which a traced leader would stop
os.write(go, b".")
os.read(told, 1)
os._exit(3)
"""
STOP_AT_EXIT = 0x40  # PTRACE_O_TRACEEXIT: not even KILL ends the traced before the tracer lets it


class TestTracers:
    @pytest.mark.parametrize("whose", ["place", "ordinary"])
    @pytest.mark.parametrize("kind", ["child", "daemon"])
    def test_leader_is_traced(self, place: Rig, request: pytest.FixtureRequest, whose: str, kind: str) -> None:
        """I8: a leader that is not its supervisor's to collect while it is traced: the run ends at once, as it did."""
        rig: Rig = request.getfixturevalue(whose)
        run_id = rig.submit({"kind": "file", "path": rig.job(TRACER), "argv": [kind, "0"]}, timeout=20)
        ended = rig.ended(run_id)
        words = ended.stdout.split()
        if words[2:] != ["seized"]:
            pytest.skip(f"nothing may be traced here: {ended.stdout}")
        assert ended.how == ("failed", "exit_code", 3)
        assert not alive(rig.outside(run_id, [int(words[1])]))

    @pytest.mark.parametrize(("whose", "kind"), [("place", "daemon"), ("ordinary", "child")])
    def test_leader_is_held_at_its_exit(
        self, place: Rig, request: pytest.FixtureRequest, whose: str, kind: str
    ) -> None:
        """I8: a leader that its tracer keeps from ending is ended with it, soon after the run's time is up."""
        rig: Rig = request.getfixturevalue(whose)
        target = {"kind": "file", "path": rig.job(TRACER), "argv": [kind, str(STOP_AT_EXIT)]}
        ended, _ = rig.out_of_time(target, lambda printed: len(printed.split()) > 2)
        words = ended.stdout.split()
        if words[2:] != ["seized"]:
            pytest.skip(f"nothing may be traced here: {ended.stdout}")
        assert ended.how[:2] == ("failed", "timed_out")
        assert not alive(rig.outside(ended.view.id, [int(words[1])]))


class TestWordsOfOurs:
    def test_are_no_outcome_when_they_are_secrets(self, place: Rig) -> None:
        """A secret whose value is one of our own words changes neither state, reason nor exit code."""
        assert place.python_run("import sys; sys.exit(3)", project="words").how == ("failed", "exit_code", 3)
        assert place.python_run("pass", project="words").how == ("succeeded", None, 0)
        waiting = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: time.sleep(0.1)"
        assert place.python_run(waiting, project="words", timeout=0.3).how[:2] == ("failed", "timed_out")
        raised = place.python_run("raise KeyError('x')", project="words")
        assert raised.how == ("failed", "exception", 1)
        assert raised.view.problem is not None and raised.view.problem.type == "KeyError"
        assert raised.view.problem.message and raised.view.problem.traceback

    def test_are_still_masked(self, place: Rig) -> None:
        """I5: where a run prints, raises, returns or leaves them."""
        path = place.job("def said():\n    print('exit_code')\n    return {'timed_out': 'traceback'}\n", "words.py")
        ended = place.run(function(path, "said"), "words")
        assert (ended.stdout, ended.view.result) == ("***\n", {"***": "***"})
        raised = place.python_run("raise ValueError('exit_code')", project="words")
        assert raised.view.problem is not None and raised.view.problem.message == "***"
        assert "exit_code" not in raised.stderr


def reporting(data: str) -> str:
    """Code that writes bytes of its own where the result goes, and leaves before ours can."""
    return f"import os\ndata = {data}\nwhile data:\n    data = data[os.write(4, data):]\nos._exit(0)\n"


class TestResults:
    @pytest.mark.parametrize(
        "data",
        [
            "b'not json'", "b'\\xff\\x00' * 99", "b'[' * 60000", "b'{\"a\":' * 9000", "b'1' * 60000",
            "b'{\"result\": ' + b'[' * 200 + b']' * 200 + b'}'", "b'null'", "b'[1]'", "b'5'", "b'\"text\"'",
            "b'{\"result\": NaN}'", "b'{\"result\": 1e999}'", "b'{\"result\": \"\\\\ud800\"}'", "b'{}'",
            "b'{\"problem\": null}'", "b'{\"note\": {\"a\": 1}}'",
            "b'{\"state\": \"x\", \"result\": 1}'",
        ],
    )  # fmt: skip
    def test_garbage(self, place: Rig, data: str) -> None:
        """What is no result, however malformed or deep, changes nothing but the result: the run ends as it did."""
        ended = place.python_run(reporting(data))
        assert ended.how == ("succeeded", None, 0), (ended.view.message, place.workers[0].said()[-2000:])
        assert ended.view.state == "succeeded"

    def test_a_garbled_problem(self, place: Rig) -> None:
        """What begins as a problem is one: a run that could not say what it raised has not succeeded."""
        ended = place.python_run(reporting("b'{\"problem\": 5}'"))
        assert ended.how == ("failed", "exception", 0)

    def test_huge(self, place: Rig) -> None:
        """A result over the limit is not stored, and a note says so; the run does not fail for it."""
        ended = place.python_run(reporting("b'{\"result\": \"' + b'a' * 5000000 + b'\"}'"))
        assert (ended.how, ended.view.result) == (("succeeded", None, 0), None)
        assert "larger than SEALRUN_RESULT_LIMIT_KIB allows (64 KiB)" in str(ended.view.note)

    def test_a_secret_in_a_forged_problem(self, place: Rig) -> None:
        """I5: what a run forges where the traceback goes passes the masker like anything else."""
        forged = 'b\'{"problem": {"type": "\' + os.environb[b"API_KEY"] + b\'", "message": "x", "traceback": "y"}}\''
        code = reporting(forged).replace("os._exit(0)", "os._exit(1)")
        ended = place.python_run(code)
        assert ended.view.problem == Problem("***", "x", "y")
        assert KEY not in repr(ended)

    def test_not_json(self, place: Rig) -> None:
        """A returned value that is not JSON is named by its type, and its text stays in the run."""
        path = place.job("def returned():\n    return {'a': {1, 2}}\n", "odd.py")
        ended = place.run(function(path, "returned"))
        assert ended.how == ("succeeded", None, 0)


OUTPUT = "import os, pathlib\nroot = pathlib.Path(os.environ['SEALRUN_OUTPUT_DIR'])\nkey = os.environ['API_KEY']\n"


class TestOutputs:
    def test_what_is_no_file(self, place: Rig, tmp_path: Path) -> None:
        """Links, fifos, sockets and devices stay behind and are named; nothing they point to is read."""
        code = OUTPUT + "import socket\nos.mkfifo(root / 'fifo')\n(root / 'link').symlink_to('/etc/shadow')\n"
        code += "(root / 'folder').symlink_to('/etc')\n(root / 'loop').symlink_to('loop')\n"
        code += "socket.socket(socket.AF_UNIX).bind(str(root / 'socket'))\n(root / 'fine').write_text('fine')\n"
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0), ended.stderr
        found = {one.path: one.withheld for one in ended.view.outputs}
        assert set(found) == {"fifo", "link", "folder", "loop", "socket", "fine"}
        assert [path for path, why in found.items() if why is None] == ["fine"]
        assert [path.name for path in files.download(place.db, ended.view.id, 1, tmp_path)] == ["fine"]

    def test_hard_link(self, place: Rig) -> None:
        """A hard link to a file the run may not read cannot be made, or is not read for it."""
        code = OUTPUT + "for path in ('/etc/shadow', '/etc/passwd'):\n"
        code += "    try: os.link(path, root / path.replace('/', '_'))\n    except OSError: pass\n"
        ended = place.python_run(code)
        assert [one for one in ended.view.outputs if one.withheld is None] == []

    def test_many_files(self, place: Rig) -> None:
        """A thousand files are kept, the rest is named by one line."""
        ended = place.python_run(OUTPUT + "for n in range(2000):\n    (root / f'{n:04}').touch()\n")
        assert ended.how == ("succeeded", None, 0)
        assert len(ended.view.outputs) == 1001
        assert [one.withheld for one in ended.view.outputs if one.withheld] == ["more than 1,000 files were left"]

    def test_too_large(self, place: Rig) -> None:
        """A file beyond the limit stays behind and is named, a sparse one of a terabyte too."""
        code = OUTPUT + "(root / 'a').write_bytes(b'a' * 700000)\n(root / 'b').write_bytes(b'b' * 700000)\n"
        code += "os.truncate(os.open(root / 'c', os.O_CREAT | os.O_RDWR), 1 << 40)\n"
        found = {one.path: (one.size, one.withheld is None) for one in place.python_run(code).view.outputs}
        assert found == {"a": (700000, True), "b": (None, False), "c": (None, False)}

    def test_odd_names(self, place: Rig, tmp_path: Path) -> None:
        """I5: names with newlines, bytes that are no text, or a secret do no harm; a secret in a name is masked."""
        code = OUTPUT + "for name in (b'a\\nb', b'\\xff\\xfe', b'-rf', b'x' * 255, b'\\x1b[31m', key.encode()):\n"
        code += "    with open(os.fsencode(root) + b'/' + name, 'wb') as out: out.write(b'content')\n"
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0), ended.view.message
        found = {one.path: one.withheld for one in ended.view.outputs}
        assert found["***"] is None
        assert {"a\nb", "-rf", "x" * 255, "\x1b[31m"} <= set(found)
        assert KEY not in json.dumps(sorted(found))
        for path in files.download(place.db, ended.view.id, 1, tmp_path):
            assert path.is_relative_to(tmp_path) and path.read_bytes() == b"content"

    def test_secrets_in_the_names_of_two_files(self, place: Rig) -> None:
        """I5: two names that are the same once masked stay apart, and the run ends as it did."""
        code = (
            OUTPUT + "for end in 'ab':\n    (root / key).mkdir(exist_ok=True)\n    (root / key / (key + end)).touch()\n"
        )
        code += "(root / (key + 'x')).mkdir()\n(root / (key + 'x') / (key + 'a')).touch()\n"
        code += "import base64\n(root / base64.b64encode(key.encode()).decode()).touch()\n"
        code += "(root / key.encode().hex()).touch()\n"
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0), (ended.view.message, place.workers[0].said()[-1500:])
        assert KEY not in repr(ended)

    @pytest.mark.long
    def test_closed_and_deep_folders(self, place: Rig) -> None:
        """Folders without permissions, and two thousand of them inside each other, neither hang nor stay."""
        code = OUTPUT + "(root / 'closed/in').mkdir(parents=True)\n(root / 'closed/in/file').touch()\n"
        code += "os.chmod(root / 'closed/in', 0)\nos.chmod(root / 'closed', 0)\n(root / 'fine').touch()\n"
        code += (
            "os.chdir(root)\nfor _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\nopen('bottom', 'w').close()\n"
        )
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0), (ended.view.message, place.workers[0].said()[-1500:])
        assert "fine" in [one.path for one in ended.view.outputs if one.withheld is None]

    def test_folder_cannot_be_replaced(self, place: Rig) -> None:
        """I3: what holds a run's three folders is not the run's where it has a user id of its own."""
        if os.geteuid() != 0:
            pytest.skip("needs tests that run as root: only then a run has a user id of its own")
        code = OUTPUT + "for name in ('HOME', 'TMPDIR', 'SEALRUN_OUTPUT_DIR'):\n    own = os.environ[name]\n"
        code += "    for act in (lambda: os.rename(own, own + '-away'), lambda: os.rmdir(own),\n"
        code += "                lambda: os.symlink('/etc', own + '-link')):\n"
        code += "        try: act(); print('could', name)\n"
        code += "        except OSError as error: assert error.errno in (1, 13, 16, 30), error\n"  # refused or busy
        code += "    try: beside = os.listdir(os.path.dirname(own))\n    except PermissionError: continue\n"
        code += "    assert set(beside) <= {'home', 'tmp', 'output', 'private', 'work'} or own == '/tmp', beside\n"
        ended = place.python_run(code)
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), ""), ended.stderr
