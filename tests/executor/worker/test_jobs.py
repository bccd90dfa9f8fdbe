"""Jobs: a worker that has the key does them, once, with a receipt; one that has not leaves them alone."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import update
from sqlmodel import col

from executor.boundary.plans import SigningKey
from executor.boundary.supervision import Zygote
from executor.jobs import claims, reading
from executor.jobs.receipts import JobWitness
from executor.keys import creation, rotation
from executor.models import Job
from executor.operations import environments, keys, projects, secrets
from executor.operations import jobs as operations
from executor.operations.deployment import Deployment
from executor.runs import Offer, StaleToken, workers
from executor.schemas.jobs import JobNamed, JobView
from executor.schemas.jobs import Jobs as ThoseJobs
from executor.schemas.keys import KeyRotation
from executor.schemas.places import InEnvironment, InProject
from executor.schemas.projects import NewProject
from executor.schemas.secrets import NewSecret, SecretDeletion, SecretRename
from executor.settings import Settings, read_settings
from executor.worker.jobs import Jobs
from executor.worker.openings import Openings
from secretstore import audit, audit_reading, vault
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import AlreadyExists, DatabaseForbids, InUse
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess
from secretstore.local_keys import LocalKeys
from secretstore.reveal import reveal
from tests.processes import eventually

WHO = Actor("ada@elsewhere", "a door")
VALUE = b"hunter2-prod-key-8841"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A worker's."""
    started = Zygote()
    started.start()
    yield started
    started.stop()


class Crew:
    """A server that has the public half alone, and workers that may have the key file."""

    def __init__(self, db: Database, folder: Path, zygote: Zygote) -> None:
        self.db, self.folder, self.zygote = db, folder, zygote
        self.key_file = folder / "home" / "keys" / "local.key"
        create_local_key(self.key_file)
        self.server = Deployment(self.settings(f"local:{self.key_file.with_suffix('.pub')}"), db)

    def settings(self, keys: str) -> Settings:
        url = self.db.engine.url.render_as_string(hide_password=False)
        environ = {"SEALRUN_HOME": str(self.folder / "home"), "SEALRUN_DATABASE_URL": url, "SEALRUN_KEYS": keys}
        return read_settings(environ)

    def worker(self, name: str = "w1", keys: str | None = None, *, live: bool = False) -> Jobs:
        """What a worker of these key services does with jobs; `live` if others are to know of it."""
        settings = self.settings(keys or f"local:{self.key_file}")
        store = settings.store
        openings = Openings(store, lambda: self.zygote.offered(KeyAccess(store.keys)))
        fixed = Offer(name, "here", ("sealrun",), "landlock", key_services=openings.key_services)
        if live:
            workers.appear(self.db, fixed, 1, 1)
        storage = SimpleNamespace(failed=lambda problem: None)
        more = {"settings": settings, "db": self.db, "zygote": self.zygote, "storage": storage}
        return Jobs(_Worker(fixed=fixed, openings=openings, stopping=threading.Event(), **more))  # type: ignore[arg-type]

    def insistent(self, key: SigningKey, zygote: Zygote | None = None) -> Jobs:
        """A worker that does what this server has accepted; its zygote insists on that where it is one that does."""
        made = self.worker()
        made._worker.settings = replace(made._worker.settings, signers=(key.signer,))
        made._worker.zygote = zygote or self.zygote
        return made

    def sign(self, key: SigningKey) -> None:
        """The server signs from now on."""
        vars(self.server)["signing_key"] = key

    def forge(self, job: JobView, **values: Any) -> None:
        """Write a job's row past the product."""
        with self.db.writing() as session:
            session.exec(update(Job).where(col(Job.id) == job.id).values(**values))

    def do(self, worker: Jobs) -> None:
        """Let a worker look once, and do what it takes."""
        worker.look(takes=True)
        eventually(lambda: not worker.busy, 120, "the job ends")

    def show(self, job: JobView) -> JobView:
        return operations.show(self.server, WHO, JobNamed(project="shop", job=job.id[:12]))

    def rotation(self) -> JobView:
        return keys.submit_rotation(self.server, WHO, KeyRotation(project="shop", environment="default"))

    def renaming(self, new: str = "TOKEN", name: str = "API_KEY") -> JobView:
        asked = SecretRename(project="shop", environment="default", name=name, new=new)
        return secrets.submit_rename(self.server, WHO, asked)

    def claimed(self, worker: str, seconds: float) -> tuple[Job, claims.JobLease]:
        """The job, taken by a worker that is gone where its lease is over already."""
        offer = Offer(worker, "here", ("sealrun",), "landlock")
        taken = claims.claim(self.db, offer, seconds)
        assert taken is not None
        return taken

    def opened(self) -> dict[str, bytes]:
        place = vault.get_environment(self.db, "shop", "default")
        with self.db.writing() as session:
            bundle = vault.sealed_bundle(session, place.id, None)
        return {item.name: value for item, value in reveal(LocalKeys(self.key_file), bundle)}

    def events(self, *actions: str) -> list[tuple[str, str, str, dict[str, Any]]]:
        audit.link_waiting(self.db)
        return [
            (one.action, one.actor, one.origin, json.loads(one.detail))
            for one in audit_reading.list_events(self.db, "shop")
            if one.action in actions
        ]

    def generations(self) -> list[tuple[int, str]]:
        return [(view.generation, view.state) for view in vault.list_keys(self.db, "shop", "default")]


class _Worker(SimpleNamespace):
    @property
    def offer(self) -> Offer:
        return replace(self.fixed, key_services=self.openings.key_services, refused=tuple(self.openings.refused))


@pytest.fixture
def crew(db: Database, tmp_path: Path, zygote: Zygote) -> Crew:
    """A project that the server made, with a secret in two versions."""
    made = Crew(db, tmp_path, zygote)
    projects.create(made.server, WHO, NewProject(name="shop"))
    for value in (b"an-older-value-of-it", VALUE):
        asked = NewSecret(project="shop", environments=("default",), name="API_KEY", value=value)
        secrets.set_(made.server, WHO, asked)
    return made


@pytest.fixture
def one_crew(sqlite_db: Database, tmp_path: Path, zygote: Zygote) -> Crew:
    """The same on SQLite alone, for what does not depend on the kind of database."""
    made = Crew(sqlite_db, tmp_path, zygote)
    projects.create(made.server, WHO, NewProject(name="shop"))
    secrets.set_(made.server, WHO, NewSecret(project="shop", environments=("default",), name="API_KEY", value=VALUE))
    return made


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


class TestPlans:
    """A worker that insists on plans does what a server has accepted, as it was accepted."""

    @pytest.fixture
    def key(self, one_crew: Crew) -> SigningKey:
        key = SigningKey(Ed25519PrivateKey.generate())
        one_crew.sign(key)
        return key

    def test_what_was_accepted_is_done(self, one_crew: Crew, key: SigningKey) -> None:
        """Each kind, with a zygote that looks at the plan before it unwraps."""
        insistent = Zygote(signers=(key.signer,))
        insistent.start()
        try:
            (rewrapping,) = keys.submit_rewrap(one_crew.server, WHO, InProject(project="shop"))
            asked = [rewrapping, one_crew.rotation(), one_crew.renaming()]
            for job in asked:
                one_crew.do(one_crew.insistent(key, insistent))
                assert one_crew.show(job).state == "succeeded", one_crew.show(job).message
            assert one_crew.opened() == {"TOKEN": VALUE}
        finally:
            insistent.stop()

    def test_what_somebody_wrote_into_the_database_is_not(self, one_crew: Crew, key: SigningKey) -> None:
        """I4: forged, changed, another's, or too old: refused in its row and in the record, and nothing unwrapped."""
        changes: list[dict[str, Any]] = [
            {"plan": None},
            {"kind": "rewrap"},
            {"asked": {"drop_broken": True}},
            {"created_by": "eve"},
            {"environment_id": "0" * 32, "environment": "staging"},
            {"plan": {"until": 1 << 40}},
        ]
        other = one_crew.rotation()
        with one_crew.db.reading() as session:
            changes.append({"plan": session.get_one(Job, other.id).plan})
        one_crew.do(one_crew.insistent(key))
        assert one_crew.show(other).state == "succeeded"
        vault.create_environment(
            one_crew.db, "shop", "staging", actor=WHO, birth=creation.birth(one_crew.server.settings)
        )
        staging = vault.get_environment(one_crew.db, "shop", "staging").id
        for change in changes:
            job = one_crew.rotation()
            one_crew.forge(job, **{name: staging if value == "0" * 32 else value for name, value in change.items()})
            one_crew.do(one_crew.insistent(key))
            found = one_crew.show(job)
            assert (found.state, found.reason, found.receipts) == ("failed", "plan_refused", ()), change
            assert "this worker does not carry it out" in str(found.message) and found.over
            audit.link_waiting(one_crew.db)
            refused = [one for one in audit_reading.list_events(one_crew.db, "shop") if one.outcome == "refused"]
            assert any(job.id in one.detail and one.action == "secrets.open" for one in refused)
        assert one_crew.generations()[-1] == (2, "current"), "of the first one alone"

    def test_a_plan_is_not_good_for_ever(
        self, one_crew: Crew, key: SigningKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that was done is made `pending` again by who writes the database."""
        job = one_crew.rotation()
        monkeypatch.setattr("executor.jobs.plans.LIFE", -1)
        late = one_crew.rotation()
        monkeypatch.undo()
        for _ in range(2):
            one_crew.do(one_crew.insistent(key))
        assert one_crew.show(job).state == "succeeded"
        assert "too long ago" in str(one_crew.show(late).message)

    def test_the_process_that_unwraps_looks_itself(self, one_crew: Crew, key: SigningKey) -> None:
        """I4: whatever its worker has made of the row."""
        stranger = SigningKey(Ed25519PrivateKey.generate())
        zygote = Zygote(signers=(stranger.signer,))
        zygote.start()
        try:
            for job in (one_crew.rotation(), one_crew.renaming()):
                one_crew.do(one_crew.insistent(key, zygote))
                found = one_crew.show(job)
                assert found.reason == "plan_refused" and "SEALRUN_SIGNERS" in str(found.message)
                (receipt,) = found.receipts
                assert (receipt.status, receipt.opened_at) == ("closed", None)
        finally:
            zygote.stop()
        assert one_crew.generations() == [(1, "current")] and one_crew.opened() == {"API_KEY": VALUE}


class TestDeletion:
    """An environment whose keys the server's user of the database may not destroy: a worker deletes it."""

    @pytest.fixture
    def forbidden(self, one_crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
        projects_made = one_crew.server
        environments.create(projects_made, WHO, InEnvironment(project="shop", environment="staging"))

        def refuse(*given: Any, **more: Any) -> None:
            monkeypatch.undo()  # the worker may
            raise DatabaseForbids(url="postgresql://", why="permission denied")

        monkeypatch.setattr(environments.vault, "delete_environment", refuse)

    def delete(self, crew: Crew) -> str:
        deleted = environments.delete(crew.server, WHO, InEnvironment(project="shop", environment="staging"))
        assert deleted.job is not None
        return deleted.job

    def there(self, crew: Crew) -> list[str]:
        return [one.name for one in vault.list_environments(crew.db, "shop")]

    def job(self, crew: Crew, job: str) -> JobView:
        return operations.show(crew.server, WHO, JobNamed(project="shop", job=job))

    def test_a_worker_deletes_it(self, one_crew: Crew, forbidden: None) -> None:
        """Any of its place: it opens nothing. Until then all is there."""
        job = self.delete(one_crew)
        assert self.there(one_crew) == ["default", "staging"]
        assert self.job(one_crew, job).waiting_for == "no live worker serves shop/staging"
        one_crew.do(one_crew.worker(keys=f"local:{one_crew.key_file.with_suffix('.pub')}"))
        found = self.job(one_crew, job)
        assert (found.state, found.receipts) == ("succeeded", ()), found.message
        assert found.done is not None and found.done["name"] == "staging"
        assert self.there(one_crew) == ["default"]
        ((_, actor, origin, _),) = one_crew.events("environment.delete")
        assert (actor, origin) == (WHO.name, "worker w1")

    def test_one_that_was_made_anew_stays(self, one_crew: Crew, forbidden: None) -> None:
        """Nobody asked for that one; nor for one that lives again by runs."""
        job = self.delete(one_crew)
        with one_crew.db.writing() as session:
            session.exec(update(Job).values(environment_id=vault.get_environment(one_crew.db, "shop", "default").id))
        one_crew.do(one_crew.worker())
        assert (self.job(one_crew, job).reason, self.there(one_crew)) == ("unknown_environment", ["default", "staging"])

    def test_its_worker_died_after_it(self, one_crew: Crew, forbidden: None) -> None:
        """It is gone, and that it is done was committed with it: no later worker calls that a failure."""
        job = self.delete(one_crew)
        taken, lease = one_crew.claimed("w0", -1)
        one_crew.worker()._delete(taken, JobWitness(one_crew.db, taken, lease, "w0"))
        one_crew.worker("w2").look(takes=True)
        assert self.job(one_crew, job).state == "succeeded" and self.there(one_crew) == ["default"]
