"""A run may ask for less than its project has, and never for more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from executor import runs
from executor.errors import RequestUnclear
from executor.models import Run, RunSpec
from executor.submission.narrowing import described
from executor.submission.repeating import repeated
from executor.submission.specification import specify
from secretstore import vault
from secretstore.database import Database
from tests.executor.submission.test_specification import ACTOR, Place


@pytest.fixture
def place(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HOME", "/nonexistent")
    (tmp_path / "home").mkdir(mode=0o700)
    yield Place(sqlite_db, tmp_path)


def _spec(place: Place, **asked: Any) -> RunSpec:
    return specify(place.db, place.settings(), place.request(**asked)).spec


def _amounts(spec: RunSpec) -> tuple[Any, ...]:
    return spec.memory_bytes, spec.cpus, spec.pids, spec.disk_bytes, spec.network


def _set(place: Place, **settings: Any) -> None:
    vault.set_project(place.db, "shop", actor=ACTOR, **settings)


def test_what_neither_says_is_left_to_the_worker(place: Place) -> None:
    """A specification says nothing of it, and nothing is narrowed."""
    assert _amounts(_spec(place)) == (None, None, None, None, "full")
    assert _spec(place).narrowed is None


def test_a_run_has_its_projects_or_what_it_asks_for(place: Place) -> None:
    """As text or as a number; what it does not name is its project's."""
    _set(place, memory_bytes=4 << 30, cpus=2.0, pids=256, disk_bytes=1 << 30)

    spec = _spec(place, memory="1.5G", cpus=0.5, network="none", collect=["*.csv"])

    assert _amounts(spec) == (3 << 29, 0.5, 256, 1 << 30, "none")
    assert spec.narrowed == {"memory_bytes": 3 << 29, "cpus": 0.5, "network": "none"}
    assert spec.collect == ["*.csv"]


@pytest.mark.parametrize(
    ("settings", "asked", "said", "mend"),
    [
        (
            {"memory_bytes": 2 << 30},
            {"memory": "4G"},
            "--memory is 4G of memory, and a run of the project shop has at most 2G",
            "--memory 4G",
        ),
        (
            {"cpus": 1.0},
            {"cpus": 1.5},
            "--cpus is 1.5 CPUs, and a run of the project shop has at most 1 CPU",
            "--cpus 1.5",
        ),
        (
            {"pids": 20},
            {"pids": 21},
            "--pids is 21 processes, and a run of the project shop has at most 20 processes",
            "--pids 21",
        ),
        ({"disk_bytes": 1 << 30}, {"disk": (1 << 30) + 1}, "has at most 1G written at once", "--disk 1073741825"),
        ({"network": "none"}, {"network": "full"}, "and a run of the project shop has no network", "--network full"),
    ],
)
def test_more_than_the_project_has_is_refused(
    place: Place, settings: dict[str, Any], asked: dict[str, Any], said: str, mend: str
) -> None:
    """The sentence names both (I9: nothing is cut down in silence)."""
    _set(place, **settings)

    with pytest.raises(RequestUnclear) as refused:
        _spec(place, **asked)

    assert said in str(refused.value)
    assert (refused.value.hint or "").endswith(f": sealrun project set shop {mend}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory": "lots"}, "memory= takes a size from 16M to 64T"),
        ({"memory": 5}, "memory= takes a size from 16M"),
        ({"cpus": "0"}, "cpus= takes a number of CPUs"),
        ({"cpus": float("nan")}, "cpus= takes a number of CPUs"),
        ({"pids": "2.5"}, "pids= takes a whole number"),
        ({"disk": "10K"}, "disk= takes a size from 1M"),
        ({"collect": ["/etc/passwd"]}, "collect= takes a pattern of paths below the source root"),
        ({"collect": ["a/../../b"]}, "collect= takes a pattern"),
        ({"collect": [""]}, "collect= takes a pattern"),
        ({"collect": ["   "]}, "collect= takes a pattern"),
        ({"collect": ["a/./b"]}, "collect= takes a pattern"),
        ({"collect": ["./"]}, "collect= takes a pattern"),
    ],
)
def test_what_is_no_amount_is_refused(place: Place, asked: dict[str, Any], said: str) -> None:
    """The sentence names the option and what it takes."""
    with pytest.raises(RequestUnclear, match=said):
        _spec(place, **asked)


def test_a_run_that_is_tried_anew_asks_for_the_same(place: Place) -> None:
    """What it asked for itself is kept; the rest is its project's as that is now, and more than that is refused."""
    _set(place, memory_bytes=2 << 30, pids=100)
    run_id, _ = runs.accept(place.db, _spec(place, memory="1G", network="none", collect=["*.csv"]), "ada")
    with Session(place.db.engine) as session:
        run = session.get_one(Run, run_id)
        run.state = "failed"
        session.add(run)
        session.commit()

    _set(place, pids=200)
    again = repeated(place.db, place.settings(), run_id)

    assert (_amounts(again), again.collect) == ((1 << 30, None, 200, None, "none"), ["*.csv"])
    _set(place, memory_bytes=512 << 20)
    with pytest.raises(RequestUnclear, match="--memory is 1G of memory"):
        repeated(place.db, place.settings(), run_id)


def test_what_a_projects_runs_may_have_is_told_before_there_is_one(place: Place) -> None:
    """As `secret explain` tells it; nothing where it is the usual."""
    assert described(vault.get_project(place.db, "shop")) == ""
    _set(place, memory_bytes=2 << 30, cpus=1.0, network="none", sandbox_min="namespace")

    told = described(vault.get_project(place.db, "shop"))

    assert told == "2G of memory, 1 CPU, network none, rung namespace or better"
