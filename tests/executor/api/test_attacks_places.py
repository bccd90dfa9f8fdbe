"""Ids and names of elsewhere: whoever may do something in one place reaches nothing in another, whatever they name."""

from typing import Any

import pytest

from executor.api.routes import ROUTES
from executor.jobs import claims
from secretstore import vault
from tests.executor.api.conftest import OPERATOR
from tests.executor.api.pair import Pair

pytestmark = pytest.mark.long

RUNS = [route for route in ROUTES if "{run}" in route.path]


def test_a_run_of_elsewhere_is_none(pair: Pair) -> None:
    """By its id, by the beginning of it, and as @last; for an admin of another project, or of another environment.

    Every route that names a run answers as for one that never was.
    """
    run, _ = pair.ran("shop", "default", b"hello")
    others = [pair.token("admin", "bank", "staging"), pair.token("admin", "shop", "staging")]
    more: dict[str, Any] = {"role": "source"}
    for route in RUNS:
        path = route.path.replace("{path:path}", "report.csv")
        for name, value in {"project": "shop", "environment": "default", "name": "db", **more}.items():
            path = path.replace(f"{{{name}}}", value)
        for token in others:
            for reference in (run, run[:12], "@last"):
                answer = pair.ask(route.method, path.replace("{run}", reference), token, to=1, json={})
                assert answer.status_code == 404, (route, reference, answer.text)
                assert "hello" not in answer.text and run not in answer.text.replace(reference, "")


def test_the_project_that_is_named_is_the_runs_own(pair: Pair) -> None:
    """A run of shop is none of bank's: not for who may see both, and not by a project in the query."""
    run, _ = pair.ran("shop", "default")
    both = pair.token("admin")
    assert pair.ask("GET", f"/runs/{run}", both, params={"project": "bank"}).status_code == 404
    assert pair.ask("GET", f"/runs/{run}", both, params={"project": "shop"}).status_code == 200
    mine = pair.token("admin", "bank")
    swapped = pair.ask("POST", f"/runs/{run}/cancel", mine, json={"project": "bank"})
    assert swapped.status_code == 404


def test_a_page_does_not_tell_of_runs_of_elsewhere(pair: Pair) -> None:
    """What lies before a run of another project's is answered as what lies before none."""
    run, _ = pair.ran("shop", "default")
    outsider = pair.token("viewer", "bank")
    there = pair.ask("GET", "/runs", outsider, params={"before": run})
    nowhere = pair.ask("GET", "/runs", outsider, params={"before": "0" * 32})
    assert (there.status_code, there.text.replace(run, "")) == (nowhere.status_code, nowhere.text.replace("0" * 32, ""))


def test_fields_of_the_path_are_not_taken_from_the_body(pair: Pair) -> None:
    """Who may do it in staging names default in the body, or twice: the body has no such field."""
    token = pair.token("developer", "shop", "staging")
    order = {"target": {"kind": "command", "argv": ["true"]}, "source_root": "/srv", "bundle": "0" * 64}
    for more in ({"environment": "default"}, {"project": "bank"}):
        assert pair.ask("POST", "/projects/shop/environments/staging/runs", token, json=order | more).status_code == 422
    asked = {"environments": ["staging", "default"], "names": ["API_KEY"]}
    assert pair.ask("POST", "/projects/shop/secret-reservations", token, json=asked).status_code == 404
    batch = {"items": [order | {"project": "shop", "environment": name} for name in ("staging", "default")]}
    assert pair.ask("POST", "/runs/batch", token, json=batch).status_code == 404


def reserved(pair: Pair, token: str, project: str, environment: str, name: str) -> str:
    asked = {"environments": [environment], "names": [name]}
    answer = pair.ask("POST", f"/projects/{project}/secret-reservations", token, json=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("way", ["secrets", "imports"])
def test_a_reservation_of_elsewhere_holds_nothing_here(pair: Pair, way: str) -> None:
    """Nor does a sealed value for an environment that the request does not name: that is what was looked at."""
    shop, bank = pair.token("admin", "shop"), pair.token("admin", "bank")
    kept = reserved(pair, shop, "shop", "default", "TAKEN_KEY")
    sealed = {"environment": "default", "name": "TAKEN_KEY", "sealed": "AAAA", "maskable": True}
    asked = {"reservation": kept, "environments": ["default"], "secrets": [sealed]}
    there = pair.ask("POST", f"/projects/bank/{way}", bank, to=1, json=asked)
    none = pair.ask("POST", f"/projects/bank/{way}", bank, to=1, json=asked | {"reservation": "0" * 32})
    assert there.status_code == none.status_code == 409 and there.json()["code"] == none.json()["code"]
    staging = pair.token("developer", "shop", "staging")
    mine = reserved(pair, staging, "shop", "staging", "TAKEN_KEY")
    other = asked | {"reservation": mine, "environments": ["staging"]}
    answer = pair.ask("POST", f"/projects/shop/{way}", staging, to=1, json=other)
    assert (answer.status_code, answer.json()["code"]) == (422, "sealed_refused"), answer.text
    assert vault.list_secrets(pair.at.db, "shop", "default") == []


def test_a_job_of_elsewhere_is_none(pair: Pair) -> None:
    """By its id under another project, and for who sees another environment alone."""
    environment = vault.get_environment(pair.at.db, "shop", "default")
    job = claims.submit(pair.at.db, "rotate", environment, {}, actor=OPERATOR)
    assert pair.ask("GET", f"/projects/shop/jobs/{job}", pair.token("viewer", "shop")).status_code == 200
    for token, project in ((pair.token("admin", "bank"), "bank"), (pair.token("admin"), "bank")):
        assert pair.ask("GET", f"/projects/{project}/jobs/{job}", token, to=1).status_code == 404
    assert pair.ask("GET", f"/projects/shop/jobs/{job}", pair.token("admin", "shop", "staging")).status_code in (
        403,
        404,
    )
    assert job not in pair.ask("GET", "/projects/shop/jobs", pair.token("admin", "shop", "staging")).text


def test_a_token_of_somebody_elses_is_none(pair: Pair) -> None:
    """Nobody ends, or lists, another's token, and a member of one project changes nothing in another."""
    owner, other = pair.token("admin", "shop"), pair.token("admin", "bank")
    mine = pair.ask("GET", "/tokens", owner).json()["items"][0]["id"]
    for reference in (mine, mine[:8], ""):
        assert pair.ask("DELETE", f"/tokens/{reference}", other, to=1).status_code in (404, 405)
    assert mine not in pair.ask("GET", "/tokens", other, params={"everybody": "true"}).text
    role = {"project": "shop", "role": "viewer", "name": "nobody"}
    assert pair.ask("POST", "/members", other, json=role).status_code == 404
    assert pair.ask("DELETE", "/members", other, params=role).status_code == 404
    assert pair.ask("GET", "/members", other, params={"project": "shop"}).status_code == 404
    assert pair.ask("GET", "/me", owner).status_code == 200


def test_a_source_that_another_has_sent_is_not_used(pair: Pair) -> None:
    """Its digest names it; whoever knows that has not sent it, and is not told whether it is there."""
    body, digest = pair.archive(("main.py", b"print('of one person')"))
    path = "/projects/shop/environments/default"
    runner, other = pair.token("runner", "shop"), pair.token("developer", "shop")
    sent = pair.ask("PUT", f"{path}/bundles/{digest}", runner, params={"size": len(body)}, content=body)
    assert sent.status_code == 200, sent.text
    order = {"target": {"kind": "file", "path": "main.py", "argv": []}, "source_root": "/srv"}
    there = pair.ask("POST", f"{path}/runs", other, to=1, json=order | {"bundle": digest})
    none = pair.ask("POST", f"{path}/runs", other, to=1, json=order | {"bundle": "0" * 64})
    assert (there.status_code, there.json()["code"]) == (none.status_code, none.json()["code"])
    assert there.status_code in (404, 409, 410, 422)
    assert pair.ask("POST", f"{path}/runs", runner, to=1, json=order | {"bundle": digest}).status_code == 200
