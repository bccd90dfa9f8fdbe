"""Jobs: a worker that has the key does them, once, with a receipt; one that has not leaves them alone."""

from typing import Any

import pytest
from sqlalchemy import update

from executor.jobs import claims, reading
from executor.jobs.receipts import JobWitness
from executor.keys import rotation
from executor.models import Job
from executor.operations import jobs as operations
from executor.operations import keys, projects, secrets
from executor.runs import StaleToken
from executor.schemas.jobs import JobNamed
from executor.schemas.jobs import Jobs as ThoseJobs
from executor.schemas.places import InEnvironment, InProject
from executor.schemas.projects import NewProject
from executor.schemas.secrets import NewSecret, SecretDeletion
from secretstore import vault
from secretstore.errors import AlreadyExists, InUse
from secretstore.key_files import create_local_key
from secretstore.local_keys import LocalKeys
from tests.executor.worker.conftest import VALUE, WHO, Crew


def test_i4_a_rotation_by_a_worker_has_a_receipt_and_is_of_who_asked(crew: Crew) -> None:
    """One private key unwrapped, before it a receipt; both versions named; closed once the process has ended."""
    job = crew.rotation()
    assert (job.state, job.kind, job.created_by) == ("pending", "rotate", WHO.name)
    crew.do(crew.worker())
    found = crew.show(job)
    assert (found.state, found.attempt, found.done and found.done["generation"]) == ("succeeded", 1, 2)
    (receipt,) = found.receipts
    assert (receipt.generation, receipt.status, receipt.worker, receipt.reason) == (1, "closed", "w1", None)
    assert receipt.opening_at <= receipt.opened_at <= receipt.dropped_at  # type: ignore[operator]
    assert [(one.name, one.versions) for one in receipt.secrets] == [("API_KEY", (1, 2))]
    told = crew.events("job.submit", "secrets.open", "key.rotate", "secrets.close", "key.destroy")
    assert [(action, actor) for action, actor, _, _ in told] == [
        (action, WHO.name) for action in ("job.submit", "key.rotate", "key.destroy", "secrets.open", "secrets.close")
    ]
    assert {origin for action, _, origin, _ in told if action != "job.submit"} == {"worker w1"}
    assert all(detail["job"] == job.id for action, _, _, detail in told if not action.startswith("key."))
    assert crew.opened() == {"API_KEY": VALUE} and crew.generations() == [(1, "destroyed"), (2, "current")]
    crew.do(crew.worker())
    assert crew.generations() == [(1, "destroyed"), (2, "current")], "it is not done twice"


def test_a_rename_by_a_worker(crew: Crew) -> None:
    """What would be refused is refused at the door; the receipt names what was opened, the record both names."""
    with pytest.raises(AlreadyExists):
        crew.renaming("API_KEY")
    job = crew.renaming()
    crew.do(crew.worker())
    found = crew.show(job)
    assert found.state == "succeeded" and found.done is not None
    assert (found.done["was"], found.done["secret"]["name"], found.done["versions"]) == ("API_KEY", "TOKEN", 2)
    assert [(one.name, one.versions) for one in found.receipts[0].secrets] == [("API_KEY", (1, 2))]
    ((_, actor, origin, detail),) = crew.events("secret.rename")
    assert (actor, origin, detail["from"], detail["to"]) == (WHO.name, "worker w1", "API_KEY", "TOKEN")
    assert crew.opened() == {"TOKEN": VALUE}


def test_a_rewrap_by_a_worker_moves_to_its_first_key_service(crew: Crew) -> None:
    """Asked of a machine that opens no key, done by one that has both."""
    new = crew.folder / "home" / "keys" / "new.key"
    create_local_key(new)
    (job,) = keys.submit_rewrap(crew.server, WHO, InProject(project="shop"))
    crew.do(crew.worker(keys=f"local:{new},local:{crew.key_file}"))
    found = crew.show(job)
    assert found.state == "succeeded" and found.done is not None and len(found.done["keys"]) == found.done["of"] == 1
    assert [key.key_service for key in vault.list_keys(crew.db, "shop")] == [LocalKeys(new).id]
    assert found.receipts[0].opened_at and found.receipts[0].dropped_at
    (again,) = keys.submit_rewrap(crew.server, WHO, InProject(project="shop"))
    crew.do(crew.worker(keys=f"local:{new}"))
    found = crew.show(again)
    assert found.state == "succeeded" and found.done is not None and found.done["keys"] == []
    assert found.receipts[0].opened_at is None, "there was nothing to unwrap"


def test_a_worker_without_the_key_does_not_take_it(crew: Crew) -> None:
    """Neither one with the public half alone nor one of another key file; who asks is told what is missing."""
    job = crew.rotation()
    assert "no live worker has the key service local:" in str(job.waiting_for)
    other = crew.folder / "other" / "local.key"
    create_local_key(other)
    for worker in (
        crew.worker("w0", f"local:{crew.key_file.with_suffix('.pub')}", live=True),
        crew.worker("w1", f"local:{other}", live=True),
    ):
        worker.look(takes=True)
        assert not worker.busy
    assert crew.show(job).state == "pending" and crew.show(job).waiting_for
    here = InEnvironment(project="shop", environment="default")
    assert operations.serving(crew.server, WHO, here).workers == ()
    able = crew.worker("w2", live=True)
    assert operations.serving(crew.server, WHO, here).workers == ("w2",) and crew.show(job).waiting_for is None
    able.look(takes=False)
    assert not able.busy, "a worker that takes nothing takes no job"
    crew.do(able)
    assert crew.show(job).state == "succeeded"


def test_a_stale_worker_commits_nothing(crew: Crew) -> None:
    """It stood still, its lease ran out, another has taken the job: its act is undone by the database."""
    job = crew.rotation()
    taken, lease = crew.claimed("w0", -1)
    settings = crew.settings(f"local:{crew.key_file}")
    another: list[int] = []

    def tell(step: str, _: int) -> None:
        if step == "flipping":
            another.append(crew.claimed("w1", 30)[1].token)

    with pytest.raises(StaleToken):
        rotation.rotate(
            settings, crew.db, "shop", "default", actor=WHO, pins=crew.server.pins, tell=tell, zygote=crew.zygote,
            witness=JobWitness(crew.db, taken, lease, "w0"),
        )  # fmt: skip
    assert another == [2] and crew.generations()[0] == (1, "current") and crew.opened() == {"API_KEY": VALUE}
    assert not claims.finish(crew.db, lease, "succeeded") and not claims.renew(crew.db, lease)
    assert crew.events("key.rotate") == [] and crew.show(job).state == "running"


def test_what_was_committed_is_not_done_again(crew: Crew) -> None:
    """The worker died between the act and the word that the job is over: the next one only says it."""
    job = crew.rotation()
    taken, lease = crew.claimed("w0", -1)
    witness = JobWitness(crew.db, taken, lease, "w0")
    settings = crew.settings(f"local:{crew.key_file}")
    rotation.rotate(settings, crew.db, "shop", "default", actor=WHO, pins=crew.server.pins, witness=witness)
    assert crew.show(job).state == "running"
    crew.do(crew.worker())
    found = crew.show(job)
    assert (found.state, found.attempt, len(found.receipts)) == ("succeeded", 2, 1)
    assert len(crew.events("key.rotate")) == 1 and crew.generations()[-1] == (2, "current")


def test_a_refused_worker_leaves_it_to_another(one_crew: Crew) -> None:
    """Its key file is gone: given back unopened, its receipt closed with the reason. With nobody left it fails."""
    crew = one_crew
    away = crew.folder / "away.key"
    refused, able = crew.worker("w0", live=True), crew.worker("w1", live=True)
    job = crew.rotation()
    crew.key_file.rename(away)
    crew.do(refused)
    found = crew.show(job)
    assert (found.state, found.waiting_for) == ("pending", None) and "w0: " in str(found.message)
    assert (found.receipts[0].status, found.receipts[0].opened_at) == ("closed", None)
    assert "no key file at" in str(found.receipts[0].reason)
    refused.look(takes=True)
    assert not refused.busy, "it leaves the environment to the other"
    away.rename(crew.key_file)
    crew.do(able)
    assert (crew.show(job).state, crew.show(job).attempt) == ("succeeded", 2)
    second = crew.rotation()
    crew.key_file.rename(away)
    crew.do(able)
    found = crew.show(second)
    assert (found.state, found.reason) == ("failed", "key_operation_failed") and "no key file at" in str(found.message)
    assert crew.generations()[-1] == (2, "current")


def test_a_worker_that_stops_gives_it_back(one_crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps; nothing of it counts, and another does it at once."""
    crew, stopping = one_crew, one_crew.worker("w0")
    job = crew.rotation()
    real = rotation.vault.add_successor

    def stop(*given: Any, **more: Any) -> Any:
        stopping._worker.stopping.set()
        return real(*given, **more)

    monkeypatch.setattr(rotation.vault, "add_successor", stop)
    crew.do(stopping)
    assert (crew.show(job).state, crew.show(job).message) == ("pending", "its worker was stopped")
    monkeypatch.undo()
    crew.do(crew.worker("w1"))
    assert crew.show(job).state == "succeeded" and len(crew.events("key.rotate")) == 1


@pytest.mark.parametrize("why", ["lost", "gone"])
def test_what_nobody_can_do_any_more_fails(one_crew: Crew, why: str) -> None:
    """Its workers died ten times, or its project was deleted."""
    crew, job = one_crew, one_crew.rotation()
    if why == "lost":
        with crew.db.writing() as session:
            session.exec(update(Job).values(attempt=claims.ATTEMPTS_LIMIT))
    else:
        vault.delete_project(crew.db, "shop", actor=WHO, ending=lambda *_: {})
    crew.worker().look(takes=True)
    with crew.db.reading() as session:
        row = session.get_one(Job, job.id)
    assert (row.state, row.reason) == ("failed", "lost" if why == "lost" else "place_gone") and row.finished_at


def test_a_secret_made_anew_under_the_name_is_not_renamed(one_crew: Crew) -> None:
    """Nobody asked for that one."""
    crew, job = one_crew, one_crew.renaming()
    asked = SecretDeletion(project="shop", environment="default", name="API_KEY")
    secrets.delete(crew.server, WHO, asked)
    secrets.set_(crew.server, WHO, NewSecret(project="shop", environments=("default",), name="API_KEY", value=VALUE))
    crew.do(crew.worker())
    found = crew.show(job)
    assert (found.state, found.reason, found.receipts) == ("failed", "unknown_secret", ())
    assert crew.opened() == {"API_KEY": VALUE}


def test_a_source_that_names_it_by_then_keeps_its_name(one_crew: Crew) -> None:
    """What a connection leads to is not changed behind its back."""
    crew, job = one_crew, one_crew.renaming()
    lake = {"bucket": "b", "credentials": {"$secret": "API_KEY"}}
    vault.create_connection(crew.db, "shop", "default", "source", "lake", "s3", lake, actor=WHO)
    with pytest.raises(InUse):
        crew.renaming()
    crew.do(crew.worker())
    assert (crew.show(job).state, crew.show(job).reason) == ("failed", "in_use")


def test_jobs_are_listed_the_latest_first(one_crew: Crew) -> None:
    """Of a project or an environment; another project's are not found."""
    crew = one_crew
    first, second = crew.rotation(), crew.renaming()
    listed = operations.list_(crew.server, WHO, ThoseJobs(project="shop"))
    assert [job.id for job in listed] == [second.id, first.id]
    assert operations.list_(crew.server, WHO, ThoseJobs(project="shop", environment="staging")) == []
    projects.create(crew.server, WHO, NewProject(name="other"))
    with pytest.raises(reading.UnknownJob):
        operations.show(crew.server, WHO, JobNamed(project="other", job=first.id))
