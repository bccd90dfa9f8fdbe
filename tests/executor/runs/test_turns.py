"""Whose turn it is where many runs wait: a project's ten thousand do not keep another's one waiting."""

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, insert, text, update

from executor import runs
from executor.runs import Outcome
from executor.runs.claims import taking
from executor.runs.conditions import RUN
from executor.runs.turns import looking, turns
from executor.worker.turns import Turns
from secretstore.database import Database
from tests.executor.conftest import Bench


def crowd(db: Database, bench: Bench, count: int, **fields: Any) -> list[str]:
    """So many runs that wait, accepted at once, a minute ago, the oldest first."""
    first = bench.create(db, **fields)
    with db.writing() as session:
        ago = db.after(-60)
        session.execute(update(RUN).where(RUN.c.id == first).values(rung_at=ago, created_at=ago))
        row = dict(session.execute(RUN.select().where(RUN.c.id == first)).mappings().one())
        made = [{**row, "id": f"{first[:20]}{number:012x}"} for number in range(1, count)]
        if made:
            session.execute(insert(RUN), made)
    return [first, *(one["id"] for one in made)]


def take(db: Database, bench: Bench, mine: Turns, bell: str) -> tuple[str, runs.Lease]:
    """What a worker takes when a bell rings: the project and the lease."""
    chosen = mine.first(db, bench.offer, bell)
    claimed = runs.claim(db, chosen, bench.offer, 30)
    if claimed is None:
        other = mine.instead(db, bench.offer)
        assert other is not None
        claimed = runs.claim(db, other, bench.offer, 30)
    assert claimed is not None
    mine.took(*claimed)
    return claimed[0].project_id, claimed[1]


def test_a_project_that_comes_late_has_its_turn_next(db: Database, bench: Bench) -> None:
    """Behind a crowd, of which two are at work already, its run is the next one that is taken."""
    mine, many = Turns(), crowd(db, bench, 50)
    take(db, bench, mine, many[0])
    take(db, bench, mine, many[1])
    late = bench.create(db, project_id="p2")
    assert take(db, bench, mine, many[2])[0] == "p2"
    assert runs.claim(db, late, bench.offer, 30) is None


def test_two_crowds_take_turns_in_one_slot(db: Database, bench: Bench) -> None:
    """Where nothing else is at work when a bell rings, the one whose last turn is longer ago goes first."""
    mine, first, second = Turns(), crowd(db, bench, 20), crowd(db, bench, 20, project_id="p2")
    taken = []
    for bell in first[:10]:
        project, lease = take(db, bench, mine, bell)
        assert runs.finish(db, lease, Outcome("succeeded")) == "succeeded"
        taken.append(project)
    assert taken == ["p1", "p2"] * 5
    assert second


def test_i7_every_run_has_a_bell_though_some_were_taken_out_of_turn(db: Database, bench: Bench) -> None:
    """As many bells as runs: each of them takes one, and in the end none waits."""
    mine, many = Turns(), crowd(db, bench, 6)
    few = [bench.create(db, project_id="p2") for _ in range(3)]
    for bell in (*many, *few):
        _, lease = take(db, bench, mine, bell)
        assert runs.finish(db, lease, Outcome("succeeded")) == "succeeded"
    assert turns(db, bench.offer) == []


def test_bells_that_are_heard_at_once_take_their_own_runs(db: Database, bench: Bench) -> None:
    """No turn is looked up, and a run of a moment ago is not taken for another's bell, which will ring by itself."""
    mine = Turns()
    waiting = [bench.create(db, project_id=project) for project in ("p1", "p1", "p2")]
    assert [mine.first(db, bench.offer, run_id) for run_id in reversed(waiting)] == waiting[::-1]
    assert mine.instead(db, bench.offer) is None


def test_a_turn_is_only_of_what_the_worker_can_take(db: Database, bench: Bench) -> None:
    """Neither of another queue, nor of another machine, nor of a project without room, nor before a retry's delay."""
    crowd(db, bench, 3, queue="gpu")
    crowd(db, bench, 3, host="there", project_id="p2")
    crowd(db, bench, 3, queue="quick", project_id="p3")
    offer = replace(bench.offer, queues=("sealrun", "quick"))
    assert [turn.project_id for turn in turns(db, offer)] == ["p3"]
    assert turns(db, replace(bench.offer, queues=("nobodys",))) == []


@pytest.mark.parametrize("what", ["a turn", "a turn behind what suits nobody", "a claim"])
def test_it_costs_as_much_with_ten_thousand_waiting(db: Database, bench: Bench, what: str) -> None:
    """Both databases go by an index to the few rows that decide, and read through no table of runs."""
    waiting = crowd(db, bench, 10_000, **({"host": "nowhere"} if "nobody" in what else {}))
    crowd(db, bench, 1, project_id="p2")
    bound: dict[str, Any] = {"now": db.from_now(), "late": db.from_now(-1)}
    statement: Any = looking(db.dialect, bench.offer)
    if what == "a claim":
        bound = {"now": db.from_now(), "until": db.from_now(30), "of_run": waiting[5000]}
        statement = taking(db.dialect, bench.offer)
    # Right after the crowd has come, of which the database knows nothing yet, and when it has counted.
    for known in (False, True):
        if known:
            with db.writing() as session:
                session.execute(text("ANALYZE"))
        plan = planned(db, statement, bound)
        told = "\n".join(plan)
        assert not re.search(r"SCAN executor_run|Seq Scan on executor_run|JIT", told), told
        read = [int(rows) for rows in re.findall(r"(?:actual rows=|Filter: )(\d+)", told)]
        assert max(read, default=0) < 100, told
        if what != "a claim":  # the first project, the next one, and the oldest run of each
            assert sum("executor_run_turns" in line for line in plan) == 3, told


def planned(db: Database, statement: Any, bound: dict[str, Any]) -> list[str]:
    """How the database executes a statement, as it was sent; what it did is undone."""
    sent: list[Any] = []

    def note(_: object, __: object, words: str, values: Any, *___: object) -> None:
        sent[:] = [words, values]

    explain = "EXPLAIN QUERY PLAN " if db.dialect == "sqlite" else "EXPLAIN (ANALYZE, TIMING OFF) "
    with db.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", note)
        assert connection.execute(statement, bound).first() is not None
        connection.rollback()
        words, values = sent
        return [str(row[-1]) for row in connection.exec_driver_sql(f"{explain}{words}", values)]
