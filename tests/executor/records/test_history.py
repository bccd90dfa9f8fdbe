"""Looking runs up: by id, beginning or `@last`, and what is shown of them."""

import pytest

from executor import runs
from executor.errors import Problem, UnknownRun
from executor.models import Run
from executor.records import history
from executor.records.live import refuse_live
from executor.runs import Outcome
from executor.schemas.runs import title
from secretstore.database import Database
from secretstore.errors import InUse
from tests.executor.conftest import Bench


def renamed(db: Database, run_id: str, to: str) -> str:
    with db.writing() as session:
        session.get(Run, run_id).id = to
    return to


def test_a_run_is_found_by_its_id_and_by_a_unique_beginning(db: Database, bench: Bench) -> None:
    """A beginning that several share is told with their number, one that none has is unknown."""
    one = renamed(db, bench.create(db), "ab12" + "0" * 28)
    other = renamed(db, bench.create(db), "ab34" + "0" * 28)
    assert history.find(db, one) == one
    assert history.find(db, "ab1") == one
    assert history.find(db, "ab3") == other
    with pytest.raises(UnknownRun, match='"ab" is the beginning of 2 run ids'):
        history.find(db, "ab")
    for reference in ("cd", "", "ab12%", "ab__", "%", "AB12", "@first", "ab12; --", "ab12" + "0" * 29):
        with pytest.raises(UnknownRun):
            history.find(db, reference)


def test_last_is_the_run_submitted_last(db: Database, bench: Bench) -> None:
    """Of all projects, or of one."""
    with pytest.raises(UnknownRun):
        history.find(db, "@last")
    first = bench.create(db, project_id="p1")
    second = bench.create(db, project_id="p2")
    assert history.find(db, "@last") == second
    assert history.find(db, "@last", project_id="p1") == first
    with pytest.raises(UnknownRun):
        history.find(db, second[:8], project_id="p1")


def test_a_listing_has_the_latest_first(db: Database, bench: Bench) -> None:
    """By project, by state, and never more than asked for."""
    made = [bench.create(db, project_id=f"p{number % 2}") for number in range(4)]
    runs.cancel(db, made[3], "bob")
    assert [view.id for view in history.list_runs(db)] == made[::-1]
    assert [view.id for view in history.list_runs(db, limit=2)] == made[:1:-1]
    assert [view.id for view in history.list_runs(db, project_id="p0")] == [made[2], made[0]]
    assert [view.id for view in history.list_runs(db, state="cancelled")] == [made[3]]
    with db.reading() as session, pytest.raises(InUse, match='project "shop" has unfinished runs: 1'):
        refuse_live("shop")(session, "p1", None)


def test_a_run_is_shown_with_what_its_last_attempt_left(db: Database, bench: Bench) -> None:
    """Result, problem and receipt of the attempt that counts; before the gate there is no receipt."""
    run_id = bench.create(db)
    assert history.show(db, run_id).receipt is None
    lease = bench.claim(db, run_id)
    assert history.show(db, run_id).receipt is None
    bench.through(db, lease, bench.bundle("API_KEY"))
    runs.finish(db, lease, Outcome("failed", "exception", problem={"type": "KeyError"}, signal=9))
    view = history.show(db, run_id)
    assert (view.over, view.problem, view.signal, view.worker) == (True, Problem("KeyError"), 9, "w1")
    assert history.state_of(db, run_id) == "failed"
    with pytest.raises(UnknownRun):
        history.show(db, "0" * 32)


@pytest.mark.parametrize(
    "number", [1.0, -0.0, 2**63, -(2**63) - 1, 10**400, 0.1, 1e308, True], ids=lambda n: f"{n}"[:9]
)
def test_a_number_comes_back_as_it_was_returned(db: Database, bench: Bench, number: float) -> None:
    """A bare number is a result like any other, whatever the database would make of it."""
    lease = bench.running(db)
    runs.finish(db, lease, Outcome("succeeded", result=number))
    assert repr(history.show(db, lease.run_id).result) == repr(number)


def test_an_attempt_that_is_named_has_its_own_beginning_and_end(db: Database, bench: Bench) -> None:
    """Before the run is over as after it; the run's are those of its last."""
    run_id = bench.create(db, retries=1)
    for outcome in (Outcome("failed", "exit_code", exit_code=3), Outcome("succeeded", exit_code=0)):
        bench.due(db, run_id)
        lease = bench.claim(db, run_id)
        bench.through(db, lease)
        runs.finish(db, lease, outcome)
        first, *_ = history.show(db, run_id).attempts
        named = history.show(db, run_id, 1)
        assert (named.started_at, named.finished_at) == (first.started_at, first.finished_at) != (None, None)
    view = history.show(db, run_id)
    assert (view.started_at, view.finished_at) == (view.attempts[1].started_at, view.attempts[1].finished_at)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ({"kind": "file", "path": "jobs/report.py", "argv": ["--since", "x"]}, "jobs/report.py --since x"),
        ({"kind": "module", "module": "shop.report", "argv": ["a"]}, "-m shop.report a"),
        ({"kind": "function", "path": "a.py", "function": "f", "text": {"n": "1"}, "json": {}}, "a.py:f"),
        ({"kind": "command", "argv": ["sh", "-c", "true"]}, "-- sh -c true"),
        ({"kind": "container", "image": "x"}, "(container)"),
        ({}, "(None)"),
    ],
)
def test_a_target_is_shown_as_one_would_type_it(target: dict[str, object], shown: str) -> None:
    """The title of each kind of target; one that this version does not know does not break a listing."""
    assert title(target) == shown
