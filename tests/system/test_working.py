"""What a run writes beside itself works, is given at its end with its other files, and is nowhere after it."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.records import files
from tests.rig import Ended, Rig, command, file, function, ordinary_account, rig

SECRET = b"hunter2-of-the-working-folder"
# A script as people write them: what it needs and what it leaves lies beside it.
JOB = """
import os, pathlib, sqlite3, sys
import beside
assert beside.WORD == "imported" and pathlib.Path(__file__).with_name("beside.py").exists()
with open("report.csv", "w") as out:
    out.write("a,b\\n1,2\\n")
with open("log.txt", "a") as log:
    log.write("second\\n")
assert open("log.txt").read() == "first\\nsecond\\n"
with sqlite3.connect("shop.db") as db:
    db.execute("INSERT INTO orders VALUES (2)")
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (2,)
os.makedirs("target/run")
pathlib.Path("target/run/a.json").write_text("{}")
pathlib.Path("data/new.txt").write_text("new")
pathlib.Path(".cache").write_text("not given")
pathlib.Path(os.environ["SEALRUN_OUTPUT_DIR"], "kept.txt").write_text("kept")
print("done")
"""


NO_LANDLOCK, NO_NAMESPACES, NO_LAYERS = (
    str(Path(__file__).parents[1] / f"no_{name}.py") for name in ("landlock", "namespaces", "layers")
)
MACHINES = {
    "root, namespace": (True, ()),
    "user, namespace": (False, ()),
    "root, landlock": (True, [NO_NAMESPACES]),
    "user, landlock": (False, [NO_NAMESPACES]),
    "root, process": (True, [NO_LANDLOCK, NO_NAMESPACES]),
    "user, process": (False, [NO_LANDLOCK, NO_NAMESPACES]),
    "root, no layers": (True, [NO_LAYERS]),
}
DAILY = ("root, landlock", "user, namespace")


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in DAILY else pytest.mark.long) for name in MACHINES], scope="module"
)
def shop(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker, as root or as an ordinary user, on machines that grant more or less; root owns the source."""
    as_root, launcher = MACHINES[request.param]
    options: dict[str, Any] = {} if as_root else {"account": ordinary_account()}
    with rig(**options) as made:
        made.project("shop", {"API_KEY": SECRET})
        made.job(JOB, "job.py")
        made.job("WORD = 'imported'", "beside.py")
        made.job("first\n", "log.txt")
        (made.jobs / "data").mkdir()
        with sqlite3.connect(made.jobs / "shop.db") as db:
            db.execute("CREATE TABLE orders (id)")
            db.execute("INSERT INTO orders VALUES (1)")
        made.how = "overlay" if request.param.endswith("namespace") else "copy"  # type: ignore[attr-defined]
        worker = made.start_worker(launcher=launcher)
        assert request.param.split()[-1] in (made.rung(worker), "layers")
        yield made


Asked = Callable[[Rig], dict[str, Any]]
both = pytest.mark.parametrize("asked", [lambda _: {}, lambda made: made.uploaded()], ids=["folder", "upload"])


def given(made: Rig, ended: Ended, folder: Path) -> dict[str, bytes]:
    """The files that `runs download` writes."""
    files.download(made.db, ended.view.id, ended.view.attempt, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@both
def test_a_script_writes_beside_itself(shop: Rig, asked: Asked, tmp_path: Path) -> None:
    """New files, an existing one appended to, a database in place, folders; the source is as it was."""
    before = tree(shop.jobs)
    ended = shop.run(file("job.py"), **asked(shop))
    assert ended.view.receipt.controls["working_folder"] == shop.how  # type: ignore[attr-defined, union-attr, index]
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    found = given(shop, ended, tmp_path)
    assert set(found) == {"kept.txt", "report.csv", "log.txt", "shop.db", "target/run/a.json", "data/new.txt"}
    assert found["log.txt"] == b"first\nsecond\n" and found["report.csv"] == b"a,b\n1,2\n"
    assert "sealrun: wrote 5 files beside the source" in ended.stderr and "report.csv" in ended.stderr
    assert tree(shop.jobs) == before
    assert not shop.place(ended.view.id).exists()


@both
def test_a_command_and_a_function_write_beside_the_source(shop: Rig, asked: Asked, tmp_path: Path) -> None:
    """A program of the source by its path, and a function's module."""
    shop.job("#!/bin/sh\necho x > by_shell.txt; cat log.txt\n", "run.sh")
    (shop.jobs / "run.sh").chmod(0o755)
    shop.job("def go():\n    open('by_function.txt', 'w').write('x')\n", "functions.py")
    ended = shop.run(command("./run.sh"), **asked(shop))
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    assert given(shop, ended, tmp_path / "1") == {"by_shell.txt": b"x\n"} and ended.stdout == "first\n"
    ended = shop.run(function("functions.py", "go"), **asked(shop))
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    assert given(shop, ended, tmp_path / "2") == {"by_function.txt": b"x"}


def test_a_secret_written_beside_the_script_is_masked(shop: Rig, tmp_path: Path) -> None:
    """I5: as in a file of SEALRUN_OUTPUT_DIR, in its name, too, and where the line at the end names it."""
    code = "import os; key = os.environ['API_KEY']; open('a.txt', 'w').write(key); open(f'{key}.txt', 'w').write('x')"
    ended = shop.python_run(f"{code}; open('b.bin', 'wb').write(b'\\0' + key.encode())")
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    found = given(shop, ended, tmp_path)
    assert found == {"a.txt": b"***", "***.txt": b"x"}, found
    assert SECRET.decode() not in ended.stderr + str(shop.view(ended.view.id))
    assert "wrote 2 files beside the source (4 bytes): a.txt, ***.txt;" in ended.stderr


def test_nothing_of_one_run_is_there_for_the_next(shop: Rig) -> None:
    """No folder stays between runs."""
    code = "import os; print(sorted(set(os.listdir()) & {'state.txt'})); open('state.txt', 'w').write('1')"
    assert [shop.python_run(code).stdout for _ in range(2)] == ["[]\n", "[]\n"]


def test_a_source_that_is_too_large_to_be_copied_is_read_only_and_said_to_be(shop: Rig) -> None:
    """Where it can only be copied; a layer over it takes any."""
    (shop.jobs / "many").mkdir()
    for number in range(2_001):
        (shop.jobs / f"many/{number}").touch()
    try:
        ended = shop.python_run("open('new.txt', 'w').close()")
    finally:
        for number in range(2_001):
            (shop.jobs / f"many/{number}").unlink()
    if shop.how == "overlay":  # type: ignore[attr-defined]
        assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
        return
    why = "it has more than 2,000 files, or 64 MiB"
    assert ended.view.receipt.controls["working_folder"] == f"read-only: {why}"  # type: ignore[union-attr, index]
    assert ended.how == ("failed", "exception", 1), shop.told(ended.view.id)
    assert f"a run cannot write to its source here, as {why};" in ended.stderr


def test_a_path_in_full_leads_to_the_working_folder(shop: Rig, tmp_path: Path) -> None:
    """A file and a program of the source, named as the submitter's machine has them."""
    shop.job("import pathlib; pathlib.Path(__file__).with_name('full.txt').write_text('x')", "full.py")
    target = {**file("full.py"), "typed": str(shop.jobs / "full.py")}
    ended = shop.run(target)
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    assert given(shop, ended, tmp_path) == {"full.txt": b"x"}


def test_nothing_is_left_of_a_run_that_leaves_all_it_can(shop: Rig) -> None:
    """Deep folders, closed ones, and what the kernel needs for a layer: all gone with the attempt."""
    code = """
import os, signal, sys
for number in range(300):
    os.mkdir("d"); os.chdir("d")
os.mkdir("closed"); open("closed/file", "w").close(); os.chmod("closed", 0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = shop.python_run(code)
    assert ended.how[0] == "failed"
    assert not shop.place(ended.view.id).exists()
    assert [path.name for path in shop.workspaces.iterdir() if not path.name.startswith(".worker-")] == []


def test_a_run_whose_interpreter_is_started_anew_writes_beside_itself(shop: Rig, tmp_path: Path) -> None:
    """Its first box, or copy, was made for nothing: what Python reads at its start was known only later."""
    ended = shop.python_run("open('new.txt', 'w').write('x')", variables={"PYTHONUTF8": "1"})
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    assert given(shop, ended, tmp_path) == {"new.txt": b"x"}


def test_patterns_of_the_submitter_choose(shop: Rig, tmp_path: Path) -> None:
    """Hidden files and programs only where they are named; what SEALRUN_OUTPUT_DIR has is given anyway."""
    code = """
import os, pathlib
for name in ("a.csv", "b.txt", ".state"):
    pathlib.Path(name).write_text("x")
os.chmod("a.csv", 0o755)
pathlib.Path(os.environ["SEALRUN_OUTPUT_DIR"], "kept").write_text("x")
"""
    ended = shop.python_run(code, collect=["*.csv", ".state"])
    assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
    assert set(given(shop, ended, tmp_path)) == {"a.csv", ".state", "kept"}
    assert (tmp_path / "a.csv").stat().st_mode & 0o100 and not (tmp_path / ".state").stat().st_mode & 0o100
