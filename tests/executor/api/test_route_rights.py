"""Every route against everybody: made of the table of routes, so that none can be forgotten."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from starlette.testclient import TestClient

from executor import database
from executor.api import asking, entry, health
from executor.api.application import create_application
from executor.api.routes import BASE, ROUTES, Route, taken_and_returned
from executor.operations.rights import RIGHTS
from executor.people.roles import ROLES
from secretstore.database import Database
from secretstore.errors import SealrunError
from tests.databases import sqlite_file
from tests.executor.api.conftest import ORIGIN, House, deployment_of

ADMITTED = 418


class Admitted(SealrunError):
    """admitted"""

    code = "admitted"
    status = ADMITTED


IN = {
    "project": "shop",
    "name": "API_KEY",
    "version": "1",
    "path": "report.csv",
    "token": "0123",
    "digest": "0" * 64,
    "job": "0" * 32,
}
OF_A_PROJECT = {"name": "shop"}
ORDER = {"target": {"kind": "command", "argv": ["true"]}, "source_root": "/srv", "bundle": "0" * 64}
SEALED = {"environment": "default", "name": "API_KEY", "sealed": "AAAA", "maskable": True}
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "connections.create": {"environments": ["default"], "kind": "s3", "settings": {}},
    "environments.require": {"environments": ["default"]},
    "members.add": {"project": "shop", "environment": "default", "role": "viewer", "name": "ada"},
    "members.list_": {"project": "shop", "environment": "default"},
    "members.remove": {"project": "shop", "environment": "default", "role": "viewer", "name": "ada"},
    "people.create": {"name": "grace", "service": True},
    "people.set_password": {"password": "correct horse battery"},
    "projects.create": {"name": "third"},
    "tokens.create": {"name": "ci", "role": "viewer"},
    "explanation.foresee": {"wanted": {"project": "shop", "environment": "default"}},
    "runs.submit": ORDER,
    "runs.submit_many": {"items": [ORDER | {"project": "shop", "environment": "default"}]},
    "runs.upload": {"size": 1},
    "pruning.look": {"older_than": 1, "project": "shop"},
    "secrets.due": {"before": "2030-01-01T00:00:00Z"},
    "importing.store_sealed": {"environments": ["default"]},
    "secrets.reserve": {"environments": ["default"], "names": ["API_KEY"]},
    "secrets.store_sealed": {"environments": ["default"], "reservation": "0" * 32, "secrets": [SEALED]},
    "secrets.require_renamable": {"new": "NEW_KEY"},
    "secrets.submit_rename": {"new": "NEW_KEY"},
    "variables.set_": {"environments": ["default"], "value": "1"},
    "workers.serving": {"queue": "sealrun"},
}
"""What has to be said beside the path."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Where whoever is admitted hears so, and nothing is done: one deployment for all."""

    def refuse(*asked: Any, **more: Any) -> Any:
        admit(*asked, **more)
        raise Admitted

    admit = asking.admit
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        url = f"sqlite:///{sqlite_file(Path(folder) / 'store' / 'sealrun.db', database.migrate)}"
        at = deployment_of(Database(url), Path(folder) / "home")
        patch.setattr(asking, "admit", refuse)
        patch.setattr(to_thread, "run_sync", at_once)
        with TestClient(create_application(at, ORIGIN), base_url=ORIGIN.url) as client:
            yield House(at, client)
        at.close()


async def at_once(act: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    """In place of a thread: of thousands of requests, one after another, handing over takes most of the time."""
    return act(*arguments)


@functools.cache
def _run(house: House) -> str:
    return house.run("shop", "default")


House.__hash__ = object.__hash__  # type: ignore[method-assign]  # one of them stands for itself


def asked(house: House, route: Route) -> tuple[str, dict[str, Any]]:
    """The path of a route in shop, and what goes with it."""
    names = IN | {"environment": "default", "run": _run(house)}
    if route.operation.startswith("projects."):
        names |= OF_A_PROJECT
    path = route.path
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    given = dict(GIVEN.get(route.operation, {}))
    in_query = route.method in ("GET", "DELETE") or route.operation == "runs.upload"
    return path, ({"params": given} if in_query else {"json": given})


def status(house: House, route: Route, token: str | None) -> int:
    """How a request with this token is answered."""
    path, more = asked(house, route)
    answer = house.ask(route.method, path, token, **more)
    assert answer.status_code in (ADMITTED, 401, 403, 404), answer.text
    return answer.status_code


PAGES = {
    "/",
    "/log-in",
    "/log-in/command-line",
    "/log-out",
    "/first-admin",
    "/device",
    "/device/agree",
    "/device/refuse",
}
"""What is for browsers, and asks who they are itself."""

each_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")


@each_route
def test_nobody_is_let_in(house: House, route: Route) -> None:
    """Without a credential, with one that is cut off, and with one that was revoked."""
    whole = house.token("admin")
    for token in (None, "", whole[:-1], whole[:-1] + ("0" if whole[-1] != "0" else "1"), "x"):
        assert status(house, route, token) == 401


@each_route
def test_roles_let_in_whom_the_table_says(house: House, route: Route) -> None:
    """Each role, held for the installation, for the project, for the environment, and for the wrong one of these."""
    right = RIGHTS[route.operation]
    over_all = right.place == "own" or (right.place == "somewhere" and "{project}" not in route.path)
    for name, role in ROLES.items():
        has = set(right.verbs) <= role.verbs
        inside = has and right.place != "installation"
        within = has and right.place in ("environment", "somewhere")
        let_in = {
            (): has or over_all,
            ("shop",): inside or over_all,
            ("shop", "default"): within or over_all,
            ("shop", "staging"): (within and right.place == "somewhere") or over_all,
            ("bank",): over_all,
        }
        for place, expected in let_in.items():
            if not has and place:
                continue  # what a role does not give everywhere it gives nowhere
            found = status(house, route, house.token(name, *place))
            assert (found == ADMITTED) == expected, (name, place, found)
            assert found != 401


@each_route
def test_who_sees_nothing_there_is_not_told_whether_there_is_something(house: House, route: Route) -> None:
    """Somebody of another project is answered as if this one did not exist: in the same words, for any name."""
    if "{project}" not in route.path and "{run}" not in route.path:
        return
    outsider = house.token("admin", "bank")
    path, more = asked(house, route)
    there = house.ask(route.method, path, outsider, **more)
    missing = path.replace("/shop", "/nowhere").replace(_run(house), "0" * 32)
    none = house.ask(route.method, missing, outsider, **more)
    assert (there.status_code, there.json()["code"]) == (none.status_code, none.json()["code"])
    told, other = there.json()["detail"], none.json()["detail"]
    assert told.replace("shop", "nowhere").replace(_run(house), "0" * 32) == other


def test_the_application_has_no_other_route(house: House) -> None:
    """What is not in the table is open to all, and says nothing of the deployment."""
    app: Any = house.client.app
    included = [part.original_router for part in app.routes if hasattr(part, "original_router")]
    assert len(included) + 2 == len(app.routes), "beside what is included: the description, and the pages' style"
    routes = [one for router in included for one in router.routes]
    shown = {(method, BASE + one.path) for one in routes if one.include_in_schema for method in one.methods}
    open_ = {("GET", BASE + path) for path in health.OPEN} | {("POST", BASE + path) for path in entry.OPEN}
    own = {("GET", BASE + entry.ME), ("DELETE", BASE + entry.MY_TOKEN)}
    assert shown == {(route.method, BASE + route.path) for route in ROUTES} | open_ | own
    assert {one.path for one in routes if not one.include_in_schema} == PAGES


def test_what_a_caller_is_told_of_itself_takes_a_credential(house: House) -> None:
    """Those two routes have no operation."""
    assert house.ask("GET", entry.ME).status_code == house.ask("DELETE", entry.MY_TOKEN).status_code == 401


def test_each_route_has_an_operation_with_a_right() -> None:
    """A route without a declared verb does not start."""
    for route in ROUTES:
        right = RIGHTS[route.operation]
        assert right.verbs or right.place == "own"
        kind, _ = taken_and_returned(route.operation)
        fields = set(kind.model_fields) if kind is not None else set()
        named = {part[1:-1].partition(":")[0] for part in route.path.split("/") if part.startswith("{")}
        assert named <= fields | {"run", "path"}
