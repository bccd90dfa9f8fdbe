"""Jobs through real processes: a machine with the public half asks, a worker with the key file does it or is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from executor.jobs import reading
from secretstore import audit, audit_reading, vault
from secretstore.models import KeyPair
from tests.leaks.evidence import Search, memory
from tests.processes import descendants, eventually, name
from tests.rig import ACTOR, PATIENCE, Rig, rig

VALUE = b"canary-of-a-job-4b1e7c90d2"
PRINT = "import os; print(len(os.environ['TOKEN']))"
MANY = 600


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def place(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker with the key file; its lease is short, for the test that kills it."""
    database = None
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_database")
        database = url.replace("postgresql://", "postgresql+psycopg://", 1)
    with rig(database=database, settings={"SEALRUN_LEASE_SECONDS": "5"}) as made:
        made.keep_broker()
        made.start_worker()
        yield made


@pytest.fixture
def project(place: Rig) -> str:
    """A project that was made with the public half alone, with a secret."""
    made = f"p-{uuid.uuid4().hex[:12]}"
    server(place, "project", "create", made)
    server(place, "secret", "set", "API_KEY", "-p", made, stdin=VALUE.decode())
    return made


def server(place: Rig, *words: str, stdin: str = "", code: int = 0) -> "subprocess.CompletedProcess[str]":
    """What the command line says on a machine that has the public half alone."""
    alone = {"SEALRUN_KEYS": f"local:{place.key_file.with_suffix('.pub')}", "PYTHONPATH": str(place.tree)}
    ended = subprocess.run(
        [sys.executable, "-m", "executor.cli", *words],
        cwd=place.folder, env={**place.environ, **alone}, input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    return ended


def rotations(place: Rig, project: str) -> list[dict[str, Any]]:
    audit.link_waiting(place.db)
    events = audit_reading.list_events(place.db, project)
    return [json.loads(one.detail) for one in events if one.action == "key.rotate"]


def test_i1_a_worker_does_it_and_keeps_nothing(place: Rig, project: str) -> None:
    """Rotated and renamed for who cannot open; afterwards neither worker nor zygote has the value, in any memory."""
    told = server(place, "key", "rotate", "-p", project)
    assert "the public half of a local key: it wraps private keys, and unwraps none" in told.stderr
    assert "a worker does it: job " in told.stderr and f"{project}/default has generation 2" in told.stdout
    told = server(place, "secret", "rename", "API_KEY", "TOKEN", "-p", project)
    assert f"API_KEY of {project}/default is TOKEN now: 1 versions" in told.stderr
    (worker,) = place.workers
    needles = {("value", "raw"): VALUE, ("value", "hex"): VALUE.hex().encode()}
    for pid in (worker.pid, worker.zygote):
        assert Search(needles).within("worker", memory(pid)) == set()
    control = Search({("home", "raw"): os.fsencode(place.home)})
    assert control.within("worker", memory(worker.pid)), "what it has is found"
    assert place.python_run(PRINT, project=project).stdout == f"{len(VALUE)}\n"
    listed = json.loads(server(place, "job", "list", "-p", project, "--json").stdout)
    assert [(job["kind"], job["state"]) for job in listed] == [("rename", "succeeded"), ("rotate", "succeeded")]
    shown = server(place, "job", "show", listed[0]["id"][:8], "-p", project).stdout
    assert "opened" in shown and "dropped" in shown and "API_KEY 1" in shown and VALUE.decode() not in shown


@pytest.mark.long
def test_where_no_worker_could_the_refusal_stands(place: Rig, project: str) -> None:
    """Nothing is submitted: it would wait for nobody."""
    with place.db.writing() as session:
        pair = session.get_one(KeyPair, (vault.get_environment(place.db, project, "default").id, 1))
        pair.key_service = "local:0000000000000000"
    told = server(place, "key", "rotate", "-p", project, code=1)
    assert "was not rotated: " in told.stderr and reading.list_jobs(place.db, project) == []


@pytest.mark.long
def test_a_killed_worker_leaves_nothing_half_done(place: Rig, project: str) -> None:
    """I7: the next one does it once; whatever moment it was, there is one rotation and every value opens."""
    for number in range(MANY):
        value = b"a-value-%d-of-many" % number
        vault.put(place.db, project, "default", f"S{number}", value, actor=ACTOR, pins=place.pins)
    alone = {"SEALRUN_KEYS": f"local:{place.key_file.with_suffix('.pub')}", "PYTHONPATH": str(place.tree)}
    asking = subprocess.Popen(
        [sys.executable, "-m", "executor.cli", "key", "rotate", "-p", project, "--json"],
        cwd=place.folder, env={**place.environ, **alone}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = place.workers[-1]
    eventually(lambda: begun(place, project), PATIENCE, "a worker has begun")
    for pid in (first.pid, *descendants(first.pid)):
        with contextlib.suppress(ProcessLookupError):
            if "valkey" not in name(pid) and "redis" not in name(pid):
                os.kill(pid, signal.SIGKILL)
    place.start_worker()
    said, _ = asking.communicate(timeout=120)
    assert asking.returncode == 0 and json.loads(said)["generation"] == 2
    (job,) = reading.list_jobs(place.db, project)
    assert job.state == "succeeded"
    assert len(rotations(place, project)) == 1
    code = f"import os; print(sum(os.environ[f'S{{n}}'] == f'a-value-{{n}}-of-many' for n in range({MANY})))"
    assert place.python_run(code, project=project).stdout == f"{MANY}\n"


def begun(place: Rig, project: str) -> bool:
    """Whether an attempt has a receipt: the private key is about to be unwrapped, or was."""
    return any(reading.show(place.db, project, job.id).receipts for job in reading.list_jobs(place.db, project))
