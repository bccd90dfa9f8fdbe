"""Jobs that a server has signed, or that its role of the database has it leave to a worker."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import update

from executor.boundary.plans import SigningKey
from executor.boundary.supervision import Zygote
from executor.jobs.receipts import JobWitness
from executor.keys import creation
from executor.models import Job
from executor.operations import environments, keys
from executor.operations import jobs as operations
from executor.schemas.jobs import JobNamed, JobView
from executor.schemas.places import InEnvironment, InProject
from secretstore import audit, audit_reading, vault
from secretstore.errors import DatabaseForbids
from tests.executor.worker.conftest import VALUE, WHO, Crew


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

    def test_a_key_of_another_place_is_not_unwrapped(self, one_crew: Crew) -> None:
        """I4: the row names an environment, and has the id of another: whether anybody signs or not."""
        environments.create(one_crew.server, WHO, InEnvironment(project="shop", environment="staging"))
        for job in (one_crew.rotation(), one_crew.renaming()):
            one_crew.forge(job, environment_id=vault.get_environment(one_crew.db, "shop", "staging").id)
            one_crew.do(one_crew.worker())
            found = one_crew.show(job)
            assert (found.reason, found.receipts) == ("plan_refused", ())
            assert "another environment" in str(found.message)

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
