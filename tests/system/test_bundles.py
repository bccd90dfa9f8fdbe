"""Runs of uploaded source: on a machine that the submitter's files are not on, from a folder that no run can change."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from executor.worker.cache import note_of
from secretstore import vault
from tests.processes import eventually
from tests.rig import PATIENCE, Rig, command, file, function, module, rig

KEY = b"hunter2-prod-key-5417"


@pytest.fixture(scope="module")
def far(redis_database: str, postgres_database: str) -> Iterator[Rig]:
    """A submitter on one machine and a worker on another: servers are all that they share."""
    with rig(broker=redis_database, database=postgres_database) as made:
        made.project("shop", {"API_KEY": KEY})
        made.start_worker(environ={"SEALRUN_HOST": "another-machine"})
        yield made


def test_runs_where_the_source_is_not(far: Rig) -> None:
    """File, module, function and command find their code, what stands beside it, links, modes and secrets."""
    far.job("word = 'imported'\n", "pieces/neighbour.py")
    far.job(
        "import sys, neighbour\nprint(sys.argv[1], neighbour.word, open('data/rates.csv').read())", "pieces/main.py"
    )
    far.job("import os\ndef seen():\n    return [os.environ['API_KEY'][:0], sorted(os.listdir('.'))]\n", "seen.py")
    far.job("import pieces.neighbour\nprint(pieces.neighbour.word)", "pieces/as_module.py")
    far.job("1,2", "data/rates.csv")
    far.job('#!/bin/sh\necho "$1 from $(basename $(dirname $PWD))"\n', "tool.sh")
    (far.jobs / "tool.sh").chmod(0o755)
    (far.jobs / "current").symlink_to("data")
    far.job("print('never uploaded')", "local/notes.py")
    (far.jobs / ".sealrunignore").write_text("local/\n")
    asked = far.uploaded()
    elsewhere = far.jobs.with_name("moved")
    far.jobs.rename(elsewhere)
    try:
        ends = [
            far.run(target, **asked)
            for target in (
                file("pieces/main.py", "main"),
                module("pieces.as_module"),
                function("seen.py", "seen"),
                command("./tool.sh", "hello"),
                command("cat", "current/rates.csv"),
            )
        ]
    finally:
        elsewhere.rename(far.jobs)
    assert [ended.view.state for ended in ends] == ["succeeded"] * 5, [ended.stderr for ended in ends]
    assert [ended.stdout for ended in ends if ended.stdout] == [
        "main imported 1,2\n", "imported\n", "hello from sources\n", "1,2",
    ]  # fmt: skip
    files = [".sealrunignore", "current", "data", "pieces", "seen.py", "tool.sh"]
    ignored, found = ends[2].view.result
    assert (ignored, [name for name in found if name != "__pycache__"]) == ("", files)
    assert (ends[0].view.bundle, ends[0].view.source_root) == (asked["bundle"], str(far.jobs))


def test_a_commands_own_interpreter_is_the_workers(far: Rig) -> None:
    """What `python3` on the worker's PATH is, is the run's; the submitter's is not asked for."""
    ended = far.run(file(far.job("import sys\nprint(sys.executable)")), **far.uploaded())
    assert ended.how == ("succeeded", None, 0)
    assert Path(ended.stdout.strip()).name.startswith("python3")


def test_a_source_that_is_gone_or_damaged(far: Rig) -> None:
    """The run says so, and submitting the same again mends it."""
    path = far.job("print('damaged')")
    asked = far.uploaded()
    far.execute(
        "UPDATE executor_source_bundle_chunk SET data = :data WHERE digest = :this", data=b"", this=asked["bundle"]
    )
    first = far.run(file(path), **asked)
    assert first.how == ("failed", "setup_failed", None)
    assert "is damaged: a piece of it is missing or broken (submit the run again" in str(first.view.message)
    second = far.run(file(path), **asked)
    assert second.how == ("failed", "setup_failed", None)
    assert "is no longer in the database" in str(second.view.message)
    assert far.run(file(path), **far.uploaded()).stdout == "damaged\n"


def test_ten_at_once_unpack_once(far: Rig) -> None:
    """Ten runs of a new source; one folder is made, and each finds it whole."""
    for number in range(300):
        far.job(f"# {number}\n" * 100, f"many/m{number}.py")
    path = far.job("import os\nprint(len(os.listdir('many')))")
    unpacked = far.settings.cache / vault.get_project(far.db, "shop").id / "sources"
    before = set(unpacked.rglob("m299.py"))
    asked = far.uploaded()
    ends = [far.ended(run_id) for run_id in [far.submit(file(path), **asked) for _ in range(10)]]
    assert {ended.stdout for ended in ends} == {"300\n"}
    assert len(set(unpacked.rglob("m299.py")) - before) == 1
    shutil.rmtree(far.jobs / "many")


@pytest.mark.long
def test_a_worker_killed_while_it_fetches(far: Rig) -> None:
    """I7: the run goes to the next worker, which finds the place where the other one was at work, and fills it."""
    path = far.job("print('once')")
    asked = far.uploaded()
    kept = far.settings.cache / vault.get_project(far.db, "shop").id / "sources"
    # The name of a host makes it one worker's until that is dead.
    run_id = far.submit(file(path), **{**asked, "host": "third-machine"})
    with far.db.writing() as session:
        session.connection().execute(text("LOCK TABLE executor_source_bundle_chunk IN ACCESS EXCLUSIVE MODE"))
        doomed = far.start_worker(environ={"SEALRUN_HOST": "third-machine"}, slots=1)
        eventually((kept / asked["bundle"]).exists, PATIENCE, "it is being fetched")
        assert not note_of(kept / asked["bundle"]).exists()
        doomed.process.kill()
        doomed.process.wait()
    far.execute("UPDATE executor_run SET host = NULL, lease_until = NULL WHERE id = :id", id=run_id)
    far.ring(run_id)
    ended = far.ended(run_id)
    assert (ended.how, ended.stdout, ended.view.attempt) == (("succeeded", None, 0), "once\n", 2)
    assert (kept / asked["bundle"] / path).exists() and note_of(kept / asked["bundle"]).exists()
