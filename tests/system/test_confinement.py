"""What a run sees of the world around it: an environment, descriptors and files that are listed here in full (I3)."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretstore import vault
from tests.processes import core_limit, descendants, environ, name
from tests.rig import Rig, command, file, function, ordinary_account, rig

ALLOWED = {
    "PATH", "LANG", "HOME", "USER", "LOGNAME", "TMPDIR", "PYTHONUNBUFFERED",
    "SEALRUN_RUN_ID", "SEALRUN_PROJECT", "SEALRUN_ENV", "SEALRUN_OUTPUT_DIR", "SEALRUN_METRICS",
}  # fmt: skip
WORKERS_OWN = {
    "AWS_SECRET_ACCESS_KEY": "of-the-worker",
    "WORKER_TOKEN": "of-the-worker",
    "DATABASE_URL": "of-the-worker",
}
WAITING = """
import os, pathlib, time
print("ready", flush=True)
go = pathlib.Path(os.environ["TMPDIR"], "go")
until = time.monotonic() + 60
while not go.exists() and time.monotonic() < until:
    time.sleep(0.01)
"""
# Tries to read files and list folders; prints what came of each.
PROBE = """
import json, os, sys
found = {}
for path in sys.argv[1:]:
    try:
        found[path] = os.listdir(path) if os.path.isdir(path) else str(len(open(path, "rb").read()))
    except OSError as error:
        found[path] = type(error).__name__
print(json.dumps(found))
"""

REFUSALS = {"PermissionError", "FileNotFoundError"}

# Tries to change the folder that it runs from, by every way there is; prints what came of each.
VANDAL = """
import json, os, sys
here, found = os.getcwd(), {}
def attempt(name, act):
    try:
        act()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
def write(path, mode):
    with open(path, mode) as out:
        out.write("#")
attempt("append", lambda: write(__file__, "a"))
attempt("new", lambda: write("new.py", "w"))
attempt("folder", lambda: os.mkdir("new"))
attempt("remove", lambda: os.unlink(__file__))
attempt("rename", lambda: os.rename(here, here + "x"))
attempt("link", lambda: os.link(__file__, "twin.py"))
for path in (__file__, here):
    try:
        os.chmod(path, 0o777)
    except OSError:
        pass
attempt("append afterwards", lambda: write(__file__, "a"))
attempt("new afterwards", lambda: write("new.py", "w"))
found["seen"] = []
for above in (os.path.dirname(here), os.path.dirname(os.path.dirname(os.path.dirname(here)))):
    try:
        found["seen"] += os.listdir(above)
    except OSError:
        pass
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["of the tests' user", "of an ordinary user"])
def place(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker as root, which lends its runs user ids, and one that is not, where Landlock alone stands between."""
    if request.param == "of an ordinary user":
        account = ordinary_account()
        if account is None:
            pytest.skip("these tests run as an ordinary user: the other half tests the same")
        options = {"account": account}
    else:
        options = {}
    with rig(**options) as made:
        made.project("shop", {"API_KEY": b"hunter2-prod-key-5417"}, {"REGION": "eu-north-1"})
        for name in ("models", "out", "theirs"):
            (made.folder / name).mkdir()
            (made.folder / name / "file").write_text("weights")
            (made.folder / name).chmod(0o777)
        opened = {
            "SEALRUN_READABLE": f"{made.folder}/models:other={made.folder}/theirs",
            "SEALRUN_WRITABLE": f"shop={made.folder}/out:other={made.folder}/theirs",
        }
        made.start_worker(environ={**WORKERS_OWN, **opened})
        yield made


class TestEnvironment:
    @pytest.mark.parametrize("kind", ["file", "command"])
    def test_is_exactly_what_is_listed(self, place: Rig, kind: str) -> None:
        """I3: a run's environment is the allow-list, its secrets and variables, and nothing of the worker's."""
        if kind == "file":
            target = file(place.job("import json, os\nprint(json.dumps(dict(os.environ)))"))
        else:
            target = command(place.python, "-c", "import json, os\nprint(json.dumps(dict(os.environ)))")
        ended = place.run(target, variables={"MORE": "extra"})
        found = json.loads(ended.stdout)
        # CPython adds LC_CTYPE of its own where the locale is C; the run's is not.
        assert set(found) == ALLOWED | {"API_KEY", "REGION", "MORE"}
        assert found["SEALRUN_RUN_ID"] == ended.view.id
        assert "of-the-worker" not in ended.stdout

    def test_process_environment_of_a_python_run_holds_no_secret(self, place: Rig) -> None:
        """I1: what `ps e` shows of a Python run is the allow-list; its secrets came another way."""
        run_id = place.submit(file(place.job(WAITING)))
        place.says(run_id, "ready")
        (supervisor,) = place.workers[0].supervisors()
        *_, child = descendants(supervisor)  # below the first process of its box, or its judge
        assert set(environ(child)) == ALLOWED - {"PYTHONUNBUFFERED"}
        place.let_go(run_id)
        place.ended(run_id)

    def test_what_python_reads_at_its_start_may_be_set(self, place: Rig) -> None:
        """For the interpreter that runs a file too, though it has started before anybody knows the variables."""
        code = "import sys, time\nprint(sys.flags.hash_randomization, sys.flags.utf8_mode, time.tzname[0])\n"
        variables = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "TZ": "XYZ-3"}
        assert place.python_run(code).stdout != "0 1 XYZ\n"
        assert place.python_run(code, variables=variables).stdout == "0 1 XYZ\n"

    def test_output_of_a_python_command_is_live(self, place: Rig) -> None:
        """Though it writes into a pipe, and flushes nothing."""
        code = WAITING.replace(", flush=True", "")
        run_id = place.submit(command("sh", "-c", 'exec python3 -c "$0"', code))
        place.says(run_id, "ready")
        place.let_go(run_id)
        place.ended(run_id)

    def test_variables_are_there_before_user_code(self, place: Rig) -> None:
        """Names are set before the first line of a function's module runs."""
        path = place.job("import os\nSEEN = sorted(os.environ)\ndef seen():\n    return SEEN\n", "seen.py")
        assert "API_KEY" in place.run(function(path, "seen")).view.result


class TestPrograms:
    def test_a_tool_has_its_environment_and_nothing_beside_it(self, place: Rig) -> None:
        """I3: one of pipx's, submitted by the worker's own user; as a link that lies elsewhere."""
        tools, bin_folder = place.folder / "tools", place.folder / "bin"
        prefix = tools / "venvs/brew"
        if not prefix.exists():
            subprocess.run([place.python, "-m", "venv", "--without-pip", prefix], check=True)
            (prefix / "share").mkdir()
            (prefix / "share/template").write_text("brewed")
            (tools / "other").write_text("somebody's")
            code = f"import sys\nprint(open(sys.prefix + '/share/template').read())\nopen('{tools}/other')\n"
            (prefix / "bin/brew").write_text(f"#!{prefix}/bin/python\n{code}")
            (prefix / "bin/brew").chmod(0o755)
            bin_folder.mkdir()
            (bin_folder / "brew").symlink_to(prefix / "bin/brew")
        ended = place.run({**command("brew"), "programs": [str(bin_folder / "brew")]})
        assert ended.stdout == "brewed\n", ended.stderr
        assert f"{place.refusal}: '{tools}/other'" in ended.stderr

    def test_a_row_opens_no_program_of_sealruns_own(self, place: Rig) -> None:
        """I3: whoever can write to the database names SEALRUN_HOME as an environment."""
        ended = place.run({**command("brew"), "programs": [str(place.home / "sealrun.db"), "/etc/passwd", "x", ""]})
        assert ended.how == ("failed", "setup_failed", None)
        (place.home / "bin").mkdir(exist_ok=True)
        (place.home / "bin/brew").write_text("#!/bin/sh\ncat ../sealrun.db\n")
        (place.home / "bin/brew").chmod(0o755)
        ended = place.run({**command("brew"), "programs": [str(place.home / "bin/brew")]})
        assert ended.how == ("failed", "setup_failed", None) and "closed to runs" in (ended.view.message or "")

    @pytest.mark.parametrize("name", ["python", "python3"])
    def test_python_is_there_by_either_name(self, place: Rig, name: str) -> None:
        """Debian has no `python`; the run's own is meant."""
        ended = place.run(command(name, "-c", "import sys; print(bool(sys.executable))"))
        assert ended.stdout == "True\n", ended.view.message


class TestFolders:
    def test_of_the_machine_are_opened_and_told(self, place: Rig) -> None:
        """I3: to the project that is named; the receipt says which, and a refusal has a hint."""
        models, out = str(place.folder / "models"), str(place.folder / "out")
        code = "import sys\nprint(open(sys.argv[1] + '/file').read())\nopen(sys.argv[2] + '/made', 'w')\n"
        path = place.job(code + "open(sys.argv[1] + '/made', 'w')\n")
        ended = place.run(file(path, models, out))
        assert ended.stdout == "weights\n", ended.stderr
        assert f"sealrun: {models}/made is open to runs for reading alone" in ended.stderr
        assert (place.folder / "out/made").exists()
        receipt = ended.view.receipt
        assert receipt is not None
        assert (receipt.controls["readable"], receipt.controls["writable"]) == ([models], [out])

    def test_of_another_project_stay_closed(self, place: Rig) -> None:
        """I3: and a command, too, is told why."""
        theirs = str(place.folder / "theirs")
        ended = place.run(command("cat", f"{theirs}/file"))
        assert ended.how == ("failed", "exit_code", 1)
        assert f"sealrun: {theirs}/file is " in ended.stderr and "SEALRUN_READABLE" in ended.stderr

    def test_a_link_put_in_the_place_of_one_opens_nothing(self, place: Rig) -> None:
        """I3: whoever owns the folder above could lead it to SEALRUN_HOME."""
        (place.folder / "models").rename(place.folder / "kept")
        (place.folder / "models").symlink_to(place.home)
        try:
            ended = place.run(command("ls", str(place.folder / "models/")))
            assert ended.how[:2] == ("failed", "exit_code")
            assert ended.view.receipt is not None and "readable" not in ended.view.receipt.controls
        finally:
            (place.folder / "models").unlink()
            (place.folder / "kept").rename(place.folder / "models")


class TestDescriptors:
    def test_of_a_python_run(self, place: Rig) -> None:
        """I3: a Python run has stdin, stdout, stderr and the pipe for its result, none of the worker's."""
        code = "import os, sys\nfor n in os.listdir('/proc/self/fd'):\n"
        code += "    try: print(n, os.readlink(f'/proc/self/fd/{n}').split(':')[0])\n"
        code += "    except FileNotFoundError: pass  # the listing itself\nprint(repr(sys.stdin.read()))"
        ended = place.python_run(code)
        assert sorted(ended.stdout.splitlines()) == ["''", "0 /dev/null", "1 pipe", "2 pipe", "4 pipe"]

    def test_of_what_a_run_starts(self, place: Rig) -> None:
        """I1, I3: a program that a run starts has 0, 1 and 2 and no more: not the values the run came by, either."""
        code = "import subprocess\nprint(subprocess.run(['sh', '-c', 'ls /proc/$$/fd'], capture_output=True, "
        code += "text=True, close_fds=False).stdout.split())"
        assert place.python_run(code).stdout == "['0', '1', '2']\n"

    def test_stdin_of_a_command(self, place: Rig) -> None:
        """A command that reads its stdin finds nothing, and does not wait."""
        ended = place.run(command("sh", "-c", "cat; readlink /proc/$$/fd/0"))
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "/dev/null\n")


class TestInterpreter:
    def test_is_never_ours(self, place: Rig) -> None:
        """`import secretstore`, or anything else of ours, fails inside a run."""
        code = "import importlib.util\nfor name in ('secretstore', 'executor', 'celery', 'sqlmodel'):\n"
        code += "    print(name, importlib.util.find_spec(name))\nimport secretstore"
        ended = place.python_run(code)
        assert ended.how == ("failed", "exception", 1)
        assert ended.stdout.split() == ["secretstore", "None", "executor", "None", "celery", "None", "sqlmodel", "None"]
        assert ended.view.problem is not None and ended.view.problem.type == "ModuleNotFoundError"


class TestFiles:
    @pytest.fixture(autouse=True)
    def confined(self, place: Rig) -> None:
        if place.rung(place.workers[0]) == "process":
            pytest.skip("this kernel has no Landlock")

    def test_what_a_run_cannot_read(self, place: Rig) -> None:
        """I3: SEALRUN_HOME, key file, database, the user's home, /tmp and other runs' places are closed to a run."""
        other = place.submit(file(place.job(WAITING)))
        place.says(other, "ready")
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        closed = [
            place.home, place.key_file, place.home / "sealrun.db", place.home / "broker/password", home,
            place.folder / "user", place.place(other), place.place(other) / "tmp", place.workers[0].log,
        ]  # fmt: skip
        above = [place.workspaces, Path("/tmp"), Path("/var/tmp")]
        code = place.job(PROBE, "probe.py")
        ended = place.run(file(code, *map(str, [*closed, *above])))
        found = json.loads(ended.stdout)
        place.let_go(other)
        place.ended(other)
        seen = [found.pop(str(path)) for path in above]
        assert set(found.values()) <= REFUSALS, found
        if place.boxed:  # nothing in them but the way to its own
            assert seen == [[place.place(ended.view.id).name], [place.folder.name], []]
        else:
            assert set(seen) <= REFUSALS

    def test_what_a_run_can_write(self, place: Rig) -> None:
        """HOME, TMPDIR and SEALRUN_OUTPUT_DIR are writable and private; source root and system are not."""
        code = "import os, stat\n"
        code += "for n in ('HOME', 'TMPDIR', 'SEALRUN_OUTPUT_DIR'):\n"
        code += "    open(os.environ[n] + '/x', 'w').write('x'); print(oct(os.stat(os.environ[n]).st_mode & 0o777))\n"
        code += "for path in (os.getcwd() + '/x', '/etc/x', '/usr/x', '/var/tmp/x', '/tmp/x'):\n"
        code += "    try: open(path, 'w'); print('wrote', path)\n    except OSError: pass\n"
        name = f"new-{place.folder.name}"
        code = code.replace("/x'", f"/{name}'")
        ended = place.python_run(code)
        assert ended.how == ("succeeded", None, 0), ended.stderr
        written = ended.stdout.removeprefix("0o700\n" * 3).splitlines()
        folders = [str(place.jobs), "/var/tmp", "/tmp"] if place.boxed else []
        assert written == [f"wrote {folder}/{name}" for folder in folders]
        assert not any(os.path.exists(f"{folder}/{name}") for folder in (place.jobs, "/var/tmp", "/tmp"))

    def test_its_uploaded_source_is_not_its_to_change(self, place: Rig) -> None:
        """I3: neither a file nor a folder of it, whatever it makes of the modes; nor can it see what else is kept."""
        path = place.job(VANDAL, "vandal.py")
        asked = place.uploaded()
        found = json.loads(place.run(file(path), **asked).stdout)
        assert len(found) == 9 and set(found.pop("seen")) <= {asked["bundle"], vault.get_project(place.db, "shop").id}
        assert set(found.values()) <= (
            REFUSALS | {"done", "OSError"} if place.boxed else {"PermissionError", "OSError"}
        ), found
        again = json.loads(place.run(file(path), **asked).stdout)
        assert again.pop("seen") is not None and again == found
        (kept,) = place.settings.cache.glob(f"*/sources/{asked['bundle']}")
        assert (kept / "vandal.py").read_text() == VANDAL
        assert sorted(os.listdir(kept)) == sorted(set(os.listdir(place.jobs)) - {"__pycache__"})

    def test_what_others_uploaded_cannot_be_read(self, place: Rig) -> None:
        """I3: the path of it is no key to it, not even for a run whose source root is above the cache."""
        place.run(command("true"), **place.uploaded())
        kept = [str(path) for path in place.settings.cache.glob("*/sources/[!.]*")]
        above = place.settings.cache.parent
        shutil.copy(place.jobs / place.job(PROBE, "probe.py"), above)
        for root in (place.jobs, above):
            found = json.loads(place.run(file("probe.py", *kept), source_root=str(root)).stdout)
            assert found and set(found.values()) <= REFUSALS

    def test_processes_of_others(self, place: Rig) -> None:
        """I3: a run can neither read nor signal the worker, the zygote, its supervisor, or another run."""
        other = place.submit(file(place.job(WAITING)))
        place.says(other, "ready")
        (worker,) = place.workers
        pids = [worker.pid, *descendants(worker.pid)]
        assert {"sealrun-zygote", "sealrun-superv"} <= {name(pid) for pid in pids}
        code = "import os, sys\nfor pid in [*sys.argv[1:], str(os.getppid())]:\n"
        code += "    for what in ('environ', 'mem', 'fd/0', 'root', 'cwd'):\n        path = f'/proc/{pid}/{what}'\n"
        code += "        look = (lambda p: open(p, 'rb').read(1)) if what in ('environ', 'mem') else os.readlink\n"
        code += "        try: look(path); print('read', path)\n"
        code += "        except (PermissionError, FileNotFoundError): pass\n"
        code += "    try: pid != '1' and os.kill(int(pid), 0) or pid != '1' and print('signalled', pid)\n"
        code += "    except (PermissionError, ProcessLookupError): pass\n"
        ended = place.python_run(code, *map(str, pids))
        place.let_go(other)
        assert place.ended(other).how[0] == "succeeded"
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), ""), ended.stderr

    def test_no_new_privileges(self, place: Rig) -> None:
        """A run cannot gain what it does not have: no_new_privs is set, no capability is effective, no core is left."""
        code = "lines = open('/proc/self/status').readlines()\n"
        code += "print(*[line for line in lines if line.startswith(('NoNewPrivs', 'CapEff'))], sep='')\n"
        code += "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
        assert place.python_run(code).stdout.split() == ["CapEff:", "0" * 16, "NoNewPrivs:", "1", "(0,", "0)"]


# Leaves links to a place at every depth, and puts one where its output folder is, as far as it can.
LINKS = """
import os, sys
root, goal = os.environ["SEALRUN_OUTPUT_DIR"], sys.argv[1]
folder = root
for depth in range(4):
    os.symlink(goal, folder + "/link")
    folder += "/d"
    os.mkdir(folder)
for away in (root + "-away", os.environ["TMPDIR"] + "/away"):
    try:
        os.rename(root, away)
        os.symlink(goal, root)
        print("replaced")
        break
    except OSError:
        pass
"""


@pytest.mark.parametrize("goal", ["keys", "/proc/self", "/etc", "jobs"])
def test_nothing_is_collected_through_links(place: Rig, goal: str) -> None:
    """I3: the supervisor may read what the run may not: neither a file nor a name comes from where a link leads."""
    goals = {"keys": place.key_file.parent, "jobs": place.jobs}
    ended = place.run(file(place.job(LINKS), str(goals.get(goal, goal))))
    assert ended.how == ("succeeded", None, 0), ended.stderr
    if "replaced" in ended.stdout:
        assert {one.path for one in ended.view.outputs} == {"…"}
    else:
        assert {one.path for one in ended.view.outputs} == {"link", "d/link", "d/d/link", "d/d/d/link"}
    assert [one for one in ended.view.outputs if one.withheld is None] == []


@pytest.mark.parametrize("how", ["link", "link above", "dots"])
def test_a_source_root_that_leads_elsewhere_is_refused(place: Rig, how: str) -> None:
    """I3: what was submitted is where a run is held to: a row that names it by a link or by `..` opens nothing."""
    other = place.folder / "other"
    (other / "sub").mkdir(parents=True, exist_ok=True)
    (other / "job.py").write_text("print('read it')")
    (other / "sub/job.py").write_text("print('read it')")
    link = place.folder / "link"
    if not link.is_symlink():
        link.symlink_to(other)
    roots = {"link": link, "link above": link / "sub", "dots": f"{place.jobs}/../other"}
    run_id = place.submit(file("job.py"), rung_min="never")
    for root, ends in ((roots[how], ("failed", "setup_failed", None)), (other, ("succeeded", None, 0))):
        if root == other:
            run_id = place.submit(file("job.py"), rung_min="never")
        assert place.execute(
            "UPDATE executor_run SET source_root = :root, rung_min = NULL WHERE id = :id", root=str(root), id=run_id
        )
        place.ring(run_id)
        ended = place.ended(run_id)
        assert ended.how == ends, ended.view.message
        assert root == other or str(other) in str(ended.view.message)


@pytest.mark.long
def test_interpreter_behind_linked_folders_in_a_closed_home() -> None:
    """As uv and pyenv lay them: `current -> versions/3.12`, by which an environment knows its interpreter."""
    python = Path("/usr/bin/python3")
    if os.geteuid() != 0 or not python.exists():
        pytest.skip("needs tests that run as root, and a Python in /usr")
    with rig() as made:
        closed = made.folder / "user"
        made_one = subprocess.run([python, "-m", "venv", "--without-pip", closed / "versions/1"], capture_output=True)
        if made_one.returncode:
            pytest.skip(f"{python} makes no virtual environment")
        (closed / "current").symlink_to("versions/1")
        (closed / "private").touch()
        made.project("shop")
        made.start_worker()
        code = "import os, sys\nprint(sys.prefix, *filter(os.path.lexists, sys.argv[1:]))"
        ended = made.run(file(made.job(code), str(closed / "private")), python=str(closed / "current/bin/python"))
        if "may not mount" in str(ended.view.message):
            pytest.skip("this root may not mount")
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), f"{closed}/current\n"), ended.view.message


def test_interpreter_in_a_closed_home() -> None:
    """A Python under root's home is brought in for a run of a lent user id, and nothing else of that home."""
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    if os.geteuid() != 0 or not base.is_relative_to("/root"):
        pytest.skip("needs tests that run as root under a Python in root's home")
    with rig() as made:
        made.project("shop")
        made.start_worker()
        others = [str(path) for path in Path("/root").iterdir() if not base.is_relative_to(path)]
        assert others
        code = "import os, ssl, sqlite3, sys\nprint(sys.prefix, os.getuid(), *filter(os.path.lexists, sys.argv[1:]))"
        ended = made.run(file(made.job(code), *others), python=str(base))
        prefix, uid, *seen = ended.stdout.split()
        assert (prefix, seen) == (sys.base_prefix, []), ended.stderr
        assert int(uid) in made.settings.run_uids


class TestHardening:
    def test_no_core_file_of_any_process(self, place: Rig) -> None:
        """I1: zygote, supervisor and run may leave no core file."""
        run_id = place.submit(file(place.job(WAITING)))
        place.says(run_id, "ready")
        (worker,) = place.workers
        below = [worker.zygote, *descendants(worker.zygote)]
        assert len(below) >= 3
        assert {core_limit(pid) for pid in below} == {"0 0"}
        place.let_go(run_id)
        place.ended(run_id)

    def test_same_user_cannot_read_their_memory(self, ordinary: Rig) -> None:
        """I1: not dumpable: a process of the worker's own user opens neither its memory nor that of what it starts."""
        run_id = ordinary.submit(file(ordinary.job(WAITING)))
        ordinary.says(run_id, "ready")
        (worker,) = ordinary.workers
        (supervisor,) = worker.supervisors()
        look = "import sys\nfor pid in sys.argv[1:]:\n    try: open(f'/proc/{pid}/mem', 'rb'); print('opened')\n"
        look += "    except PermissionError: print('refused')"
        account = [] if ordinary.account is None else ["setpriv", f"--reuid={ordinary.account}", "--clear-groups"]
        account += [] if ordinary.account is None else [f"--regid={ordinary.account}"]
        with subprocess.Popen([*account, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bystander:
            assert bystander.stdin and bystander.stdout
            bystander.stdin.write(b"started\n")
            bystander.stdin.flush()
            bystander.stdout.readline()
            pids = [str(pid) for pid in (bystander.pid, worker.pid, worker.zygote, supervisor)]
            seen = subprocess.run(
                [*account, ordinary.python, "-c", look, *pids], capture_output=True, text=True, check=True
            )
            bystander.stdin.close()
        assert seen.stdout.split() == ["opened", "refused", "refused", "refused"]
        for pid in (worker.pid, worker.zygote, supervisor):
            # The kernel gives the /proc files of a process that is not dumpable to root, whoever it runs as.
            assert os.stat(f"/proc/{pid}/environ").st_uid == 0
        ordinary.let_go(run_id)
        ordinary.ended(run_id)
