"""Key pairs are rotated while runs go on and secrets are set; the rotation is killed again and again."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from executor.keys import rotation
from executor.models import RunSpec
from executor.submission import submit
from secretstore import audit_reading, vault
from secretstore.bundle import SealedItem
from secretstore.local_keys import LocalKeys
from secretstore.models import KeyPair, Secret, SecretVersion
from secretstore.reveal import reveal
from secretstore.vault.storing import VERSIONS_KEPT
from tests.processes import eventually
from tests.rig import ACTOR, Rig, file, rig
from tests.system.rotator import OVERTAKEN

SECRETS, VERSIONS = 12, 10
KILLED = -9

# A value would come out masked; what stands at its ends is its name and version, and too short for that.
JOB = """
import json, os
given = {name: value.split() for name, value in os.environ.items() if name[0] == "S" and name[1:].isdigit()}
print(json.dumps({name: [words[2], int(words[-1])] for name, words in given.items()}))
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One worker; on SQLite with the embedded broker, on PostgreSQL too."""
    database = None
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_database")
        database = url.replace("postgresql://", "postgresql+psycopg://", 1)
    with rig(database=database) as made:
        made.start_worker()
        yield made


@pytest.fixture
def project(place: Rig) -> str:
    """A project with more versions than a batch has."""
    name = f"p-{uuid.uuid4().hex[:12]}"
    place.project(name)
    for number in range(SECRETS):
        for version in range(1, VERSIONS + 1 if number else 2):
            put(place, name, number, version)
    return name


def put(place: Rig, project: str, number: int, version: int) -> None:
    value = f"value of S{number} version {version}".encode()
    assert vault.put(place.db, project, "default", f"S{number}", value, actor=ACTOR, pins=place.pins).version == version


class Rotator:
    """The process that rotates in forks which may be killed."""

    def __init__(self, place: Rig, project: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("rotator.py")), project]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **place.environ}
        )

    def __call__(self, **asked: Any) -> tuple[list[int], float]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        return said["ended"], said["seconds"]

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


class Traffic:
    """Runs, one after another, and one secret that is set again and again, until it is told to stop."""

    def __init__(self, place: Rig, project: str) -> None:
        self.place, self.project = place, project
        self.target = file(place.job(JOB))
        self.runs: list[str] = []
        self.latest = 1
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._try, args=(work,)) for work in (self._run, self._set)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not self._failed, self._failed

    def _try(self, work: Any) -> None:
        try:
            while not self._stop.is_set():
                work()
        except BaseException as error:  # noqa: BLE001  # told where the test can see it
            self._failed.append(error)

    def _run(self) -> None:
        self.runs.append(self.place.submit(self.target, self.project))
        self.place.ended(self.runs[-1])

    def _set(self) -> None:
        put(self.place, self.project, 0, self.latest + 1)
        self.latest += 1
        self._stop.wait(0.1)

    def check(self) -> None:
        """Every run has succeeded, with the values that its receipt names."""
        assert len(self.runs) > 5
        for run_id in self.runs:
            ended = self.place.ended(run_id)
            assert ended.how == ("succeeded", None, 0), self.place.told(run_id)
            assert ended.view.receipt is not None and ended.view.receipt.status == "closed"
            given = {entry.name: entry.version for entry in ended.view.receipt.secrets}
            assert len(given) == SECRETS and all(given[f"S{n}"] == VERSIONS for n in range(1, SECRETS))
            assert json.loads(ended.stdout) == {name: [name, version] for name, version in given.items()}


def every_version_opens(place: Rig, project: str) -> int:
    """All kept versions, under the key pair of now, have the value that was set; returns how many there are."""
    here = vault.get_environment(place.db, project, "default")
    with place.db.writing() as session:
        bundle = vault.sealed_bundle(session, here.id, None)
        query = select(Secret.id, Secret.name, SecretVersion.version, SecretVersion.sealed, SecretVersion.generation)
        rows = session.exec(query.where(SecretVersion.secret_id == Secret.id, Secret.environment_id == here.id)).all()
    now = [row[:4] for row in rows if row[4] == here.generation]
    assert {row[:3] for row in rows} == {row[:3] for row in now}
    items = tuple(SealedItem(*row) for row in now)
    for item, value in reveal(LocalKeys(place.key_file), replace(bundle, items=items)):
        assert value == f"value of {item.name} version {item.version}".encode()
    return len(items)


@pytest.mark.parametrize(
    "place", [pytest.param(name, marks=pytest.mark.long) for name in ("sqlite", "postgresql")], indirect=True
)
def test_killed_anywhere_and_run_again_while_runs_go_on(place: Rig, project: str) -> None:
    """I2, I7: after each kill one generation is whole and current; every run succeeds; at the end nothing is lost."""
    rotator = Rotator(place, project)
    try:
        with Traffic(place, project) as traffic:
            eventually(lambda: len(traffic.runs) > 1, 30, "runs go on")
            # Before the flip the old generation stays. After it the next is current, and the pin is still behind it.
            for step in (["begun", 1], ["resealed", 1], ["resealed", 2], ["flipping", 1], ["flipped", 1]):
                before = vault.get_environment(place.db, project, "default").generation
                assert rotator(step=step)[0] == [KILLED], step
                after = vault.get_environment(place.db, project, "default").generation
                assert after - before == (step[0] == "flipped"), step
            ended, seconds = rotator()
            assert ended == [0]
            for part in (1, 2) if place.db.dialect == "sqlite" else (1,):  # and wherever else the time is spent
                assert rotator(after=seconds * part / 2.5)[0] in ([KILLED], [0])
            assert rotator()[0] == [0]
            ended, _ = rotator(twice=True)
            assert ended in ([0, 0], [0, OVERTAKEN]), "of two at once one wins, and the other says so"
            eventually(lambda: len(traffic.runs) > 6, 30, "runs went on")
        traffic.check()
        assert every_version_opens(place, project) == (SECRETS - 1) * VERSIONS + min(traffic.latest, VERSIONS_KEPT)
    finally:
        rotator.close()
    assert audit_reading.verify(place.db, project).ok
    generations = vault.get_environment(place.db, project, "default").generation
    rotation.destroy_unused(place.db, ACTOR)
    with place.db.reading() as session:
        here = vault.get_environment(place.db, project, "default")
        pairs = session.exec(select(KeyPair).where(KeyPair.environment_id == here.id)).all()
    assert {pair.generation for pair in pairs if pair.wrapped_private_key is not None} == {generations}
    put(place, project, 0, traffic.latest + 1)
    assert place.run(traffic.target, project).how == ("succeeded", None, 0)


@pytest.mark.parametrize("names", [None, []])
def test_a_run_accepted_as_its_environment_is_deleted_fails_with_a_sentence(
    place: Rig, names: list[str] | None
) -> None:
    """I7: it is not left waiting, and is given nothing; one without secrets neither."""
    name = f"p-{uuid.uuid4().hex[:12]}"
    place.project(name, {"API_KEY": b"hunter2-prod-key"})
    here = vault.get_environment(place.db, name, "default")
    spec = RunSpec(
        project_id=here.project_id,
        project=name,
        environment_id=here.id,
        environment="default",
        target=file(place.job("print('ran')")),
        source_root=str(place.jobs),
        host=place.settings.host,
        python=place.python,
        queue=place.queue,
        secret_names=names,
    )
    vault.delete_environment(place.db, name, "default", actor=ACTOR)
    ended = place.ended(submit.submit(place.db, place.app, spec, ACTOR.name).run_id)
    assert (ended.how, ended.stdout) == (("failed", "secrets_unavailable", None), "")
    assert "no longer exists" in str(ended.view.message)
