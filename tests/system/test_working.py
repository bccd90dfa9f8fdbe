"""What a run writes beside itself works, is given at its end with its other files, and is nowhere after it."""

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


@pytest.fixture(params=["root", "user"], scope="module")
def shop(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker, as root or as an ordinary user, and a source that root owns."""
    options: dict[str, Any] = {} if request.param == "root" else {"account": ordinary_account()}
    with rig(**options) as made:
        made.project("shop", {"API_KEY": SECRET})
        made.job(JOB, "job.py")
        made.job("WORD = 'imported'", "beside.py")
        made.job("first\n", "log.txt")
        (made.jobs / "data").mkdir()
        import sqlite3

        with sqlite3.connect(made.jobs / "shop.db") as db:
            db.execute("CREATE TABLE orders (id)")
            db.execute("INSERT INTO orders VALUES (1)")
        made.start_worker()
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
