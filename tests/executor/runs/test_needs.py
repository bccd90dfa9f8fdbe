"""What a run needs and no live worker offers: the words agree with what a claim does."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from executor import runs
from executor.models import Run, RunSpec
from executor.records import history
from executor.runs import RUNGS, Offer, needs, workers
from executor.schemas.workers import Refusal, WorkerView
from secretstore.database import Database, utc_now
from tests.effort import share
from tests.executor.conftest import Bench

some = st.sampled_from
offers = st.builds(
    Offer,
    worker=st.just("w"),
    host=some(["mill", "barn"]),
    queues=some([("sealrun",), ("gpu",), ("gpu", "sealrun")]),
    rung=some([*RUNGS, "unheard of"]),
    networks=some([("full",), ("none",), ("full", "none")]),
    pythons=some([(), ("3.11",), ("3.11", "3.12")]),
    places=some([("*/*",), ("shop/*",), ("*/staging",), ("shop/default", "data/staging"), ("shop",)]),
)
asked = st.fixed_dictionaries(
    {
        "project": some(["shop", "data"]),
        "environment": some(["default", "staging"]),
        "host": some(["mill", None]),
        "queue": some(["sealrun", "gpu"]),
        "rung_min": some([None, *RUNGS]),
        "network": some(["full", "none"]),
        "python_version": some([None, "3.12"]),
    }
)


def seen(offer: Offer) -> WorkerView:
    """A worker's row, as a submitter reads it."""
    now = utc_now()
    facts = {name: value for name, value in vars(offer).items() if name not in ("worker", "refused")}
    refused = {environment: Refusal("shop/default", "AWS denies it") for environment in offer.refused}
    return WorkerView(name=offer.worker, pid=1, slots=1, seen_at=now, alive=True, refused=refused, **facts)


@settings(max_examples=share(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=asked, offered=st.lists(offers, max_size=3))
def test_nothing_is_unmet_exactly_where_a_worker_may_claim_it(
    sqlite_db: Database, bench: Bench, fields: dict[str, str | None], offered: list[Offer]
) -> None:
    """I7: `unmet` in words and `suits` in SQL are one rule; what is said to be waited for is waited for."""
    run_id = bench.create(sqlite_db, **fields)
    with sqlite_db.reading() as session:
        taken = [
            session.connection().execute(select(Run.id).where(Run.id == run_id, runs.suits(offer))).first() is not None
            for offer in offered
        ]
    said = needs.unmet(bench.spec(**fields), [seen(offer) for offer in offered])
    assert (said == []) is any(taken), said


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=asked, offered=st.lists(offers, min_size=1, max_size=4))
def test_each_need_is_one_rule_in_sql_and_in_python(
    db: Database, bench: Bench, fields: dict[str, str | None], offered: list[Offer]
) -> None:
    """I7: a claim asks the one and a sentence is made of the other, need by need, on both kinds of database."""
    run_id = bench.create(db, **fields)
    run = bench.spec(**fields)
    pairs = [(need, offer) for need in needs.NEEDS for offer in offered]
    with db.reading() as session:
        asked_in_sql = select(*(need.sql(offer) for need, offer in pairs)).where(Run.id == run_id)
        found = session.connection().execute(asked_in_sql).one()
    assert [bool(one) for one in found] == [need.met_by(run, offer) for need, offer in pairs]


PLAIN = Offer("w", "here", ("sealrun",), "landlock")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"python_version": "3.12"}, ["no worker offers Python 3.12 (this run needs it)"]),
        ({"network": "none"}, ["no worker offers the network none (this run, or its project, asks for it)"]),
        (
            {"rung_min": "namespace"},
            ["no worker offers the sandbox namespace (this run needs it, or a stronger one)"],
        ),
        ({"queue": "gpu"}, ["no worker takes runs of the queue gpu (start one: sealrun worker -Q gpu)"]),
        ({"host": "mill"}, ["no worker runs on mill, where this run's source is"]),
        ({}, []),
    ],
)
def test_each_need_has_a_sentence(bench: Bench, fields: dict[str, str], said: list[str]) -> None:
    """With the name of what is missing."""
    assert needs.unmet(bench.spec(**fields), [seen(PLAIN)]) == said


def test_a_run_keeps_the_sandbox_that_it_was_submitted_for(db: Database, bench: Bench) -> None:
    """Where its project asks for less since, it has to be given up: the view says how."""
    workers.appear(db, replace(bench.offer, rung="landlock"), 1, 1)
    run_id = bench.create(db, rung_min="namespace")
    assert history.show(db, run_id).waiting_for == (
        "no worker offers the sandbox namespace (this run needs it, or a stronger one)"
        "; where its project asks for less by now: sealrun runs cancel, and submit it anew"
    )


def test_what_several_workers_have_apart_is_told_together(bench: Bench) -> None:
    """Neither of the two can take it."""
    spec = bench.spec(queue="gpu", python_version="3.12")
    two = [seen(replace(PLAIN, queues=("gpu",))), seen(replace(PLAIN, pythons=("3.12",)))]
    (said,) = needs.unmet(spec, two)
    assert said == "no one worker offers all of the queue gpu, Python 3.12 (this run needs them together)"
    assert needs.unmet(spec, []) == ["no worker is running"]


def test_a_view_of_a_run_that_waits_says_for_what(db: Database, bench: Bench) -> None:
    """In `show` and in lists, from the first moment; a run that was taken, or can be, waits for nothing."""
    workers.appear(db, bench.offer, 1, 1)
    waiting, taken = bench.create(db, python_version="3.12"), bench.create(db)
    for view in (history.show(db, waiting), history.list_runs(db)[1]):
        assert view.waiting_for == "no worker offers Python 3.12 (this run needs it)"
    assert history.show(db, taken).waiting_for is None
    bench.claim(db, waiting, offer=replace(bench.offer, pythons=("3.12",)))
    assert history.show(db, waiting).waiting_for is None


def test_a_specification_a_row_and_a_view_are_asked_alike(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """All three have the needs."""
    spec: RunSpec = bench.spec(network="none")
    run_id = runs.accept(sqlite_db, spec, "ada@here").run_id
    with sqlite_db.reading() as session:
        row = session.get(Run, run_id)
    assert row is not None
    live = [seen(PLAIN)]
    assert needs.unmet(spec, live) == needs.unmet(row, live) == needs.unmet(history.show(sqlite_db, run_id), live) != []


def test_workers_that_take_no_run_say_why(db: Database, bench: Bench) -> None:
    """One that does is enough."""
    run_id = bench.create(db)
    ids = [workers.appear(db, replace(bench.offer, worker=name), 1, 1) for name in ("one", "two")]
    workers.beat(db, ids[0], "the disk is full")
    assert history.show(db, run_id).waiting_for is None
    workers.beat(db, ids[1], "the disk is full")
    assert history.show(db, run_id).waiting_for == "no worker takes a run: the disk is full"
    workers.beat(db, ids[0])
    assert history.show(db, run_id).waiting_for is None
