"""A worker with SEALRUN_DOORS=api beside somebody who can write to its database: what they write opens nothing."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from executor.keys.signing import create_signing_key, read_signing_key
from executor.models import Run
from executor.runs import accepting
from executor.runs.plans import Door, Signing
from secretstore import audit, vault
from secretstore.audit_reading import Filter, list_events
from secretstore.database import utc_now
from tests.rig import ACTOR, Ended, Rig, Target, command, file, rig

CANARY = b"hunter2-prod-key-5417"
SAYS = "import os; print(os.environ.get('STAGE'), len(os.environ.get('API_KEY', '')), 'OTHER' in os.environ)"


@dataclass
class Line:
    """A worker that insists on plans, and the servers whose plans it takes: one gives up its key for another."""

    rig: Rig
    servers: tuple[Door, ...]
    stranger: Door

    def put(self, target: Target, door: Door, changed: Mapping[str, Any], project: str = "shop", **asked: Any) -> str:
        """A run whose row somebody has changed in the very moment it was accepted; its id."""
        assert door.key is not None
        with self.rig.db.writing() as session:
            spec = self.rig.spec(target, project, **asked)
            row = accepting._row(spec, ACTOR.name, door, Signing(session, door.key)) | {"now": utc_now(), **changed}
            session.connection().execute(accepting._insertion(True), row)
        self.rig.ring(row["id"])
        return str(row["id"])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("servers")
    signers = [create_signing_key(folder / name) for name in ("old", "new", "stranger")]
    old, new, stranger = (Door("api", read_signing_key(folder / name)) for name in ("old", "new", "stranger"))
    settings = {"SEALRUN_DOORS": "api", "SEALRUN_SIGNERS": f"{signers[0]}, {signers[1]}"}
    with rig(settings=settings) as made:
        made.project("shop", {"API_KEY": CANARY, "OTHER": b"other-secret-4711"}, {"STAGE": "prod"})
        made.project("open")
        made.start_worker()
        yield Line(made, (old, new), stranger)


def refused(line: Line, run_id: str, why: str) -> Ended:
    """It began nothing and opened nothing; the run, its record and the audit log say why."""
    ended = line.rig.ended(run_id)
    assert ended.how == ("failed", "plan_refused", None), line.rig.told(run_id)
    assert why in (ended.view.message or "")
    assert (ended.stdout, ended.stderr, ended.view.started_at) == ("", "", None)
    (attempt,) = ended.view.attempts
    assert attempt.receipts == () and not line.rig.place(run_id).exists()

    audit.link_waiting(line.rig.db)
    events = list_events(line.rig.db, "shop", only=Filter(action="secrets.open"))
    told = [(one.outcome, json.loads(one.detail).get("reason")) for one in events if run_id in one.detail]
    assert told == [("refused", "plan_refused")]
    return ended


def test_what_a_server_has_accepted_runs(line: Line) -> None:
    """With its secrets and the variables it was accepted with; also by the key that follows; the door is on record."""
    path = line.rig.job(SAYS)
    for door in line.servers:
        ended = line.rig.run(file(path), door=door, secret_names=["API_KEY"])
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), f"prod {len(CANARY)} False\n"), ended.stderr
        assert ended.view.door == "api"
    again = line.rig.run(command("sh", "-c", "exit 3"), door=line.servers[0], retries=1, retry_on=["exit_code"])
    assert (again.how, again.view.attempt) == (("failed", "exit_code", 3), 2)


def test_a_forged_run_opens_nothing(line: Line) -> None:
    """Nor does it run: with secrets or without, from whoever has the database's URL, or signed by another server."""
    path = line.rig.job(SAYS)
    assert refused(line, line.rig.submit(file(path)), "bears no signature").view.door == "direct"
    refused(line, line.rig.submit(file(path), secret_names=[]), "bears no signature")
    refused(line, line.rig.submit(file(path), door=line.stranger), "none of this worker's SEALRUN_SIGNERS")


def test_a_changed_run_opens_nothing(line: Line) -> None:
    """Its target, its list of secrets, its environment; and a plan that is another run's."""
    path, env = line.rig.job(SAYS), command("env")
    door = line.servers[1]
    why = "not what was signed"
    refused(line, line.put(file(path), door, {"target": env}), why)
    refused(line, line.put(file(path), door, {"secret_names": None}, secret_names=["OTHER"]), why)
    place = vault.get_environment(line.rig.db, "shop", "default")
    swapped = {"project_id": place.project_id, "project": "shop", "environment_id": place.id}
    refused(line, line.put(env, door, swapped, "open"), why)
    good = line.rig.run(file(path), door=door)
    with line.rig.db.reading() as session:
        run = session.get(Run, good.view.id)
    assert run is not None and run.plan is not None
    refused(line, line.put(env, door, {"plan": run.plan}), why)
    canary = CANARY.decode()
    assert all(canary not in worker.said() for worker in line.rig.workers)
