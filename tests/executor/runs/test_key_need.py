"""Which key service a run's secrets need: asked by a claim, and told to who waits."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from executor import runs
from executor.models import Run
from executor.records import history
from executor.runs import Offer, needs, unserved, workers
from executor.runs.unopened import unopened
from executor.schemas.workers import Refusal
from secretstore.database import Database
from secretstore.keyring import fits
from secretstore.models import Environment, KeyPair, Project, Secret
from tests.effort import share
from tests.executor.conftest import Bench
from tests.executor.runs.test_needs import seen

FILE, OTHER_FILE = "local:0123456789abcdef", "local:fedcba9876543210"
KMS, OTHER_KMS = (f"aws-kms:arn:aws:kms:eu-north-1:123456789012:key/{key}-5417" for key in ("1234abcd", "9999ffff"))
ID = KMS.rpartition("/")[2]

some = st.sampled_from
patterns = some(
    [FILE, OTHER_FILE, "local:*", f"aws-kms:*:key/{ID}", f"aws-kms:{ID}", "aws-kms:*", "*", f"AWS-kms:{ID}"]
)
recorded = some([FILE, OTHER_FILE, KMS, OTHER_KMS, KMS.upper(), f"aws-kms:{ID}", "aws-kms:", "nonsense", ""])
asked = st.fixed_dictionaries(
    {
        "secret_names": some([None, [], ["API_KEY"]]),
        "setup_secret_names": some([None, ["API_KEY"]]),
        "target": some(
            [{"kind": "command", "argv": ["true"]}, {"kind": "function", "path": "a.py", "sources": {"lake": "lake"}}]
        ),
    }
)


def place(db: Database, key_service: str, *, secrets: int = 1) -> dict[str, str]:
    """A project with an environment whose key pair is wrapped by this: what a run of it names."""
    with db.writing() as session:
        project = Project(name="shop", network="full", sandbox_min="process", max_running=None, created_by="ada")
        session.add(project)
        session.flush()
        made = Environment(project_id=project.id, name="default", generation=2, created_by="ada")
        session.add(made)
        session.flush()
        for number, wrapped_by in ((1, "local:of-the-past"), (2, key_service), (3, "local:not-yet-current")):
            pair = {"generation": number, "public_key": b"", "fingerprint": "f", "wrapped_private_key": b""}
            session.add(KeyPair(environment_id=made.id, key_service=wrapped_by, created_by="ada", **pair))
        for number in range(secrets):
            facts: dict[str, Any] = {"name": f"S{number}", "current_version": 1, "last_version": 1, "maskable": True}
            who = {"created_by": "ada", "updated_by": "ada"}
            session.add(Secret(project_id=project.id, environment_id=made.id, **facts, **who))
        return {"project_id": project.id, "environment_id": made.id}


def claimable_by(db: Database, run_id: str, offer: Offer) -> bool:
    """As a listing asks, and as a claim does."""
    with db.reading() as session:
        asked = (select(Run.id).where(Run.id == run_id, runs.suits(offer, one=one)) for one in (False, True))
        among, alone = (session.connection().execute(statement).first() is not None for statement in asked)
    assert among is alone
    return alone


@settings(max_examples=share(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrapped_by=recorded, offered=st.lists(patterns, max_size=2), fields=asked, refused=st.booleans())
def test_a_claim_and_a_sentence_ask_for_the_same_key_service(
    db: Database, bench: Bench, wrapped_by: str, offered: list[str], fields: dict[str, Any], refused: bool
) -> None:
    """I7: on both kinds of database; past and coming generations count for nothing, nor letters of another case."""
    with db.writing() as session:
        for table in (Project, Run):
            session.connection().execute(table.__table__.delete())  # type: ignore[attr-defined]
    whose = place(db, wrapped_by)
    run_id = bench.create(db, **whose, **fields)
    offer = replace(bench.offer, key_services=tuple(offered), refused=(whose["environment_id"],) if refused else ())
    (asking,) = needs.asking(db)
    opens = fields["secret_names"] != [] or fields["setup_secret_names"] or "sources" in fields["target"]
    assert asking.key_service == (wrapped_by if opens else None)
    can = not opens or (not refused and any(fits(pattern, wrapped_by) for pattern in offered))
    assert claimable_by(db, run_id, offer) is can
    assert (needs.unmet(asking, [seen(offer)]) == []) is can


def test_a_worker_of_another_key_service_leaves_a_run(db: Database, bench: Bench) -> None:
    """I7: it is claimed by one that has it; what is waited for is told, and where it is to be set."""
    whose = place(db, KMS)
    file, kms = (replace(bench.offer, key_services=(one,)) for one in (FILE, f"aws-kms:*:key/{ID}"))
    workers.appear(db, file, 1, 1)
    run_id, free = bench.create(db, **whose), bench.create(db, **whose, secret_names=[])
    assert runs.claim(db, run_id, file, 30) is None and runs.unclaimed(db, file, 0, 9) == [(free, "sealrun")]
    said = history.show(db, run_id).waiting_for
    assert said == (
        f"no worker has the key service {KMS}, which the secrets of shop/default need"
        " (list it in the SEALRUN_KEYS of a worker)"
    )
    assert history.show(db, free).waiting_for is None
    assert runs.claim(db, free, file, 30) is not None
    assert runs.claim(db, run_id, kms, 30) is not None


def test_another_key_file_is_another_key_service(db: Database, bench: Bench) -> None:
    """By its fingerprint; an environment that has no secret yet needs none."""
    whose = place(db, FILE)
    assert runs.claim(db, bench.create(db, **whose), replace(bench.offer, key_services=(OTHER_FILE,)), 30) is None
    with db.writing() as session:
        session.connection().execute(Secret.__table__.delete())  # type: ignore[attr-defined]
    assert runs.claim(db, bench.create(db, **whose), replace(bench.offer, key_services=()), 30) is not None


def test_on_one_machine_such_a_run_is_not_kept(db: Database, bench: Bench) -> None:
    """I7: all its workers have one SEALRUN_KEYS. A follower leaves it to them, who know what they have by now."""
    run_id = bench.create(db, **place(db, FILE))
    workers.appear(db, replace(bench.offer, key_services=(OTHER_FILE,)), 1, 1)
    live = workers.list_workers(db, alive_only=True)
    assert unserved.end_in_vain(db, live, run_id) == []
    ((_, said),) = unserved.end_in_vain(db, live)
    assert said.startswith(f"no worker has the key service {FILE}") and said.endswith(f"this machine has {OTHER_FILE}")
    assert history.show(db, run_id).reason == "no_capable_worker"


def test_who_asks_is_told_what_no_worker_opens(db: Database, bench: Bench) -> None:
    """For doctor and explain: by place, with what is missing, or who leaves it to others and why."""
    whose = place(db, KMS)
    assert list(unopened(db)) == [], "no worker lives that could be asked"
    workers.appear(db, replace(bench.offer, key_services=(FILE,)), 1, 1)
    assert [said.partition(",")[0] for said in unopened(db)] == [f"no worker has the key service {KMS}"]
    workers.appear(db, replace(bench.offer, worker="w2", key_services=("aws-kms:*",)), 1, 1)
    assert list(unopened(db, whose["environment_id"])) == []
    workers.leave_to_others(db, "w2", {whose["environment_id"]: Refusal("shop/default", "AWS denies it")})
    told = "w2 leaves runs with secrets of shop/default to others: AWS denies it"
    assert list(unopened(db, whose["environment_id"])) == [told] and list(unopened(db, "another")) == []


def test_a_run_that_waits_follows_its_keys_to_another_service(db: Database, bench: Bench) -> None:
    """I7: nothing of it is kept in the run."""
    whose = place(db, FILE)
    run_id, kms = bench.create(db, **whose), replace(bench.offer, key_services=("aws-kms:*",))
    assert runs.claim(db, run_id, kms, 30) is None
    with db.writing() as session:
        session.connection().execute(update(KeyPair).where(KeyPair.generation == 2).values(key_service=KMS))
    assert runs.claim(db, run_id, kms, 30) is not None


@pytest.mark.parametrize("secret_names", [None, []])
def test_what_a_worker_leaves_to_others_it_does_not_claim(
    db: Database, bench: Bench, secret_names: list[str] | None
) -> None:
    """But runs of that environment that open nothing; who waits is told what each worker's key service said."""
    whose = place(db, KMS)
    leaving = replace(bench.offer, refused=(whose["environment_id"],))
    run_id = bench.create(db, **whose, secret_names=secret_names)
    workers.appear(db, bench.offer, 1, 1)
    workers.leave_to_others(db, "w1", {whose["environment_id"]: Refusal("shop/default", "AWS denies it")})
    waiting = "no worker's key service opens its secrets: w1: AWS denies it" if secret_names is None else None
    assert history.show(db, run_id).waiting_for == waiting
    assert (runs.claim(db, run_id, leaving, 30) is None) is (secret_names is None)
