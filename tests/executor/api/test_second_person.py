"""Who may run code in one environment, and knows every name and id of the next one, reaches nothing of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from executor.api.routes import ROUTES, Route
from executor.jobs import claims
from executor.models import Run
from executor.operations import connections, secrets, variables
from executor.schemas.connections import NewConnection
from executor.schemas.secrets import NewSecret
from executor.schemas.variables import NewVariable
from executor.source import bundles, packing
from secretstore import vault
from tests.executor.api.conftest import OPERATOR, House

pytestmark = pytest.mark.long

PROD, MINE = "default", "staging"
MARKS = ("OF_PROD", "value-of-prod", "lake-of-prod", "target-of-prod")
"""What stands in prod alone: none of it is answered to who may not see it."""


@dataclass
class Prod:
    """What is in prod, by every name that it has."""

    run: str
    job: str
    bundle: str
    environment_id: str
    project_id: str


@pytest.fixture
def prod(house: House, tmp_path: Path) -> Iterator[Prod]:
    """A secret, a variable, a source, a run with a key, a job and an uploaded source of prod."""
    at, named = house.at, {"project": "shop", "environments": (PROD,)}
    secrets.set_(at, OPERATOR, NewSecret(**named, name="SECRET_OF_PROD", value=b"correct-horse-battery"))
    variables.set_(at, OPERATOR, NewVariable(**named, name="OF_PROD", value="value-of-prod"))
    lake = {"role": "source", "name": "lake-of-prod", "kind": "s3", "settings": {"bucket": "raw"}}
    connections.create(at, OPERATOR, NewConnection(**named, **lake))
    place = vault.get_environment(at.db, "shop", PROD)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "job.py").write_text("print('of prod')")
    digest = bundles.upload(at.db, place.project_id, packing.pack(packing.listing(tmp_path / "source", 1 << 20)))
    order = {"target": command("target-of-prod"), "source_root": "/srv", "host": "elsewhere", "idempotency_key": "k-1"}
    path = f"/projects/shop/environments/{PROD}/runs"
    answer = house.ask("POST", path, house.token("admin"), json=order, headers={"idempotency-key": "a-request"})
    job = claims.submit(at.db, "rotate", place, {}, actor=OPERATOR)
    yield Prod(answer.json()["run_id"], job, digest, place.id, place.project_id)


@pytest.fixture
def runner(house: House, prod: Prod) -> str:
    """Of somebody who may run code in staging."""
    return house.token("runner", "shop", MINE)


def command(*argv: str) -> dict[str, Any]:
    return {"kind": "command", "argv": list(argv)}


def count(house: House) -> int:
    with house.at.db.reading() as session:
        return session.exec(select(func.count()).select_from(Run)).one()


def nothing(answer: Any, *allowed: int) -> None:
    """It is refused, in words that have nothing of prod."""
    assert answer.status_code in (allowed or (403, 404)), (answer.request.url, answer.status_code, answer.text)
    assert not any(mark in answer.text for mark in MARKS), answer.text


def filled(route: Route, prod: Prod, environment: str, project: str = "shop") -> str:
    names = {
        "project": project, "environment": environment, "run": prod.run, "job": prod.job, "digest": prod.bundle,
        "name": "SECRET_OF_PROD", "version": "1", "reservation": "0" * 32, "path:path": "report.csv",
    }  # fmt: skip
    path = route.path
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def test_no_route_leads_there(house: House, prod: Prod, runner: str) -> None:
    """By the names and the ids of place, run and job, with whatever body or query; nothing is changed by it."""
    before = count(house)
    for route in ROUTES:
        place, run, job = "{environment}" in route.path, "{run}" in route.path, "{job}" in route.path
        if not (place or run or job):
            continue
        for environment in {PROD, prod.environment_id} if place else {PROD}:
            path = filled(route, prod, environment)
            more: dict[str, Any] = {"json": {}} if route.method in ("POST", "PUT", "PATCH") else {}
            if route.operation == "runs.upload":
                path += "?size=1"
            nothing(house.ask(route.method, path, runner, **more), 403, 404, 422)
    assert count(house) == before
    shown = house.ask("GET", f"/runs/{prod.run}", house.token("admin"))
    assert shown.json()["state"] == "pending" and "target-of-prod" in shown.text, "and it is there"


def test_lists_end_at_the_border(house: House, prod: Prod, runner: str) -> None:
    """All that lists what lies somewhere: of prod nothing, with or without its name as a filter."""
    whole = house.token("viewer")
    for path in ("/runs", "/projects/shop/secrets", "/projects/shop/variables", "/projects/shop/sources",
                 "/projects/shop/jobs", "/projects/shop/keys", "/due-secrets?before=2090-01-01T00:00:00Z"):  # fmt: skip
        told, all_of_it = house.ask("GET", path, runner), house.ask("GET", path, whole)
        assert told.status_code == 200 == all_of_it.status_code, (path, told.text)
        assert prod.job not in told.text and prod.run not in told.text and prod.environment_id not in told.text
        assert not any(mark in told.text for mark in MARKS) and f'"{PROD}"' not in told.text, (path, told.text)
        if "due" not in path:
            assert f'"{PROD}"' in all_of_it.text, path
        joined = "&" if "?" in path else "?"
        asked = house.ask("GET", f"{path}{joined}environment={PROD}", runner)
        assert not any(mark in asked.text for mark in MARKS), (path, asked.text)


def test_no_body_leads_there(house: House, prod: Prod, runner: str) -> None:
    """The place in the path counts, not one in the body; one item of many is enough to refuse all."""
    before = count(house)
    order = {"target": command("true"), "source_root": "/srv", "bundle": prod.bundle}
    mine = f"/projects/shop/environments/{MINE}/runs"
    nothing(house.ask("POST", mine, runner, json=order | {"environment": PROD}), 403, 404, 422)
    nothing(house.ask("POST", mine, runner, json=order | {"project": "bank"}), 403, 404, 422)
    items = [order | {"project": "shop", "environment": one} for one in (MINE, PROD)]
    nothing(house.ask("POST", "/runs/batch", runner, json={"items": items}))
    nothing(house.ask("POST", "/foreseen-runs", runner, json={"wanted": {"project": "shop", "environment": PROD}}))
    both = {"environments": [MINE, PROD], "names": ["MINE"]}
    nothing(house.ask("POST", "/projects/shop/secret-reservations", runner, json=both))
    nothing(
        house.ask("PUT", "/projects/shop/variables/MINE", runner, json={"environments": [MINE, PROD], "value": "1"})
    )
    nothing(house.ask("POST", mine, runner, json=order), 404, 409, 410, 422)
    assert count(house) == before, "the source that others sent is not run by its digest either"


def test_no_run_is_had_again_elsewhere(house: House, prod: Prod, runner: str) -> None:
    """A run of one's own is tried again where it was: there is no other place to name."""
    own = house.run("shop", MINE)
    assert house.ask("POST", f"/runs/{own}/cancel", runner, json={}).status_code == 200
    for field in ("environment", "environment_id"):
        nothing(house.ask("POST", f"/runs/{own}/retry", runner, json={field: PROD}), 422)
    nothing(house.ask("POST", f"/runs/{own}/retry", runner, json={"project": "bank"}), 403, 404, 422)
    manager = house.token("admin", "shop", MINE)  # who alone runs a folder of a machine
    again = house.ask("POST", f"/runs/{own}/retry", manager, json={})
    assert again.status_code == 200, again.text
    with house.at.db.reading() as session:
        places = session.exec(select(Run.environment).where(col(Run.id) == again.json()["run_id"])).all()
    assert places == [MINE]


def test_a_key_is_no_way_to_ask_about_it(house: House, prod: Prod, runner: str) -> None:
    """Neither a request's, which is its sender's alone, nor a run's: what else that run has is not told."""
    order = {"target": command("true"), "source_root": "/srv", "host": "elsewhere"}
    mine = f"/projects/shop/environments/{MINE}/runs"
    replayed = house.ask("POST", mine, runner, json=order, headers={"idempotency-key": "a-request"})
    assert prod.run not in replayed.text
    house.ask("PUT", f"/projects/shop/environments/{MINE}/bundles/{'0' * 64}?size=1", runner, content=b"x")
    manager = house.token("admin", "shop", MINE)
    for target in (command("true"), command("target-of-prod")):
        taken = house.ask("POST", mine, manager, json=order | {"target": target, "idempotency_key": "k-1"})
        assert taken.status_code == 409 and taken.json()["detail"].endswith("which has another environment")
        assert not any(mark in taken.text for mark in MARKS)


def test_no_right_is_taken_there(house: House, prod: Prod, runner: str) -> None:
    """Nor by a role that is given, or by a token that is made."""
    member = {"project": "shop", "environment": PROD, "role": "runner", "name": "runner-1"}
    nothing(house.ask("POST", "/members", runner, json=member))
    manager = house.token("admin", "shop", MINE)
    nothing(house.ask("POST", "/members", manager, json=member))
    for place in ({"project": "shop", "environment": PROD}, {"project": "shop"}, {}):
        made = house.ask("POST", "/tokens", manager, json={"name": "more", "role": "runner", **place})
        if made.status_code == 200:  # a token is never more than its owner at the moment that it is used
            path = f"/projects/shop/environments/{PROD}/secrets/SECRET_OF_PROD/versions"
            nothing(house.ask("GET", path, made.json()["token"]))
            continue
        nothing(made)
